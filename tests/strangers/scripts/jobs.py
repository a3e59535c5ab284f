"""The jobs that a Python client gets on standard input, and how it answers: one line of JSON per job."""

import json
import ssl
import sys


def run(send):
    """Calls `send(job, raw)` for each job; it returns what it would show its user, or raises."""
    for job in json.load(sys.stdin):
        with open(job["path"], "rb") as file:
            raw = file.read()
        try:
            answer = {"ok": True, "text": str(send(job, raw))}
        except Exception as error:  # what a user would see at the bottom of a traceback
            answer = {"ok": False, "text": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def context(job):
    return ssl.create_default_context(cafile=job["ca"])
