"""The house under test as seen from outside: its ready file, its API, its lab."""

import base64
import collections
import json
import shutil
import time
import urllib.error
import urllib.request


class House:
    """Everything that the ready file tells, and the few calls that the checks need."""

    def __init__(self, ready_file, folder):
        with open(ready_file, encoding="utf-8") as file:
            self.ready = json.load(file)
        # Where users other than ours can read it.
        self.ca = shutil.copy(self.ready["ca"], folder)
        self.dns = self.ready["lab"]["dns"]

    def door(self, tls):
        """Host and port of the listener for `starttls` or `implicit`."""
        name = {"starttls": "submission", "implicit": "submissions"}[tls]
        host, port = self.ready["smtp"][name].rsplit(":", 1)
        return host, int(port)

    def api(self, method, path, token=None, body=None):
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        return call(method, self.ready["api"] + path, headers, body)

    def lab(self, method, path, body=None):
        return call(method, self.ready["lab"]["control"] + path, {"content-type": "application/json"}, body)

    def operator(self):
        return self.api("POST", "/v1/auth/token", body=self.ready["operator"])["access_token"]

    def onboard(self, name):
        """A tenant whose domain is verified; its name must be new to this house."""
        sink = self.lab("POST", "/webhook-sink")["url"]
        domain = f"{name}.example"
        wish = {"name": name, "domain": domain, "webhook": {"url": sink}}
        given = self.api("POST", "/v1/tenants", self.operator(), wish)
        self.lab("POST", "/dns/publish", given["domain"]["records"])
        key = given["api_key"]["secret"]
        path = f"/v1/tenants/{given['tenant']['id']}/domains/{given['domain']['id']}/verify"
        state = self.api("POST", path, key)["state"]
        if state != "verified":
            raise SystemExit(f"the domain {domain} is {state} and not verified")
        return Tenant(domain, given, sink)

    def arrivals(self, recipients, seconds=60):
        """The raw messages that arrived, by recipient; gives up waiting after some time."""
        wanted, found, until = set(recipients), {}, time.monotonic() + seconds
        while wanted - found.keys() and time.monotonic() < until:
            for recipient in sorted(wanted - found.keys()):
                for arrival in self.lab("GET", f"/arrivals?to={quote(recipient)}&limit=10&raw=1"):
                    found[recipient] = base64.b64decode(arrival["raw"])
            time.sleep(0.05)
        return found

    def arrivals_of(self, domain, recipients, seconds=60):
        """The same for many small ones that have one author's domain, in one question a turn."""
        wanted, found, until = set(recipients), {}, time.monotonic() + seconds
        while wanted - found.keys() and time.monotonic() < until:
            for arrival in self.lab("GET", f"/arrivals?from={domain}&limit=10000&raw=1"):
                found.update((to, base64.b64decode(arrival["raw"])) for to in arrival["rcpt_to"] if to in wanted)
            time.sleep(0.2)
        return found

    def twice(self, domain, recipients):
        """A sentence if one of them got more than one message from this author's domain."""
        arrivals = self.lab("GET", f"/arrivals?from={domain}&limit=10000")
        counts = collections.Counter(to for arrival in arrivals for to in arrival["rcpt_to"] if to in recipients)
        more = [to for to, count in counts.items() if count > 1]
        return f"arrived more than once: {more[:5]}" if more else None


class Tenant:
    """What onboarding gave."""

    def __init__(self, domain, given, sink):
        self.id = given["tenant"]["id"]
        self.domain, self.name = domain, domain.partition(".")[0]
        self.username = given["smtp_credential"]["username"]
        self.password = given["smtp_credential"]["password"]
        self.key = given["api_key"]["secret"]
        self.sink = sink
        self.webhook_secret = given["webhook"]["secret"]
        self.webhook = given["webhook"]["id"]


def quote(text):
    return urllib.request.quote(text, safe="")


def call(method, url, headers, body):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {url}: {error.code} {error.read().decode()}") from error
    return json.loads(text) if text else None
