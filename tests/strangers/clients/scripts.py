"""Clients that are libraries: a short script for each reads jobs and answers, in its own language."""

import dataclasses
import json
import os
import subprocess

from clients.job import Client, Outcome

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")


class Script(Client):
    """A library that is driven by a script beside us."""

    def __init__(self, name, command, can=(), environment=None, spoils=None):
        self.name = name
        self.command = command
        self.can = frozenset(can)
        self.environment = environment or {}
        self.spoils = spoils or {}

    def send(self, jobs):
        asked = json.dumps([dataclasses.asdict(job) for job in jobs]).encode()
        ended = subprocess.run(self.command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               timeout=300, check=False, env={**os.environ, **self.environment})
        answers = [json.loads(line) for line in ended.stdout.splitlines()]
        if len(answers) < len(jobs):
            raise SystemExit(f"{self.name} ended early: {ended.stderr.decode()}")
        return [Outcome(answer["ok"], answer["text"]) for answer in answers]


def composers(tools):
    return [
        Script("email", [tools.python, f"{HERE}/composed_email.py"]),
        Script("nodemailer", tools.node_script("composed_nodemailer.mjs")),
        Script("emailjs", tools.node_script("composed_emailjs.mjs")),
    ]


def clients(tools):
    python, node = tools.python, tools.node_script
    return [
        Script("smtplib", [python, f"{HERE}/smtplib_client.py"], {"8bit", "smtputf8"}),
        Script("aiosmtplib", [python, f"{HERE}/aiosmtplib_client.py"], {"8bit", "smtputf8"}),
        Script("nodemailer", node("nodemailer_client.mjs"), {"8bit", "smtputf8"}),
        Script("net-smtp", ["perl", f"{HERE}/net_smtp_client.pl"], {"8bit"}),
        Script("net-smtp-bdat", ["perl", f"{HERE}/net_smtp_client.pl", "bdat"], {"8bit", "unended"}),
    ]
