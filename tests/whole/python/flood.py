"""Submits from eight connections until the server is gone; prints each recipient whose 250 was read.

Arguments: host:port, ca, user, password, from, prefix of the local-parts, recipient domain.
"""
import smtplib, ssl, sys, threading

address, ca, user, password, sender, prefix, domain = sys.argv[1:]
host, port = address.rsplit(":", 1)
context = ssl.create_default_context(cafile=ca)
lock = threading.Lock()


def submit(worker):
    try:
        smtp = smtplib.SMTP(host, int(port), timeout=20)
        smtp.starttls(context=context)
        smtp.login(user, password)
        for number in range(1_000_000):
            recipient = f"{prefix}-{worker}-{number}@{domain}"
            text = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {recipient}\r\n\r\n" + "0123456789\r\n" * (50 + number % 900)
            smtp.sendmail(sender, [recipient], text)
            with lock:
                print(recipient, flush=True)
    except (OSError, smtplib.SMTPException):
        pass


threads = [threading.Thread(target=submit, args=(worker,)) for worker in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
