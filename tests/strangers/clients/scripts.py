"""Clients that are libraries: a short script for each reads jobs and answers, in its own language."""

import dataclasses
import json
import os
import subprocess

from clients.job import Client, Outcome

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")
PHP = ("php-cli", "libphp-phpmailer")


class Script(Client):
    """A library that is driven by a script beside us."""

    def __init__(self, name, command, can=(), packages=()):
        self.name = name
        self.command = command
        self.can = frozenset(can)
        self.packages = packages

    def send(self, jobs):
        asked = json.dumps([dataclasses.asdict(job) for job in jobs]).encode()
        ended = subprocess.run(self.command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               timeout=300, check=False)
        answers = [json.loads(line) for line in ended.stdout.splitlines()]
        if len(answers) < len(jobs):
            raise SystemExit(f"{self.name} ended early: {ended.stderr.decode()}")
        return [Outcome(answer["ok"], answer["text"]) for answer in answers]


def clients(tools):
    python, node = tools.python, tools.node_script
    perl = ("libauthen-sasl-perl", "libio-socket-ssl-perl")
    return [
        Script("smtplib", [python, f"{HERE}/smtplib_client.py"], {"8bit", "smtputf8", "bare"}),
        Script("aiosmtplib", [python, f"{HERE}/aiosmtplib_client.py"], {"8bit", "smtputf8"}),
        Script("nodemailer", node("nodemailer_client.mjs"), {"8bit", "smtputf8"}),
        Script("phpmailer", ["php", f"{HERE}/phpmailer_client.php"], {"8bit"}, PHP),
        Script("net-smtp", ["perl", f"{HERE}/net_smtp_client.pl"], {"8bit"}, perl),
        Script("net-smtp-bdat", ["perl", f"{HERE}/net_smtp_client.pl", "bdat"], {"8bit", "unended", "bare"}, perl),
    ]


def composers(tools):
    return [
        Script("email", [tools.python, f"{HERE}/composed_email.py"]),
        Script("nodemailer", tools.node_script("composed_nodemailer.mjs")),
        Script("emailjs", tools.node_script("composed_emailjs.mjs")),
        Script("phpmailer", ["php", f"{HERE}/phpmailer_client.php", "compose"], (), PHP),
    ]


def pools(tools):
    return [
        Script("nodemailer", tools.node_script("pool_nodemailer.mjs")),
        Script("aiosmtplib", [tools.python, f"{HERE}/pool_aiosmtplib.py"]),
    ]
