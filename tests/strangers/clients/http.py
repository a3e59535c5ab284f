"""curl at the HTTP door: a finished message, as `message/rfc822` and as base64 in JSON. A job's door is not used."""

import base64
import json

from clients.job import Client, Outcome, run


class Rfc822(Client):
    name = "http-rfc822"
    packages = ("curl",)
    can = frozenset({"8bit", "unended"})
    # Its recipients are read from the fields.
    spoils = {"hidden": "the recipients of Bcc get it too"}

    def __init__(self, house, tenant):
        self.url = f"{house.ready['api']}/v1/tenants/self/messages"
        self.key = tenant.key

    def send_one(self, job):
        return self.post(job.path, "message/rfc822")

    def post(self, path, kind):
        code, shown = run([
            "curl", "--silent", "--show-error", "--fail-with-body", "--data-binary", f"@{path}",
            "--header", f"Content-Type: {kind}", "--header", f"Authorization: Bearer {self.key}", self.url])
        return Outcome(code == 0, shown.strip())


class Json(Rfc822):
    name = "http-json"
    can = frozenset({"8bit", "unended", "smtputf8", "bare"})
    spoils = {}

    def send_one(self, job):
        call = {"raw": base64.b64encode(job.raw()).decode(), "from": job.sender, "to": list(job.recipients)}
        path = job.path + ".json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(call, file)
        return self.post(path, "application/json")
