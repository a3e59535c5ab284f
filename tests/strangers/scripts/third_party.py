"""A third party, third.example, that signs with dkimpy: `dkim KEYFILE`, `arc KEYFILE`, `judge DNS FILE`.

Messages come on standard input and go to standard output.
"""

import json
import sys

import dkim
from verify_dkimpy import lookup_at, results


def sign_dkim(secret, raw):
    return dkim.sign(raw, b"s", b"third.example", secret, canonicalize=(b"relaxed", b"relaxed"),
                     include_headers=[b"from", b"subject"]) + raw


def sign_arc(secret, raw):
    raw = b"Authentication-Results: third.example; dkim=none; arc=none\r\n" + raw
    made = dkim.arc_sign(raw, b"s", b"third.example", secret, b"third.example", include_headers=[b"from", b"subject"])
    return b"".join(made) + raw


def judged(server, path):
    with open(path, "rb") as file:
        raw = file.read()
    lookup = lookup_at(server)
    cv, _, _ = dkim.arc_verify(raw, dnsfunc=lookup)
    own = [result for domain, _, result in results(raw, lookup) if domain == "third.example"]
    return json.dumps({"arc": cv.decode(), "dkim": own == [True]}).encode()


def main(verb, *rest):
    if verb == "judge":
        return judged(*rest)
    raw = sys.stdin.buffer.read()
    with open(rest[0], "rb") as file:
        return {"dkim": sign_dkim, "arc": sign_arc}[verb](file.read(), raw)


if __name__ == "__main__":
    sys.stdout.buffer.write(main(*sys.argv[1:]))
