"""Other people's clients and verifiers against a running house. Exits with 1 if something differs.

    python3 tests/strangers/run.py --ready FILE [--tools DIR] [--only NAME]
"""

import argparse
import sys
import tempfile
import time

import clients
import keeping
import refusals
import sending
import sentences
import signatures
import webhooks
from house import House
from known import sorted_out
from tools import Tools


def main():
    asked = arguments()
    tools = Tools(asked.tools)
    tools.install()
    house = House(asked.ready)
    totals = [0, 0, 0]
    for name, chapter in chapters(house, tools, asked):
        if name.startswith(asked.only):
            counts = run(name, chapter, asked)
            totals = [one + other for one, other in zip(totals, counts)]
    print("{} passed, {} failed, {} known".format(totals[0], totals[2], totals[1]))
    sys.exit(1 if totals[2] else 0)


def run(name, chapter, asked):
    """Prints a line, and one more for each row that differs; gives the counts."""
    began = time.monotonic()
    good, known, bad = sorted_out((f"{name}: {what}", verdict) for what, verdict in chapter())
    took = time.monotonic() - began
    print(f"{name:24} {len(good):5} good {len(known):3} known {len(bad):4} bad {took:6.1f} s", flush=True)
    for what, verdict in bad:
        print(f"  {what}: {verdict[:600]}")
    for what, reason in known if asked.texts else []:
        print(f"  known, {what}: {reason}")
    return len(good), len(known), len(bad)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready", required=True, help="the ready file of a house with its lab")
    parser.add_argument("--tools", default="target/strangers", help="where other people's tools are kept")
    parser.add_argument("--only", default="", help="the beginning of a row's name")
    parser.add_argument("--texts", action="store_true", help="print what every client shows when it is refused")
    parser.add_argument("--recipients-max", type=int, default=1000, help="as this house is configured")
    parser.add_argument("--count", type=int, default=500, help="messages whose signatures are verified")
    return parser.parse_args()


def chapters(house, tools, asked):
    """Name and action of each row of the table."""
    folder = tempfile.mkdtemp(prefix="strangers-")
    stamp = f"s{int(time.time())}"
    tenant = house.onboard(stamp)
    for client in clients.everybody(tools):
        yield f"send/{client.name}", lambda client=client: sending.check(house, tenant, client, folder)
    for client in clients.composers(tools):
        yield f"compose/{client.name}", lambda client=client: sending.check_composed(house, tenant, client, folder)
    for client in clients.everybody(tools):
        yield f"refuse/{client.name}", lambda client=client: refusals.check(house, tenant, client, folder, asked)
    yield "sentences", lambda: sentences.check(house, tenant, asked)
    signer = house.onboard(f"{stamp}-signs")
    everybody = clients.everybody(tools)
    yield "signatures", lambda: signatures.check(house, signer, tools, everybody, folder, asked.count)
    yield "kept", lambda: keeping.check(house, signer, tools, folder)
    yield "webhooks", lambda: webhooks.check(house, signer, tools)


if __name__ == "__main__":
    main()
