"""Signatures as they arrive, judged by three verifiers of other people; and what the client signed itself stays."""

import os
import smtplib
import ssl

import sending
import verifiers
from oddities import flipped, oddity


def check(house, tenant, tools, clients, folder, count):
    """Rows of (what, verdict): all signatures hold in every verifier, and none does after a bit was flipped."""
    raws = submit(house, tenant, count) + list(chunked(house, tenant, clients, folder))
    good = [save(folder, f"good-{number}", raw) for number, raw in enumerate(raws)]
    bad = [save(folder, f"bad-{number}", flipped(number, raw)) for number, raw in enumerate(raws)]
    yield "count", None if len(raws) >= count else f"only {len(raws)} of {count} arrived"
    for name, verify, unknown in verifiers.everybody(tools):
        for path, results in zip(good, verify(tools, house, good)):
            yield f"{name} {path}", holds(results, unknown, tenant.domain)
        for path, results in zip(bad, verify(tools, house, bad)):
            yield f"{name} {path}", fails(results)


def submit(house, tenant, count):
    """Oddities 0 to `count` through smtplib, as they arrived."""
    sender, host_port = f"stranger@{tenant.domain}", house.door("implicit")
    recipients = [f"odd-{number}-{tenant.name}@plain.example" for number in range(count)]
    with smtplib.SMTP_SSL(*host_port, timeout=60, context=ssl.create_default_context(cafile=house.ca)) as server:
        server.login(tenant.username, tenant.password)
        for number, recipient in enumerate(recipients):
            server.sendmail(sender, [recipient], oddity(number, sender, recipient), mail_options=["BODY=8BITMIME"])
    return list(house.arrivals_of(tenant.domain, recipients).values())


def chunked(house, tenant, clients, folder):
    """Letters by BDAT, of which one has a last line without an end."""
    client = next((client for client in clients if client.name == "net-smtp-bdat"), None)
    if client is None:
        return []
    jobs = [sending.job_of(house, tenant, client, "implicit", name, folder)[1] for name in ("unended", "empty", "tail")]
    client.send(jobs)
    return house.arrivals([job.recipients[0] for job in jobs]).values()


def save(folder, name, raw):
    path = os.path.join(folder, f"{name}.eml")
    with open(path, "wb") as file:
        file.write(raw)
    return path


def holds(results, unknown, domain):
    known = [(whose, result) for whose, algorithm, result in results if algorithm not in unknown]
    wrong = [result for _, result in known if result is not True]
    if wrong:
        return f"does not hold: {results}"
    # The tenant's and the platform's.
    return None if {whose for whose, _ in known} > {domain} else f"not all there: {results}"


def fails(results):
    return f"holds although a bit was flipped: {results}" if any(result is True for _, _, result in results) else None
