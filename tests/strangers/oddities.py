"""Messages that are hard to sign, drawn from a seed: the same seed draws the same messages."""

import random
import re


def oddity(seed, sender, recipient):
    """One message with CRLF line ends."""
    draw = random.Random(seed)
    fields = [
        f"From: {author(draw, sender)}\r\n".encode(),
        cased(draw, "To") + b": " + recipient.encode() + b"\r\n",
        cased(draw, "Subject") + b":" + value(draw),
    ]
    fields += [field(draw) for _ in range(draw.randrange(8))]
    draw.shuffle(fields)
    header = b"".join(fields)
    # Now and then not even the line that ends the header section.
    return header if draw.random() < 0.05 else header + b"\r\n" + body(draw)


def flipped(seed, raw):
    """The message with one bit of one letter changed, in the body or in a field that is always signed."""
    draw = random.Random(seed)
    start = raw.find(b"\r\n\r\n") + 4
    places = [at for at in range(start, len(raw)) if raw[at : at + 1].isalpha()] if start > 3 else []
    if not places or draw.random() < 0.3:
        field = re.search(rb"^(?:from|to|feedback-id):([^\r]*)", raw, re.IGNORECASE | re.MULTILINE)
        places = [at for at in range(*field.span(1)) if raw[at : at + 1].isalpha()]
    at = draw.choice(places)
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def author(draw, sender):
    return draw.choice([
        sender, f"<{sender}>", f"A  Stranger\t<{sender}>", f'"A, \\"B\\"" <{sender}>',
        f"=?utf-8?q?=C3=BC?=\r\n <{sender}>",
    ])


def field(draw):
    """Names may repeat; those are signed fields and others."""
    names = ["X-Odd", "X-ODD", "x-odd", "Comments", "Keywords", "Received", "X-Tabs", "List-Id", "Precedence"]
    name = draw.choice(names)
    return cased(draw, name) + draw.choice([b":", b": ", b":\t"]) + value(draw)


def cased(draw, name):
    return draw.choice([name, name.upper(), name.lower(), name.swapcase()]).encode()


def value(draw):
    """The value of a field with its line end: empty, blank, folded, tabs, UTF-8, trailing space, long."""
    return draw.choice([
        b"\r\n", b" \r\n", b"\t \t\r\n", b" plain words\r\n", b" trailing \t \r\n", b"  two  spaces\tand\ttabs\r\n",
        b" folded\r\n here\r\n\tand there  \r\n \t and there\r\n", " Grüße 東京\r\n".encode(),
        b" " + b"v" * 900 + b"\r\n", b"\r\n folded at once\r\n", b" a:b;c=d\r\n",
        b" =?utf-8?b?w7w=?=\r\n =?utf-8?b?w7w=?=\r\n",
    ])


def body(draw):
    """Nothing, blank lines, whitespace of all kinds, dots, 998 octets, 8 bits."""
    count = draw.choice([0, 0, 1, 2, 5, 40])
    tail = draw.choice([b"", b"", b"\r\n" * 3, b" \r\n", b"\t\r\n \r\n", b" \t \r\n\r\n"])
    return b"".join(line(draw) for _ in range(count)) + tail


def line(draw):
    return draw.choice([
        b"words\r\n", b"trailing space \r\n", b"trailing tab\t\r\n", b"  leading\r\n", b"a  b \t c\r\n", b"\r\n",
        b" \r\n", b".\r\n", b"..\r\n", b".dot\r\n", b"x" * 998 + b"\r\n", b" " * 998 + b"\r\n", "Grüße\r\n".encode(),
        b"\xff\xfe\x80\r\n", b"--\r\n", b"From here\r\n", b"=20=\r\n",
    ])
