"""Every client sends every letter through both doors; what arrives is compared octet for octet."""

import os

import judge
from clients.job import Job
from letters import Letter, letters


def jobs_of(house, tenant, client, folder):
    """The jobs of one client, each with the letter that it sends."""
    pairs = []
    for tls in ("starttls", "implicit"):
        for letter in letters("stranger@" + tenant.domain, "x@plain.example"):
            if letter.needs <= client.can and letter.name not in client.spoils:
                pairs.append(job_of(house, tenant, client, tls, letter.name, folder))
    return pairs


def job_of(house, tenant, client, tls, name, folder):
    umlaut = "ümlaut-" if name == "utf8-envelope" else ""
    # Named after the tenant too, so that another run at the same house is not mistaken for this one.
    mailbox = f"{umlaut}{client.name}-{tls}-{name}-{tenant.name}"
    sender, recipient = f"{umlaut}stranger@{tenant.domain}", f"{mailbox}@plain.example"
    letter = next(one for one in letters(sender, recipient) if one.name == name)
    path = os.path.join(folder, f"{client.name}-{tls}-{name}.eml")
    with open(path, "wb") as file:
        file.write(letter.raw)
    host, port = house.door(tls)
    job = Job(host, port, tls, house.ca, tenant.username, tenant.password, sender, (recipient,), path,
              "smtputf8" in letter.needs)
    return letter, job


def check(house, tenant, client, folder):
    """Rows of (what, verdict); a verdict of None is good."""
    pairs = jobs_of(house, tenant, client, folder)
    outcomes = client.send([job for _, job in pairs])
    taken = [(letter, job) for (letter, job), outcome in zip(pairs, outcomes) if outcome.ok]
    arrived = house.arrivals([job.recipients[0] for _, job in taken])
    for (letter, job), outcome in zip(pairs, outcomes):
        yield f"{client.name} {job.tls} {letter.name}", verdict(client, letter, job, outcome, arrived)


def check_composed(house, tenant, client, folder):
    """Libraries that compose: they write what they composed to the path of the job, then send it."""
    pairs = [job_of(house, tenant, client, tls, "empty", folder) for tls in ("starttls", "implicit")]
    jobs = [job for _, job in pairs]
    outcomes = client.send(jobs)
    arrived = house.arrivals([job.recipients[0] for job, outcome in zip(jobs, outcomes) if outcome.ok])
    for job, outcome in zip(jobs, outcomes):
        yield f"{client.name} {job.tls}", verdict(client, Letter("composed", job.raw()), job, outcome, arrived)


def check_pool(house, tenant, client, folder):
    """One letter to two hundred recipients apart: each has a reply of its own, and arrives once."""
    for tls in ("starttls", "implicit"):
        _, job = job_of(house, tenant, client, tls, "kilobyte", folder)
        recipients = tuple(f"pool-{client.name}-{tls}-{number}-{tenant.name}@plain.example" for number in range(200))
        outcome = client.send([job.but(recipients=recipients)])[0]
        yield f"{client.name} {tls} replies", None if outcome.text == "200 different replies" else outcome.text
        missing = set(recipients) - house.arrivals_of(tenant.domain, recipients).keys()
        yield f"{client.name} {tls} arrivals", f"{len(missing)} did not arrive" if missing else None
        yield f"{client.name} {tls} once", house.twice(tenant.domain, set(recipients))


def verdict(client, letter, job, outcome, arrived):
    if not outcome.ok:
        return f"was not sent: {outcome.text}"
    raw = arrived.get(job.recipients[0])
    if raw is None:
        return f"did not arrive; the client was told: {outcome.text}"
    return judge.difference(letter.arrives(), raw, client.adds)
