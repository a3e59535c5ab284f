"""Webhook calls judged by the Standard Webhooks libraries of two languages."""

import json
import os
import subprocess
import time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")


def check(house, tenant, tools):
    """Rows of (what, verdict): calls hold, a changed one or another secret does not; so again after a rotation."""
    webhook = f"/v1/tenants/{tenant.id}/webhooks/{tenant.webhook}"
    yield from judged(house, tenant, tools, "first", tenant.webhook_secret, fresh(house, tenant, webhook, set()))
    seen = {identity(call) for call in calls_of(house, tenant)}
    secret = house.api("POST", f"{webhook}/secrets/rotate", tenant.key)["secret"]
    calls = fresh(house, tenant, webhook, seen)
    yield from judged(house, tenant, tools, "rotated", secret, calls)
    # A receiver that has not changed over yet must go on.
    yield from judged(house, tenant, tools, "former", tenant.webhook_secret, calls)


def fresh(house, tenant, webhook, seen):
    """Asks for test calls and gives those that came since."""
    for _ in range(3):
        house.api("POST", f"{webhook}/test", tenant.key)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        new = [call for call in calls_of(house, tenant) if identity(call) not in seen]
        if len(new) >= 3:
            # Enough of them, the newest.
            return new[-20:]
        time.sleep(0.1)
    return []


def calls_of(house, tenant):
    return house.lab("GET", tenant.sink.removeprefix(house.ready["lab"]["control"]))["calls"]


def identity(call):
    return call["headers"]["webhook-id"]


def judged(house, tenant, tools, name, secret, calls):
    if not calls:
        yield f"{name} calls", "no calls came"
        return
    for language, command in (("python", [tools.python, f"{HERE}/verify_webhooks.py"]),
                              ("node", tools.node_script("verify_webhooks.mjs"))):
        verify = lambda secret, calls, command=command: ask(command, secret, calls)
        yield f"{name} {language} holds", None if all(verify(secret, calls)) else "a call does not hold"
        for what, changed in spoiled(calls):
            yield f"{name} {language} {what}", "a changed call holds" if any(verify(secret, changed)) else None
        other = "whsec_" + "A" * 32
        yield f"{name} {language} secret", "holds with another secret" if any(verify(other, calls)) else None


def spoiled(calls):
    """The calls with one thing changed."""
    def header(name, change):
        return [{**call, "headers": {**call["headers"], name: change(call["headers"][name])}} for call in calls]

    yield "body", [{**call, "body": call["body"] + " "} for call in calls]
    yield "id", header("webhook-id", lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"))
    yield "time", header("webhook-timestamp", lambda value: str(int(value) + 1))
    yield "old", header("webhook-timestamp", lambda value: str(int(value) - 3600))


def ask(command, secret, calls):
    asked = json.dumps({"secret": secret, "calls": calls}).encode()
    ended = subprocess.run(command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{command}: {ended.stderr.decode()}")
    told = json.loads(ended.stdout)
    # All of nothing hold, and none of nothing does.
    if not calls or len(told) != len(calls):
        raise SystemExit(f"{command} judged {len(told)} of {len(calls)} calls")
    return told
