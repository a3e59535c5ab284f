"""dkimpy: verifies every signature of every message; prints one line of JSON a file: [domain, algorithm, holds] each.

Arguments: host:port of the DNS, then files.
"""

import functools
import json
import re
import sys

import dkim
import dns.message
import dns.query
import dns.rdatatype


def lookup_at(server):
    host, port = server.rsplit(":", 1)

    @functools.cache
    def ask(name):
        question = dns.message.make_query(name, dns.rdatatype.TXT)
        answer, _ = dns.query.udp_with_fallback(question, host, port=int(port), timeout=10)
        texts = [item for rrset in answer.answer for item in rrset if item.rdtype == dns.rdatatype.TXT]
        return b"".join(texts[0].strings) if texts else None

    return lambda name, timeout=5: ask(name.decode() if isinstance(name, bytes) else name)


def results(raw, lookup):
    signatures = [value for name, value in dkim.DKIM(raw).headers if name.lower() == b"dkim-signature"]
    return [[tag(value, b"d"), tag(value, b"a"), holds(raw, index, lookup)] for index, value in enumerate(signatures)]


def holds(raw, index, lookup):
    try:
        return dkim.DKIM(raw).verify(idx=index, dnsfunc=lookup)
    except dkim.DKIMException as error:
        return str(error)


def tag(value, name):
    return re.search(rb"\b" + name + rb"=([^;\s]+)", value).group(1).decode()


def main(server, *files):
    lookup = lookup_at(server)
    for path in files:
        with open(path, "rb") as file:
            print(json.dumps(results(file.read(), lookup)))


if __name__ == "__main__":
    main(*sys.argv[1:])
