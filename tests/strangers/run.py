"""Other people's clients and verifiers against a running house. Exits with 1 if something differs.

    python3 tests/strangers/run.py --ready FILE [--tools DIR] [--only NAME] [--texts]
    python3 tests/strangers/run.py --install [--tools DIR]
"""

import argparse
import os
import sys
import tempfile
import time

import clients
import conformance
import encryption
import judge
import keeping
import refusals
import sending
import sentences
import signatures
import spoofing
import webhooks
from house import House
from known import sorted_out
from tools import Tools


def main():
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="strangers-") as folder:
        os.chmod(folder, 0o755)
        tools = Tools(asked.tools, folder)
        tools.install()
        if not asked.install:
            sys.exit(judge_house(tools, folder, asked))


def judge_house(tools, folder, asked):
    """Runs what was asked for and prints the table; gives the exit code, or a sentence."""
    totals = (0, 0, 0)
    for name, action in chapters(House(asked.ready, folder), tools, folder, asked):
        if name.startswith(asked.only):
            totals = tuple(map(sum, zip(totals, run(name, action, asked))))
    passed, known, failed = totals
    print(f"{passed} passed, {failed} failed; {known} known")
    lacking = tools.lacks(tools.missing) if asked.complete else None
    return lacking or (1 if failed else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ready", help="the ready file of a house with its lab")
    parser.add_argument("--tools", default="target/tools/strangers", help="where other people's tools are kept")
    parser.add_argument("--install", action="store_true", help="bring the tools and do nothing else")
    parser.add_argument("--only", default="", help="the beginning of a row's name")
    parser.add_argument("--texts", action="store_true", help="print what every client shows when it is refused")
    parser.add_argument("--recipients-max", type=int, default=1000, help="as this house is configured")
    parser.add_argument("--count", type=int, default=500, help="messages whose signatures are verified")
    parser.add_argument("--examples", type=int, default=4, help="cases of each operation that Schemathesis makes up")
    parser.add_argument("--thorough", action="store_true", help="all that testssl.sh can look for, some minutes")
    parser.add_argument("--complete", action="store_true", help="fail if a package of the host is missing")
    return parser.parse_args()


def run(name, action, asked):
    """Prints a line, and one more for each row that differs; gives the counts."""
    began = time.monotonic()
    good, known, bad = sorted_out((f"{name}: {what}", verdict) for what, verdict in action())
    took = time.monotonic() - began
    print(f"{name:24} {len(good):5} good {len(known):3} known {len(bad):4} bad {took:6.1f} s", flush=True)
    for what, verdict in bad:
        print(f"  {what}: {verdict[:600]}")
    for what, reason in known if asked.texts else []:
        print(f"  known, {what}: {reason}")
    return len(good), len(known), len(bad)


def chapters(house, tools, folder, asked):
    """Name and action of each row of the table. A tenant of its own where the lab is asked by the author's domain."""
    yield "judge", judge.check
    stamp = f"s{int(time.time())}"
    tenant, pooled, signer, spoofed = (house.onboard(f"{stamp}-{name}") for name in ("sends", "pools", "signs", "spoofed"))
    everybody = here(clients.everybody(tools), tools)
    by_http = here(clients.by_http(house, tenant), tools)
    for client in everybody + by_http:
        yield f"send/{client.name}", lambda client=client: sending.check(house, tenant, client, folder)
    for client in here(clients.pools(tools), tools):
        yield f"pool/{client.name}", lambda client=client: sending.check_pool(house, pooled, client, folder)
    for client in here(clients.composers(tools), tools):
        yield f"compose/{client.name}", lambda client=client: sending.check_composed(house, tenant, client, folder)
    for client in everybody:
        yield f"refuse/{client.name}", lambda client=client: refusals.check(house, tenant, client, folder, asked)
    yield "sentences", lambda: sentences.check(house, tenant, asked)
    yield "signatures", lambda: signatures.check(house, signer, tools, everybody, folder, asked.count)
    yield "kept", lambda: keeping.check(house, signer, tools, folder)
    yield "webhooks", lambda: webhooks.check(house, signer, tools)
    yield "spoofing", lambda: spoofing.check(house, tenant, spoofed, tools, folder)
    yield "encryption", lambda: encryption.check(house, tools, folder, asked.thorough)
    yield "conform", lambda: conformance.check(house, tools, folder, asked.examples)


def here(some, tools):
    """Those that can run here; a word about the others."""
    for client in some:
        if client.lacks(tools):
            print(f"without {client.name}: {client.lacks(tools)}")
    return [client for client in some if not client.lacks(tools)]


if __name__ == "__main__":
    main()
