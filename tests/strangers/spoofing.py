"""espoofer's cases through our doors: a tenant says it is somebody else, in each of the 22 ways that its authors found.

Each goes through both doors with the envelope that espoofer gives it, and again with the tenant's own, so that From alone decides.
The author who is taken in vain is of another tenant of the same house. What is taken must have one author for other people's
readers too, and that of the tenant.
"""

import base64
import email.parser
import email.policy
import json
import os
import smtplib
import ssl
import subprocess

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")
CASES = 22


def check(house, tenant, other, tools, folder):
    """Rows of (what, verdict)."""
    recipient = f"spoofed-{tenant.name}@plain.example"
    cases = made(tenant, f"admin@{other.domain}", recipient, tools)
    if len(cases) != CASES:
        yield "cases", f"espoofer has {len(cases)} cases and not {CASES}"
    honest = {"helo": b"mail.example", "mailfrom": f"<first@{tenant.domain}>".encode(), "rcptto": f"<{recipient}>".encode(),
              "msg_content": f"From: <first@{tenant.domain}>\r\nTo: {recipient}\r\n\r\nx\r\n".encode()}
    taken = 0
    for tls in ("starttls", "implicit"):
        yield f"honest {tls}", refusal(house, tenant, tls, honest)
        for name, case in cases.items():
            for envelope in ("its", "own"):
                sent = {**case, "mailfrom": honest["mailfrom"]} if envelope == "own" else case
                refused = refusal(house, tenant, tls, sent)
                taken += refused is None
                yield f"{name} {tls} {envelope}", None if refused else second_author(sent, tenant)
                if refused and envelope == "own" and not refused.startswith("message"):
                    yield f"{name} {tls} stage", f"with the tenant's own envelope {refused}"
    print(f"  {len(cases)} cases of espoofer, {taken} of {len(cases) * 4} sendings taken", flush=True)


def made(tenant, author, recipient, tools):
    place = tools.workplace("espoofer")
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", f"{place}/dkimkey", "2048"], check=True, capture_output=True)
    command = [tools.python, f"{HERE}/espoofed.py", tenant.domain, author, recipient]
    ended = subprocess.run(command, cwd=place, capture_output=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"espoofer: {ended.stderr.decode()}")
    return {name: {key: base64.b64decode(value) for key, value in case.items()} for name, case in json.loads(ended.stdout).items()}


def refusal(house, tenant, tls, case):
    """Stage and answer, or None if it was taken."""
    context = ssl.create_default_context(cafile=house.ca)
    with opened(house, tls, context) as server:
        if tls == "starttls":
            server.starttls(context=context)
        server.ehlo("mail.example")
        server.login(tenant.username, tenant.password)
        for stage, line in (("envelope", b"MAIL FROM:" + case["mailfrom"]), ("recipient", b"RCPT TO:" + case["rcptto"])):
            # As it is: smtplib would make it right.
            server.sock.sendall(line + b"\r\n")
            code, text = server.getreply()
            if code != 250:
                return f"{stage}: {code} {text.decode(errors='replace')}"
        code, text = server.data(case["msg_content"])
        if 400 <= code < 500:
            raise SystemExit(f"the house is in trouble: {code} {text}")
        return None if code == 250 else f"message: {code} {text.decode(errors='replace')}"


def opened(house, tls, context):
    host, port = house.door(tls)
    if tls == "implicit":
        return smtplib.SMTP_SSL(host, port, timeout=60, context=context)
    return smtplib.SMTP(host, port, timeout=60)


def second_author(case, tenant):
    message = email.parser.BytesHeaderParser(policy=email.policy.SMTP).parsebytes(case["msg_content"])
    authors = [one.domain for field in message.get_all("from", []) for one in field.addresses]
    return None if authors == [tenant.domain] else f"was taken with the authors {authors}"
