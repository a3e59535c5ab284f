"""Compares what a client was given with what arrived: nothing lost, changed or reordered, only known fields added."""

import re

# What may stand before the client's own message, in this order; of signatures there are two at least.
ADDED = ("received", "date", "message-id", "feedback-id", "cfbl-address", "list-unsubscribe", "list-unsubscribe-post")
REMOVED = {"bcc", "resent-bcc", "return-path", "feedback-id", "cfbl-address", "cfbl-feedback-id"}


def fields(header):
    """The fields of a header section, each with its folds and line ends."""
    return re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", header)


def name_of(field):
    return field.split(b":", 1)[0].strip().decode("ascii", "replace").lower()


def without_removed(raw):
    """The message without the fields that are not for others' eyes."""
    header, blank, body = split(raw)
    kept = [field for field in fields(header) if not is_removed(name_of(field))]
    return b"".join(kept) + blank + body


def is_removed(name):
    return name in REMOVED or name.startswith("x-posthouse-")


def split(raw):
    """Header section with its last CRLF, the blank line, the body."""
    at = raw.find(b"\r\n\r\n")
    return (raw, b"", b"") if at < 0 else (raw[: at + 2], b"\r\n", raw[at + 4:])


def difference(sent, arrived, may_precede=()):
    """None, or a sentence. `may_precede` are fields that the client itself adds, such as a relay's Received."""
    expected = without_removed(sent)
    if not arrived.endswith(expected):
        return first_difference(expected, arrived)
    prefix = arrived[: len(arrived) - len(expected)]
    names = [name_of(field) for field in fields(prefix)]
    if b"".join(fields(prefix)) != prefix:
        return f"octets before the message that are no fields: {prefix!r}"
    signatures = next((at for at, name in enumerate(names) if name != "dkim-signature"), len(names))
    allowed = iter([*ADDED, *may_precede])
    for name in names[signatures:]:
        if name not in allowed:
            return f"unexpected or misplaced field before the message: {name} in {names}"
    present = {name_of(field) for field in fields(split(sent)[0])}
    lacking = {"received", "date", "message-id"} - (present & {"date", "message-id"}) - set(names)
    if signatures < 2 or lacking:
        return f"fields that should be added are not all there: {names}"
    twice = present & set(names) & {"date", "message-id"}
    return f"added although they were there: {twice}" if twice else None


def first_difference(expected, arrived):
    """Where the two first part, seen from the end of the header's trace fields."""
    at = arrived.find(expected[:40])
    if at < 0:
        return f"the message does not begin as it was sent: {expected[:60]!r} not in {arrived[-len(expected):][:200]!r}"
    for offset, (one, other) in enumerate(zip(expected, arrived[at:])):
        if one != other:
            window = slice(max(0, offset - 20), offset + 40)
            return f"at octet {offset}: sent {expected[window]!r}, came {arrived[at:][window]!r}"
    return f"{len(expected)} octets sent, {len(arrived) - at} came; ends {expected[-20:]!r} and {arrived[-20:]!r}"


def check():
    """Rows of (what, verdict): the judge itself, before a message with one thing wrong."""
    kept = b"From: a@b\r\nSubject: s\r\nDate: d\r\nMessage-ID: <i>\r\n\r\nbody\r\n"
    sent = b"Bcc: x@y\r\n" + kept
    added = b"DKIM-Signature: 1\r\nDKIM-Signature: 2\r\n\tx\r\nReceived: r\r\nFeedback-ID: f\r\n"
    yield "as it should be", difference(sent, added + kept)
    wrong = {
        "an octet lost": added + kept.replace(b"body", b"bod"),
        "a line end more": added + kept + b"\r\n",
        "fields reordered": added + b"Subject: s\r\n" + kept.replace(b"Subject: s\r\n", b""),
        "Bcc kept": added + sent,
        "an unknown field": b"X-New: 1\r\n" + added + kept,
        "a field twice": added + b"Feedback-ID: f\r\n" + kept,
        "one signature": added.replace(b"DKIM-Signature: 1\r\n", b"") + kept,
        "a second Date": added + b"Date: e\r\n" + kept,
        "no Received": added.replace(b"Received: r\r\n", b"") + kept,
        "fields misplaced": b"Received: r\r\n" + added.replace(b"Received: r\r\n", b"") + kept,
    }
    for what, arrived in wrong.items():
        yield what, None if difference(sent, arrived) else "it was not noticed"
