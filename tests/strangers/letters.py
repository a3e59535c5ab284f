"""The letters that every client sends: each has one difficulty, and is the same in every run."""

import base64
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Letter:
    """A message with CRLF line ends; `needs` names what a client must be able to do to send it."""

    name: str
    raw: bytes
    needs: frozenset = frozenset()

    def arrives(self):
        """DATA ends lines, so the last one gets its end on the way out at the latest (RFC 5321 section 4.1.1.4)."""
        return self.raw if self.raw.endswith(b"\r\n") else self.raw + b"\r\n"


def letters(sender, recipient):
    """All of them, from and to these addresses."""
    head = header(sender, recipient)
    text = head + b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    utf8 = head + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return [
        Letter("kilobyte", text + lines(1_000)),
        Letter("megabyte", text + lines(1_000_000)),
        Letter("attachment", head + attachment()),
        Letter("dots", text + b".\r\n..\r\n.hidden\r\n...\r\nx\r\n.\r\n\r\n.end\r\n"),
        Letter("last-dot", text + b"x\r\n.\r\n"),
        Letter("long", text + b"".join(bytes([97 + n]) * 998 + b"\r\n" for n in range(3))),
        Letter("long-dot", text + b"." + b"x" * 997 + b"\r\n." + b"y" * 996 + b"\r\n"),
        Letter("empty", text),
        Letter("tail", text + b"text \t \r\n \t\r\n\t\r\n   \r\n\r\n\r\n\r\n"),
        Letter("folds", folds(head) + b"\r\nbody\r\n"),
        Letter("hidden", b"Bcc: secret@plain.example,\r\n other@plain.example\r\n" + text + b"x\r\n"),
        Letter("bare", b"From: " + sender.encode() + b"\r\n\r\nNo more than it needs.\r\n", frozenset({"bare"})),
        Letter("unended", text + b"The last line\r\nhas no end.", frozenset({"unended"})),
        Letter("eight", utf8 + "Grüße aus Köln, 東京, Ελλάδα.\r\n".encode(), frozenset({"8bit"})),
        Letter("latin", utf8.replace(b"utf-8", b"iso-8859-1") + b"\xe4\xf6\xfc\xff\x80\r\n", frozenset({"8bit"})),
        Letter("utf8-header", b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n" + utf8.replace(b"Subject: A letter\r\n", b"") +
               "ü\r\n".encode(), frozenset({"8bit", "smtputf8"})),
        Letter("utf8-envelope", utf8 + "Ein Brief von Ümlaut an Ümlaut.\r\n".encode(), frozenset({"8bit", "smtputf8"})),
    ]


def header(sender, recipient):
    """Date and Message-ID are there, so that no client has a reason to add them."""
    name = recipient.partition("@")[0]
    return (
        f"Date: Thu, 26 Nov 2026 10:00:00 +0000\r\nFrom: A Stranger <{sender}>\r\nTo: {recipient}\r\n"
        f"Message-ID: <{name}@{sender.partition('@')[2]}>\r\nSubject: A letter\r\nMIME-Version: 1.0\r\n"
    ).encode()


def lines(octets):
    """Words in lines of 72 octets."""
    line = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
    return line * (octets // len(line)) + b"z" * (octets % len(line) + 1) + b"\r\n"


def attachment():
    """Text beside 100 KB of noise in base64."""
    noise = base64.encodebytes(random.Random(7).randbytes(100_000)).replace(b"\n", b"\r\n")
    return (
        b'Content-Type: multipart/mixed; boundary="=_edge"\r\n\r\nA preamble.\r\n--=_edge\r\n'
        b"Content-Type: text/plain\r\n\r\nSee the attachment.\r\n\r\n--=_edge\r\n"
        b'Content-Type: application/octet-stream; name="noise.bin"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="noise.bin"\r\n\r\n'
    ) + noise + b"--=_edge--\r\n"


def folds(head):
    """A header section in which everything allowed happens."""
    return head + (
        b"X-Folded: one\r\n\ttwo\r\n  three \r\n four\t\r\n"
        b"x-twice: 1\r\nX-TWICE:2\r\nX-Twice:   3   \r\n"
        b"X-Empty:\r\nX-Blank: \r\nX-Tabs:\ta\tb\t\r\n"
        b"REFERENCES: <a@b>\r\n\t<c@d>\r\n"
        b"Received: from elsewhere by here; Thu, 26 Nov 2026 09:00:00 +0000\r\n"
    )
