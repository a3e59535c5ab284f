"""Submits one message by smtplib: host:port, ca, user, password, from, subject, then recipients."""
import smtplib, ssl, sys
from email.message import EmailMessage

address, ca, user, password, sender, subject, *recipients = sys.argv[1:]
host, port = address.rsplit(":", 1)
message = EmailMessage()
message["From"] = sender
message["To"] = recipients[0]
message["Subject"] = subject
message.set_content("Grüße.\n.\nA line after a lonely dot.\n")
context = ssl.create_default_context(cafile=ca)
with smtplib.SMTP(host, int(port), timeout=30) as smtp:
    smtp.starttls(context=context)
    smtp.login(user, password)
    refused = smtp.sendmail(sender, recipients, message.as_bytes(policy=message.policy.clone(linesep="\r\n")))
    assert not refused, refused
print("accepted")
