"""What people read when we refuse: each client is refused in each way, and must show a sentence that helps.

The sentence is ours, whatever the client wraps around it. `HIDES` lists the clients that keep it from their user; that
is a defect of theirs that we can do nothing about.
"""

import os
import smtplib
import ssl
from dataclasses import dataclass

from clients.job import Job
from letters import header, lines


@dataclass(frozen=True)
class Case:
    """A way to be refused, and the words that must be read."""

    name: str
    change: object
    words: tuple


def cases(house, tenant, recipients_max):
    """All ways; `change` gets a job and a letter, and gives both back with one thing wrong."""
    size = size_max(house)
    other = "stranger@elsewhere.example"
    many = tuple(f"{n}@null-mx.example" for n in range(recipients_max + 1))
    return [
        Case("password", lambda job, raw: (job.but(password="wrong"), raw), ("wrong user name or password",)),
        Case("envelope", lambda job, raw: (job.but(sender=other), raw), ("elsewhere.example", "verified")),
        Case("from", lambda job, raw: (job, raw.replace(tenant.domain.encode(), b"elsewhere.example")),
             ("elsewhere.example", "verified")),
        Case("two-from", lambda job, raw: (job, b"From: other@" + tenant.domain.encode() + b"\r\n" + raw), ("From",)),
        Case("size", lambda job, raw: (job, raw + lines(size)), (str(size),)),
        Case("recipients", lambda job, raw: (job.but(recipients=many), raw), (str(recipients_max), "recipients")),
        Case("line", lambda job, raw: (job, raw + b"x" * 999 + b"\r\n"), ("998",)),
        Case("nul", lambda job, raw: (job, raw + b"x\0y\r\n"), ("NUL",)),
    ]


def size_max(house):
    """As EHLO tells."""
    host, port = house.door("implicit")
    with smtplib.SMTP_SSL(host, port, timeout=60, context=ssl.create_default_context(cafile=house.ca)) as server:
        server.ehlo()
        return int(server.esmtp_features["size"])


def check(house, tenant, client, folder, asked):
    """Rows of (what, verdict). With `asked.texts` they are also printed as they were shown."""
    ways = cases(house, tenant, asked.recipients_max)
    jobs = [job_of(house, tenant, client, case, folder) for case in ways]
    for case, outcome in zip(ways, client.send(jobs)):
        if asked.texts:
            print(f"    {case.name:11} {shorten(outcome.text)}")
        yield f"{client.name} {case.name}", verdict(client, case, outcome)


def job_of(house, tenant, client, case, folder):
    host, port = house.door("starttls")
    sender = f"stranger@{tenant.domain}"
    name = f"refused-{client.name}-{case.name}-{tenant.name}"
    path, recipient = os.path.join(folder, f"{name}.eml"), f"{name}@plain.example"
    job = Job(host, port, "starttls", house.ca, tenant.username, tenant.password, sender, (recipient,), path)
    job, raw = case.change(job, header(sender, recipient) + b"\r\nbody\r\n")
    with open(path, "wb") as file:
        file.write(raw)
    return job


def verdict(client, case, outcome):
    if (client.name, case.name) in HIDES:
        return None
    if outcome.ok and case.name != "recipients":
        # With some recipients refused it is a matter of taste whether the client failed.
        return f"was taken: {outcome.text}"
    lacks = [word for word in case.words if word not in outcome.text]
    return f"does not say {lacks}: {shorten(outcome.text)}" if lacks else None


def shorten(text):
    line = " | ".join(text.split("\n"))
    return line if len(line) < 400 else f"{line[:200]} ... {line[-200:]}"


HIDES = {
    ("exim", "line"): "it refuses such lines itself",
    ("phpmailer", "line"): "it breaks such lines itself",
    ("postfix", "line"): "it breaks such lines itself",
    ("postfix", "size"): "it compares with SIZE and tells the number in its own words",
}
