"""Python's own smtplib: sendmail with octets, one session a job."""

import smtplib

import jobs


def connect(job):
    if job["tls"] == "implicit":
        return smtplib.SMTP_SSL(job["host"], job["port"], timeout=60, context=jobs.context(job))
    server = smtplib.SMTP(job["host"], job["port"], timeout=60)
    server.starttls(context=jobs.context(job))
    return server


def send(job, raw):
    options = ["BODY=8BITMIME"] if not raw.isascii() else []
    if job["utf8"]:
        options.append("SMTPUTF8")
    with connect(job) as server:
        if job["utf8"]:
            server.ehlo()
        server.login(job["username"], job["password"])
        refused = server.sendmail(job["sender"], job["recipients"], raw, mail_options=options)
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)
    return "sent"


if __name__ == "__main__":
    jobs.run(send)
