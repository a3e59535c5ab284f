"""What others signed before us stays as it was: ARC sets and signatures of other domains. dkimpy makes and judges."""

import base64
import json
import os
import smtplib
import ssl
import subprocess

import judge
from letters import header

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")


def check(house, tenant, tools, folder):
    """Rows of (what, verdict)."""
    key = prepare_key(house, folder)
    for kind in ("arc", "dkim", "both", "beside"):
        recipient = f"kept-{kind}-{tenant.name}@plain.example"
        raw = signed(tools, key, kind, header(f"stranger@{tenant.domain}", recipient) + b"\r\nbody \r\n\r\n")
        # Beside one in the tenant's own name, which the house replaces by its own.
        submit(house, tenant, recipient, own_signature(tenant) + raw if kind == "beside" else raw)
        arrived = house.arrivals([recipient]).get(recipient)
        yield f"{kind} octets", "did not arrive" if arrived is None else judge.difference(raw, arrived)
        yield f"{kind} holds", arrived and still_holds(house, tools, folder, kind, arrived)


def prepare_key(house, folder):
    """A key of a third party, with its other half in the lab's DNS."""
    path = os.path.join(folder, "third.pem")
    call(["openssl", "genrsa", "-traditional", "-out", path, "2048"])
    public = base64.b64encode(call(["openssl", "rsa", "-in", path, "-pubout", "-outform", "der"])).decode()
    record = {"host": "s._domainkey.third.example", "type": "TXT", "value": f"v=DKIM1; k=rsa; p={public}"}
    house.lab("POST", "/dns/publish", [record])
    return path


def signed(tools, key, kind, raw):
    for what in {"arc": ["arc"], "dkim": ["dkim"], "both": ["dkim", "arc"], "beside": ["dkim"]}[kind]:
        raw = call([tools.python, f"{HERE}/third_party.py", what, key], raw)
    return raw


def own_signature(tenant):
    """As a relay of the tenant with a key of its own would add it; whether it holds does not matter."""
    return (f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={tenant.domain};\r\n\ts=relay; h=from:subject;"
            " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n").encode()


def submit(house, tenant, recipient, raw):
    context = ssl.create_default_context(cafile=house.ca)
    with smtplib.SMTP_SSL(*house.door("implicit"), timeout=60, context=context) as server:
        server.login(tenant.username, tenant.password)
        server.sendmail(f"stranger@{tenant.domain}", [recipient], raw)


def still_holds(house, tools, folder, kind, arrived):
    path = os.path.join(folder, f"kept-{kind}.eml")
    with open(path, "wb") as file:
        file.write(arrived)
    told = json.loads(call([tools.python, f"{HERE}/third_party.py", "judge", house.dns, path]))
    wanted = {"arc": {"arc": "pass"}, "dkim": {"dkim": True}, "both": {"arc": "pass", "dkim": True},
              "beside": {"dkim": True}}[kind]
    return None if wanted.items() <= told.items() else f"not {wanted} but {told}"


def call(command, stdin=b""):
    ended = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{command[1:3]}: {ended.stderr.decode()}")
    return ended.stdout
