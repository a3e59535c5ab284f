import email.parser, email.policy, email.utils, json, sys

modern = sys.argv[1] == "smtp"
policy = email.policy.SMTP if modern else email.policy.compat32


def addresses(head, name):
    """The addresses of all fields of that name; none at all if this library gives up on them."""
    if modern:
        try:
            return [address.addr_spec for field in head.get_all(name, []) for address in field.addresses]
        except (AttributeError, IndexError, TypeError):
            # A defect of this library with some comments and empty lists: it reads nothing, which is no second reading.
            return None
    # This policy leaves unfolding to whoever asks; who does not do it is misled by a fold within a comment.
    fields = ["".join(str(field).splitlines()) for field in head.get_all(name, [])]
    pairs = email.utils.getaddresses(fields)
    if pairs == [("", "")] and any(field.strip() for field in fields):
        # Since CVE-2023-27043 it says so of what it does not trust, such as a comma in a comment: no second reading.
        return None
    return [address for _, address in pairs if address]


def texts(found):
    """As they can be written down: octets that no charset explains are half a surrogate here."""
    return None if found is None else [text.encode("utf-8", "replace").decode() for text in found]


octets = sys.stdin.buffer
while length := octets.read(8):
    raw = octets.read(int(length))
    message = email.parser.BytesParser(policy=policy).parsebytes(raw)
    names = [name.lower() for name in message.keys()]
    # As a program that reads octets it cannot decode: as UTF-8, where it is.
    head = email.parser.HeaderParser(policy=policy).parsestr(raw.decode("utf-8", "replace"))
    authors, to, cc = (addresses(head, name) for name in ("from", "to", "cc"))
    if authors is None:
        print(json.dumps({"failed": True}))
        continue
    parts = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
    # Of a body in parts only the reader of the header section alone says where it begins. Asked in the ordinary way it
    # would decode the body by its charset first.
    body = email.parser.BytesHeaderParser(policy=policy).parsebytes(raw)._payload
    body = list(body.encode("ascii", "surrogateescape"))
    names, authors, to, cc = (texts(found) for found in (names, authors, to, cc))
    print(json.dumps({"names": names, "authors": authors, "to": to, "cc": cc, "body": body, "parts": parts}))
