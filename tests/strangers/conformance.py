"""The API held against its own document by Schemathesis: a tenant's key with another tenant's ids at hand, an operator, and nobody.

Schemathesis makes the cases; what it cannot know is which ids exist. So it is given a copy of the served document in which
every path parameter is one of the tenant's own things (some are deleted on the way) or of the other tenant's.
"""

import json
import os
import re
import subprocess

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "ignored_auth", "use_after_free", "unsupported_method", "nothing_of_the_other")
# Texts that fit our formats, and things that exist: without them most cases would end at the first check.
FORMATS = {
    "slug": {"pattern": "^[a-z][a-z0-9]{2,20}$"}, "domain": {"pattern": "^[a-z]{3,12}[.]example$"},
    "display-name": {"pattern": "^[A-Za-z][A-Za-z ]{0,18}[A-Za-z]$"}, "email": {"pattern": "^[a-z]{3,12}@[a-z]{3,9}[.]example$"},
    "http-url": {"enum": ["https://hooks.example/", "https://hooks.example:8443/x?y=1", "https://10.0.0.1/"]},
    "network": {"enum": ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32"]}, "event-type": {"enum": ["message.delivered", "message.bounced"]},
    "password": {"pattern": "^[a-z]{12,40}$"}, "byte": {"enum": ["QQ==", "RnJvbTogYUBiLmV4YW1wbGUNCg0K"]},
}
# One of each list is enough for cursors that are random; with one, a list is never shown.
SPARE = 12
# Two thirds of what is made: 4,914 cases with 4 examples of each operation, 32,914 with 300. Most of the first come whatever
# the number of examples.
LEAST_CASES, LEAST_CASES_AN_EXAMPLE = 3_000, 60
# For everybody: these are asked without a key, since a log-out with one would end it.
OPEN = "^/v1/auth|^/docs|^/console|^/metrics|^/health|^/openapi"


def check(house, tools, folder, examples):
    """Rows of (what, verdict), one for each caller."""
    stamp = os.urandom(4).hex()
    own, other = (house.onboard(f"c{stamp}-{name}") for name in ("own", "other"))
    document = json.loads(fetched(house))
    for one in (own, other):
        furnish(house, one, SPARE if one is own else 1)
    operator = house.operator()
    ids = {"tenant": ["self", own.id, other.id], **{
        name: own.things[name] + other.things[name] for name in own.things}}
    ids["user"] = [spare_user(house, operator, f"{stamp}-{n}") for n in range(SPARE)]
    everything = known(document, ids, lambda path: not re.search(OPEN, path))
    pages(house, everything, own, own.key)
    verdict, cases = run(tools, folder, house, everything, own.key, other, examples)
    yield "tenant", verdict
    ids["tenant"] = [own.id, other.id]
    outside = known(document, ids, lambda path: "{tenant}" not in path and not re.search(OPEN, path))
    pages(house, outside, own, operator)
    verdict, more = run(tools, folder, house, outside, operator, None, examples)
    yield "operator", verdict
    # Last, since logging in with made-up passwords locks us out.
    open_paths = known(document, ids, lambda path: re.search(OPEN, path))
    verdict, open_cases = run(tools, folder, house, open_paths, None, other, examples)
    yield "nobody", verdict
    made, least = cases + more + open_cases, LEAST_CASES + LEAST_CASES_AN_EXAMPLE * examples
    yield "cases", None if made >= least else f"only {made} cases were made, {least} at least are expected"


def spare_user(house, operator, name):
    """Somebody who may be disabled and given another password; it is not the operator who asks."""
    user = {"email": f"{name}@example.org", "role": "operator", "password": os.urandom(20).hex()}
    return house.api("POST", "/v1/users", operator, user)["id"]


def pages(house, document, tenant, bearer):
    """Makes a cursor what a list gave for its second page, and leaves it out where there is no such page."""
    for path, item in document["paths"].items():
        operation = item.get("get", {})
        cursors = [one for one in operation.get("parameters", []) if one["name"] == "cursor"]
        # This one is free: it is a number of a place in a log, and others than ours are understood.
        for cursor in cursors if operation.get("operationId") != "event_list" else []:
            place = path.replace("{tenant}", tenant.id)
            for name, things in tenant.things.items():
                place = place.replace("{" + name + "}", things[0])
            shown = may_see(house, f"{place}?limit=1", bearer)
            if shown and shown.get("next_cursor"):
                cursor["schema"] = {"type": "string", "enum": [shown["next_cursor"]]}
            else:
                operation["parameters"].remove(cursor)


def may_see(house, path, bearer):
    """What a list shows, or nothing to those who may not see it."""
    try:
        return house.api("GET", path, bearer)
    except SystemExit:
        return None


def furnish(house, tenant, count):
    """Things that may be changed and deleted without an end of the tenant's own access."""
    made = {
        "stream": ("streams", lambda n: {"name": f"spare-{n}", "kind": "marketing"}),
        "domain": ("domains", lambda n: {"name": f"d{n}.{tenant.domain}"}),
        "credential": ("credentials", lambda n: {"name": f"Spare {n}"}),
        "api_key": ("api-keys", lambda n: {"name": f"Spare {n}", "scopes": ["read"]}),
        "webhook": ("webhooks", lambda n: {"url": tenant.sink}),
    }
    tenant.things = {}
    for name, (collection, body) in made.items():
        path = f"/v1/tenants/{tenant.id}/{collection}"
        tenant.things[name] = [house.api("POST", path, tenant.key, body(n))["id"] for n in range(count)]
    letter = {"from": f"a@{tenant.domain}", "to": f"to-{tenant.name}@gmail.com", "subject": "s", "text": "t"}
    sent = [house.api("POST", f"/v1/tenants/{tenant.id}/messages", tenant.key, letter)["id"] for _ in range(count)]
    tenant.things["message"] = sent


def known(document, ids, wanted):
    """The document with paths that lead somewhere."""
    document = json.loads(json.dumps(document))
    fit(document["components"]["schemas"], ids)
    document["paths"] = {path: item for path, item in document["paths"].items() if wanted(path)}
    for operation in (operation for item in document["paths"].values() for operation in item.values()):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in ids:
                parameter["schema"] = {"type": "string", "enum": ids[parameter["name"]]}
    return document


def fit(schema, ids):
    """Our formats, said in words that Schemathesis knows."""
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, (dict, list)):
            fit(inner, ids)
    if isinstance(schema, dict) and isinstance(schema.get("format"), str):
        name = schema["format"].removesuffix("-id")
        known = {"enum": ids[name]} if name in ids else FORMATS.get(name, {})
        # What may be null is left as it is: null would not be in the list.
        if schema.get("type") == "string":
            schema.update(known)


def run(tools, folder, house, document, bearer, other, examples):
    """None, or what Schemathesis had to say; and the number of cases that it made."""
    place = tools.workplace("conformance")
    write(f"{place}/document.json", json.dumps(document))
    # The other tenant's name is in everything of it and in nothing that a path gives back. It is handed over in the environment,
    # because texts of the module would be tried as input and come back in what we say of them.
    write(f"{place}/hooks.py", HOOKS)
    write(f"{place}/schemathesis.toml", "")
    # One worker: the parser of CPython 3.11, which Hypothesis asks for the source of lambdas, counts its depth for all threads
    # together, and gives up where two ask at once ("AST constructor recursion depth mismatch").
    command = [f"{tools.place}/python/bin/schemathesis", "--config-file", f"{place}/schemathesis.toml", "run", f"{place}/document.json", "--url", house.ready["api"],
               *(["--header", f"Authorization: Bearer {bearer}"] if bearer else []), "--max-examples", str(examples), "--seed", "1",
               "--workers", "1", "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
               "--request-timeout", "30", "--warnings", "off", "--no-color"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "OTHER": other.name if other else "no such name", "PYTHONPATH": place}
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    count = re.search(r"([\d,]+) generated.*", said)
    cases = int(count.group(1).replace(",", "")) if count else 0
    print(f"  {count.group(0) if count else 'no cases'}", flush=True)
    if ended.returncode == 0:
        return None, cases
    # An error of its own comes under another heading, or under none.
    heading = re.search("FAILURES|ERRORS", said)
    return f"exit {ended.returncode}: " + (said[heading.start():][:6000] if heading else said[-6000:]), cases


HOOKS = """import os
import schemathesis

@schemathesis.check
def nothing_of_the_other(ctx, response, case):
    is_shown = response.status_code < 300 and os.environ["OTHER"] in response.text
    assert not is_shown, "something of another tenant was shown"
"""


def fetched(house):
    return json.dumps(house.api("GET", "/openapi.json"))


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
