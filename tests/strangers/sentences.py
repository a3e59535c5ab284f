"""Every sentence with which the submission door refuses, as Python's smtplib hears it.

Judged by words: what is wrong, and the number, name or step that mends it.
"""

import smtplib
import ssl
from dataclasses import dataclass

from letters import header


@dataclass(frozen=True)
class Sentence:
    """What to do at the door, and what the last reply must begin with and contain."""

    name: str
    act: object
    begins: str
    words: tuple


class Door:
    """Sessions of one tenant over STARTTLS."""

    def __init__(self, house, tenant):
        self.house, self.tenant = house, tenant
        self.sender = f"stranger@{tenant.domain}"

    def open(self, secure=True, login=True):
        host, port = self.house.door("starttls")
        server = smtplib.SMTP(host, port, timeout=60)
        if secure:
            server.starttls(context=ssl.create_default_context(cafile=self.house.ca))
        server.ehlo()
        if login:
            server.login(self.tenant.username, self.tenant.password)
        return server

    def commands(self, *lines, secure=True, login=True):
        """The reply to the last of some lines."""
        with self.open(secure, login) as server:
            server.command_encoding = "utf-8"
            return [server.docmd(line) for line in lines][-1]

    def message(self, raw, recipients=("refused@plain.example",), options=()):
        """The reply to the end of data, or the first refusal before it."""
        with self.open() as server:
            replies = [server.mail(self.sender, list(options)), *(server.rcpt(to) for to in recipients)]
            refused = next((reply for reply in replies if reply[0] >= 400), None)
            if refused:
                return refused
            return self.data(server, raw)

    def data(self, server, raw):
        """Octets as they are, so that a line may end wrongly."""
        server.docmd("DATA")
        server.send(raw + b"\r\n.\r\n")
        return server.getreply()

    def letter(self, more=b""):
        return more + header(self.sender, "refused@plain.example") + b"\r\nbody"


def sentences(door):
    """All of them."""
    mail, rcpt, to = f"MAIL FROM:<{door.sender}>", "RCPT TO:<x@plain.example>", "x@plain.example"
    return [
        Sentence("no-tls", lambda: door.commands(mail, secure=False, login=False), "530 5.7.0", ("STARTTLS",)),
        Sentence("no-auth", lambda: door.commands(mail, login=False), "530 5.7.0", ("authenticat",)),
        Sentence("auth-no-tls", lambda: door.commands("AUTH PLAIN AHgAeQ==", secure=False, login=False), "530 5.7.0", ("STARTTLS",)),
        Sentence("auth-odd", lambda: door.commands("AUTH CRAM-MD5", login=False), "504 5.5.4", ("PLAIN", "LOGIN")),
        Sentence("null-path", lambda: door.commands("MAIL FROM:<>"), "550 5.7.1", ("<>", "verified domain")),
        Sentence("no-from", lambda: door.message(b"Subject: x\r\n\r\nbody"), "550 5.7.1", ("From",)),
        Sentence("two-authors", lambda: door.message(b"From: a@" + door.tenant.domain.encode() + b", b@x.example\r\n\r\nbody"), "550 5.7.1", ("one address",)),
        Sentence("bare-lf", lambda: door.message(door.letter() + b"\nx"), "554 5.6.0", ("CR LF",)),
        Sentence("no-header", lambda: door.message(b"just words\r\n\r\nbody"), "554 5.6.0", ("header",)),
        Sentence("space-colon", lambda: door.message(door.letter(b"X-A : b\r\n")), "554 5.6.0", ("space",)),
        Sentence("blank-fold", lambda: door.message(door.letter(b"X-A: a\r\n \r\n")), "554 5.6.0", ("only spaces",)),
        Sentence("two-subjects", lambda: door.message(door.letter(b"Subject: y\r\n")), "554 5.6.0", ("subject",)),
        Sentence("hops", lambda: door.message(door.letter(b"Received: x\r\n" * 101)), "554 5.4.6", ("hops",)),
        Sentence("stream", lambda: door.message(door.letter(b"X-Posthouse-Stream: nowhere\r\n")), "550 5.7.1", ("stream", "nowhere")),
        Sentence("pool", lambda: door.message(door.letter(b"X-Posthouse-Pool: nowhere\r\n")), "550 5.7.1", ("pool", "nowhere")),
        Sentence("send-at", lambda: door.message(door.letter(b"X-Posthouse-Send-At: tomorrow\r\n")), "554 5.6.0", ("Send-At", "2026-")),
        Sentence("metadata", lambda: door.message(door.letter(b"X-Posthouse-Metadata: a\r\n")), "554 5.6.0", ("Metadata", "=")),
        Sentence("tags", lambda: door.message(door.letter(b"X-Posthouse-Tags: " + b",".join(b"t%d" % n for n in range(99)) + b"\r\n")), "554 5.6.0", ("at most", "tags")),
        Sentence("address", lambda: door.commands(mail, "RCPT TO:<nobody>"), "501 5.1.3", ("@",)),
        Sentence("utf8", lambda: door.commands(mail, "RCPT TO:<\u00fcx@plain.example>"), "5", ("SMTPUTF8",)),
        Sentence("order", lambda: door.commands(rcpt), "503 5.5.1", ("MAIL",)),
        Sentence("unknown", lambda: door.commands("SEND"), "502 5.5.1", ()),
        Sentence("no-recipient", lambda: door.commands(mail, "DATA"), "5", ("RCPT",)),
        Sentence("parameter", lambda: door.commands(mail + " FOO=1"), "555 5.5.4", ("FOO",)),
    ]


def check(house, tenant, asked):
    """Rows of (what, verdict)."""
    door = Door(house, tenant)
    for sentence in sentences(door):
        yield sentence.name, heard(sentence, asked)


def heard(sentence, asked):
    code, text = sentence.act()
    said = f"{code} {text.decode()}"
    if asked.texts:
        print(f"    {sentence.name:11} {said}")
    lacks = [word for word in sentence.words if word not in said]
    if not said.startswith(sentence.begins):
        return f"not {sentence.begins} but: {said}"
    return f"does not say {lacks}: {said}" if lacks else None
