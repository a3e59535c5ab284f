"""The API held against its own document by Schemathesis: a tenant's key with another tenant's ids at hand, and an operator.

Schemathesis makes the cases; what it cannot know is which ids exist. So it is given a copy of the served document in which
every path parameter is one of the tenant's own things, of the other tenant's, or random text.
"""

import json
import os
import re
import subprocess

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "ignored_auth", "use_after_free", "unsupported_method", "nothing_of_the_other")
# These would end the login with which the operator asks; what they do is tested elsewhere.
ENDS_THE_CALLER = ("user_disable", "user_password", "tenant_delete", "tenant_quarantine", "tenant_pause")
# Locked out after some wrong passwords, or no JSON.
OPEN = "^/v1/auth|^/docs|^/console|^/metrics|^/health"
SPARE = 12


def check(house, tools, folder, examples):
    """Rows of (what, verdict), one for each caller."""
    stamp = os.urandom(4).hex()
    own, other = (house.onboard(f"c{stamp}-{name}") for name in ("own", "other"))
    document = json.loads(fetched(house))
    for one in (own, other):
        furnish(house, one, SPARE if one is own else 1)
    inside = lambda path: "{tenant}" in path
    ids = {"tenant": ["self", own.id, other.id], **{
        name: own.things[name] + other.things[name] for name in own.things}}
    yield "tenant", run(tools, folder, house, known(document, ids, lambda path: True), own.key, other, examples)
    ids["tenant"] = [own.id, other.id]
    outside = known(document, ids, lambda path: not inside(path))
    yield "operator", run(tools, folder, house, outside, house.operator(), None, examples)


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
    letter = {"from": f"a@{tenant.domain}", "to": "x@gmail.com", "subject": "s", "text": "t"}
    sent = [house.api("POST", f"/v1/tenants/{tenant.id}/messages", tenant.key, letter)["id"] for _ in range(count)]
    tenant.things["message"] = sent


def known(document, ids, wanted):
    """The document with paths that lead somewhere."""
    document = json.loads(json.dumps(document))
    paths = {path: item for path, item in document["paths"].items() if wanted(path) and not re.search(OPEN, path)}
    for operation in (operation for item in paths.values() for operation in item.values()):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in ids:
                parameter["schema"] = {"type": "string", "enum": ids[parameter["name"]] + ["x_00000000000000000000000000"]}
    document["paths"] = {path: {method: operation for method, operation in item.items()
                                if operation["operationId"] not in ENDS_THE_CALLER} for path, item in paths.items()}
    return document


def run(tools, folder, house, document, bearer, other, examples):
    """None, or what Schemathesis had to say."""
    place = tools.workplace("conformance")
    write(f"{place}/document.json", json.dumps(document))
    # The other tenant's name is in everything of it and in nothing that a path gives back.
    write(f"{place}/hooks.py", HOOKS.format(name=other.domain if other else "no such name"))
    command = [f"{tools.place}/python/bin/schemathesis", "run", f"{place}/document.json", "--url", house.ready["api"],
               "--header", f"Authorization: Bearer {bearer}", "--max-examples", str(examples), "--seed", "1",
               "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
               "--request-timeout", "30", "--warnings", "off", "--no-color"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": place}
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    count = re.search(r"(\d+) generated.*", said)
    print(f"  {count.group(0) if count else 'no cases'}", flush=True)
    return None if ended.returncode == 0 else said[said.find("FAILURES"):][:6000]


HOOKS = """import schemathesis

@schemathesis.check
def nothing_of_the_other(ctx, response, case):
    assert "{name}" not in response.text, "something of another tenant was shown"
"""


def fetched(house):
    return json.dumps(house.api("GET", "/openapi.json"))


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
