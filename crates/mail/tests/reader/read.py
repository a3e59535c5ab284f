import email.parser, email.policy, email.utils, json, sys

modern = sys.argv[1] == "smtp"
policy = email.policy.SMTP if modern else email.policy.compat32
octets = sys.stdin.buffer
while length := octets.read(8):
    raw = octets.read(int(length))
    message = email.parser.BytesParser(policy=policy).parsebytes(raw)
    names = [name.lower() for name in message.keys()]
    if modern:
        try:
            fields = message.get_all("from", [])
        except AttributeError:
            # A defect of this library with some comments: it reads nothing, which is no second reading.
            print(json.dumps({"failed": True}))
            continue
        authors = [address.addr_spec for field in fields for address in field.addresses]
    else:
        # As a program that reads octets it cannot decode: as UTF-8, where it is.
        head = email.parser.HeaderParser(policy=policy).parsestr(raw.decode("utf-8", "replace"))
        # This policy leaves unfolding to whoever asks; who does not do it is misled by a fold within a comment.
        fields = ["".join(str(field).splitlines()) for field in head.get_all("from", [])]
        pairs = email.utils.getaddresses(fields)
        if pairs == [("", "")]:
            # Since CVE-2023-27043 it says so of what it does not trust, such as a comma in a comment: no second reading.
            print(json.dumps({"failed": True}))
            continue
        authors = [address for _, address in pairs if address]
    body = message.get_payload()
    body = list(body.encode("ascii", "surrogateescape")) if isinstance(body, str) else None
    print(json.dumps({"names": names, "authors": authors, "body": body}))
