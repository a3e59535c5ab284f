"""Python's email package composes, smtplib sends; what was composed is written beside, to be compared."""

import smtplib
from email.message import EmailMessage
from email.policy import SMTP

import jobs


def compose(job):
    message = EmailMessage()
    message["From"] = f"Ein Fremder <{job['sender']}>"
    message["To"] = ", ".join(job["recipients"])
    message["Subject"] = "Grüße, composed, and a subject that is long enough to be folded by whoever folds subjects"
    message["Date"] = "Thu, 26 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = f"<composed@{job['sender'].partition('@')[2]}>"
    message.set_content("Grüße aus Köln.\n.\n..\nEnde\n")
    message.add_alternative("<p>Grüße</p>", subtype="html")
    message.add_attachment(b"noise" * 10_000, maintype="application", subtype="octet-stream", filename="noise.bin")
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"edge-{number}")
    return message


def send(job, _raw):
    with open(job["path"], "wb") as file:
        file.write(compose(job).as_bytes(policy=SMTP))
    with connect(job) as server:
        server.login(job["username"], job["password"])
        server.send_message(compose(job), job["sender"], job["recipients"])
    return "sent"


def connect(job):
    if job["tls"] == "implicit":
        return smtplib.SMTP_SSL(job["host"], job["port"], timeout=60, context=jobs.context(job))
    server = smtplib.SMTP(job["host"], job["port"], timeout=60)
    server.starttls(context=jobs.context(job))
    return server


if __name__ == "__main__":
    jobs.run(send)
