"""A client that sends well and badly: arguments are address, user name, password, domain and a canary."""

import smtplib
import ssl
import sys

address, username, password, domain, canary = sys.argv[1:]
host, port = address.rsplit(":", 1)


def connect():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = smtplib.SMTP(host, int(port), timeout=60)
    server.starttls(context=context)
    return server


def send(server, sender, recipients, lines=()):
    head = [f"From: {sender}", f"Subject: {canary} subject", *lines]
    server.sendmail(sender, recipients, "\r\n".join([*head, "", f"{canary} body"]))


def refused(action):
    try:
        action()
    except (smtplib.SMTPException, OSError):
        return
    raise SystemExit("it was not refused")


server = connect()
server.login(username, password)
send(server, f"{canary}@{domain}", [f"{canary}-one@gmail.com", f"unknown-{canary}@gmail.com"])
send(server, f"{canary}@{domain}", [f"{canary}@no-such-domain.example"])
refused(lambda: send(server, f"{canary}@elsewhere.example", [f"{canary}@gmail.com"]))
server.rset()
refused(lambda: send(server, f"{canary}@{domain}", [f"{canary}@gmail.com"], [f"From: {canary}@{domain}"]))
server.docmd("RCPT", f"TO:<{canary}@@>")
server.docmd(canary)
server.docmd("VRFY", canary)
server.quit()

server = connect()
refused(lambda: server.login(username, canary))
refused(lambda: server.login(canary, canary))
server.close()
