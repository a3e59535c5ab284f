"""Postfix as a relay of a tenant's own: a smarthost client with SASL and verified TLS, on a directory of its own."""

import os
import re
import shutil
import time

from clients.job import Client, Outcome, run


class Postfix(Client):
    name = "postfix"
    packages = ("postfix", "libsasl2-modules")
    can = frozenset({"8bit", "smtputf8"})
    adds = ("received",)

    def __init__(self, tools):
        self.place = tools.workplace("postfix")

    def lacks(self, tools):
        return tools.lacks(self.packages) or (None if os.geteuid() == 0 else "it wants root")

    def send(self, jobs):
        """One instance for each door and password among the jobs."""
        outcomes = {}
        for key in dict.fromkeys((job.tls, job.password) for job in jobs):
            own = [job for job in jobs if (job.tls, job.password) == key]
            outcomes.update(zip(map(id, own), self.send_through(own)))
        return [outcomes[id(job)] for job in jobs]

    def send_through(self, jobs):
        self.set_up(jobs[0])
        self.control("start")
        try:
            queued = [self.inject(job) for job in jobs]
            return self.told(jobs, queued)
        finally:
            self.control("stop")

    def set_up(self, job):
        shutil.rmtree(self.place, ignore_errors=True)
        for folder in ("etc", "spool", "data"):
            os.makedirs(f"{self.place}/{folder}")
        shutil.chown(f"{self.place}/data", "postfix")
        for name in ("dynamicmaps.cf", "postfix-files", "post-install", "postfix-script"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", f"{self.place}/etc/{name}")
        self.write("etc/main.cf", main_cf(self.place, job))
        self.write("etc/master.cf", MASTER)
        self.write("etc/sasl", f"[{job.host}]:{job.port} {job.username}:{job.password}\n")

    def write(self, name, text):
        with open(f"{self.place}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def control(self, verb):
        code, shown = run(["postfix", "-c", f"{self.place}/etc", verb])
        if code != 0:
            raise SystemExit(f"postfix {verb}: {shown}")

    def inject(self, job):
        command = ["/usr/sbin/sendmail", "-C", f"{self.place}/etc", "-i", "-f", job.sender, *job.recipients]
        return run(command, job.with_unix_lines())

    def told(self, jobs, queued):
        """What its log says of every recipient, once it says something."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with open(f"{self.place}/spool/maillog", encoding="utf-8") as file:
                log = file.read()
            found = [verdict(log, job) for job in jobs]
            if all(found):
                return found
            time.sleep(0.1)
        return [one or Outcome(False, f"nothing in the log; {shown}") for one, (_, shown) in zip(found, queued)]


def verdict(log, job):
    lines = [last_line(log, recipient) for recipient in job.recipients]
    if not all(lines):
        return None
    worst = next((line for line in lines if "status=sent" not in line), lines[0])
    return Outcome("status=sent" in worst, re.sub(r"^.*?status=", "status=", worst))


def last_line(log, recipient):
    found = [line for line in log.splitlines() if f"to=<{recipient}>" in line and "status=" in line]
    return found[-1] if found else None


def main_cf(place, job):
    wrapper = "yes" if job.tls == "implicit" else "no"
    return (
        f"compatibility_level = 3.6\nqueue_directory = {place}/spool\ndata_directory = {place}/data\n"
        f"maillog_file = {place}/spool/maillog\nmaillog_file_prefixes = {place}\n"
        f"inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = relay.stranger.example\n"
        f"mydestination =\nmessage_size_limit = 0\nalias_maps =\nsmtputf8_enable = yes\n"
        f"relayhost = [{job.host}]:{job.port}\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
        f"smtp_sasl_password_maps = texthash:{place}/etc/sasl\nsmtp_tls_CAfile = {job.ca}\n"
        f"smtp_tls_security_level = verify\nsmtp_tls_verify_cert_match = mx.posthouse.test\n"
        f"smtp_tls_wrappermode = {wrapper}\nsmtp_destination_recipient_limit = 1000\n"
    )


MASTER = """\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
