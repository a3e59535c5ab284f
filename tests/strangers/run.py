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
import signatures
from house import House
from tools import Tools


def main():
    asked = arguments()
    tools = Tools(asked.tools)
    tools.install()
    house = House(asked.ready)
    bad = 0
    for name, chapter in chapters(house, tools, asked):
        if asked.only and not name.startswith(asked.only):
            continue
        began = time.monotonic()
        rows = list(chapter())
        wrong = [(what, verdict) for what, verdict in rows if verdict]
        print(f"{name:32} {len(rows) - len(wrong):4} good {len(wrong):4} bad {time.monotonic() - began:6.1f} s")
        for what, verdict in wrong:
            print(f"  {what}: {verdict[:600]}")
        bad += len(wrong)
    sys.exit(1 if bad else 0)


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
    signer = house.onboard(f"{stamp}-signs")
    everybody = clients.everybody(tools)
    yield "signatures", lambda: signatures.check(house, signer, tools, everybody, folder, asked.count)
    yield "kept", lambda: keeping.check(house, signer, tools, folder)


if __name__ == "__main__":
    main()
