"""Verifies every DKIM signature of a message on standard input's path; prints the d= of those that hold.

Arguments: file with the raw message, host:port of the DNS server.
"""
import re, sys
import dkim, dns.message, dns.query, dns.rdatatype

path, server = sys.argv[1:]
host, port = server.rsplit(":", 1)
raw = open(path, "rb").read()


def lookup(name, timeout=5):
    question = dns.message.make_query(name.decode() if isinstance(name, bytes) else name, dns.rdatatype.TXT)
    answer = dns.query.udp(question, host, port=int(port), timeout=timeout)
    if answer.flags & dns.flags.TC:
        answer = dns.query.tcp(question, host, port=int(port), timeout=timeout)
    for rrset in answer.answer:
        for item in rrset:
            if item.rdtype == dns.rdatatype.TXT:
                return b"".join(item.strings)
    return None


verifier = dkim.DKIM(raw)
count = len([name for name, _ in verifier.headers if name.lower() == b"dkim-signature"])
for index in range(count):
    signature = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"][index]
    domain = re.search(rb"\bd=([^;\s]+)", signature).group(1).decode()
    algorithm = re.search(rb"\ba=([^;\s]+)", signature).group(1).decode()
    if dkim.DKIM(raw).verify(idx=index, dnsfunc=lookup):
        print(domain, algorithm)
    else:
        sys.exit(f"the signature of {domain} with {algorithm} does not hold")
