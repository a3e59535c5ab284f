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
    return [*of_the_session(door), *of_the_message(door), *of_steering(door)]


def of_the_session(door):
    mail, rcpt, ask = f"MAIL FROM:<{door.sender}>", "RCPT TO:<x@plain.example>", door.commands
    return [
        Sentence("no-tls", lambda: ask(mail, secure=False, login=False), "530 5.7.0", ("STARTTLS",)),
        Sentence("no-auth", lambda: ask(mail, login=False), "530 5.7.0", ("authenticat",)),
        Sentence("auth-no-tls", lambda: ask("AUTH PLAIN AHg=", secure=False, login=False), "530 5.7.0", ("STARTTLS",)),
        Sentence("auth-odd", lambda: ask("AUTH CRAM-MD5", login=False), "504 5.5.4", ("PLAIN", "LOGIN")),
        Sentence("null-path", lambda: ask("MAIL FROM:<>"), "550 5.7.1", ("<>", "verified domain")),
        Sentence("address", lambda: ask(mail, "RCPT TO:<nobody>"), "501 5.1.3", ("@",)),
        Sentence("utf8", lambda: ask(mail, "RCPT TO:<üx@plain.example>"), "553 5.6.7", ("SMTPUTF8",)),
        Sentence("order", lambda: ask(rcpt), "503 5.5.1", ("MAIL",)),
        Sentence("unknown", lambda: ask("SEND"), "502 5.5.1", ("not implemented",)),
        Sentence("no-recipient", lambda: ask(mail, "DATA"), "503 5.5.1", ("RCPT",)),
        Sentence("parameter", lambda: ask(f"{mail} FOO=1"), "555 5.5.4", ("FOO",)),
    ]


def of_the_message(door):
    send, more = door.message, lambda fields: door.message(door.letter(fields))
    two_authors = b"From: a@" + door.tenant.domain.encode() + b", b@x.example\r\n\r\nbody"
    return [
        Sentence("no-from", lambda: send(b"Subject: x\r\n\r\nbody"), "550 5.7.1", ("From",)),
        Sentence("two-authors", lambda: send(two_authors), "550 5.7.1", ("one address",)),
        Sentence("bare-lf", lambda: send(door.letter() + b"\nx"), "554 5.6.0", ("CR LF",)),
        Sentence("no-header", lambda: send(b"just words\r\n\r\nbody"), "554 5.6.0", ("header",)),
        Sentence("space-colon", lambda: more(b"X-A : b\r\n"), "554 5.6.0", ("space",)),
        Sentence("blank-fold", lambda: more(b"X-A: a\r\n \r\n"), "554 5.6.0", ("only spaces",)),
        Sentence("two-subjects", lambda: more(b"Subject: y\r\n"), "554 5.6.0", ("subject",)),
        Sentence("hops", lambda: more(b"Received: x\r\n" * 101), "554 5.4.6", ("hops",)),
    ]


def of_steering(door):
    more = lambda name, value: door.message(door.letter(f"X-Posthouse-{name}: {value}\r\n".encode()))
    tags = ",".join(f"t{number}" for number in range(99))
    return [
        Sentence("stream", lambda: more("Stream", "nowhere"), "550 5.7.1", ("stream", "nowhere")),
        Sentence("pool", lambda: more("Pool", "nowhere"), "550 5.7.1", ("pool", "nowhere")),
        Sentence("send-at", lambda: more("Send-At", "tomorrow"), "554 5.6.0", ("Send-At", "2026-")),
        Sentence("metadata", lambda: more("Metadata", "a"), "554 5.6.0", ("Metadata", "=")),
        Sentence("tags", lambda: more("Tags", tags), "554 5.6.0", ("at most", "tags")),
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
