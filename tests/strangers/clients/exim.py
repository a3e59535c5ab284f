"""Exim as a relay: sends by BDAT where CHUNKING is offered. Runs from a folder, seeing a user of its own.

Debian lets no two mail servers be installed, so the package is unpacked only; the name of the user that it insists on
is shown to it alone, in a mount namespace.
"""

import os
import re
import shutil

from clients.job import Client, Outcome, run


class Exim(Client):
    name = "exim"
    can = frozenset({"8bit", "smtputf8"})
    adds = ("received",)

    def __init__(self, tools):
        self.unpacked = f"{tools.place}/exim/usr/sbin/exim4"
        self.place = tools.workplace("exim")
        self.binary = f"{self.place}/exim4"

    def lacks(self, tools):
        return None if os.geteuid() == 0 else "it wants root"

    def send_one(self, job):
        self.set_up(job)
        exim = [self.binary, "-C", f"{self.place}/exim.conf", "-odi", "-oi", "-f", job.sender, *job.recipients]
        script = "".join(f"mount --bind {self.place}/{name} /etc/{name} && " for name in USERS) + 'exec "$@"'
        _, shown = run(["unshare", "--mount", "sh", "-c", script, "exim", *exim], job.with_unix_lines())
        with open(f"{self.place}/log/main", encoding="utf-8") as file:
            return verdict(file.read(), shown, len(job.recipients))

    def set_up(self, job):
        # What it remembers of a failure would be its answer to the next job.
        shutil.rmtree(self.place)
        os.makedirs(self.place)
        # It runs itself again as its user, who may not get to where it was unpacked.
        shutil.copy(self.unpacked, self.binary)
        for folder in ("spool", "log"):
            os.makedirs(f"{self.place}/{folder}")
            os.chown(f"{self.place}/{folder}", USER, USER)
        for name, line in USERS.items():
            with open(f"/etc/{name}", encoding="utf-8") as file:
                self.write(name, "".join(one for one in file if not one.startswith("Debian-exim:")) + line)
        self.write("exim.conf", configuration(self.binary, self.place, job))
        open(f"{self.place}/log/main", "w", encoding="utf-8").close()
        os.chown(f"{self.place}/log/main", USER, USER)

    def write(self, name, text):
        with open(f"{self.place}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


USER = 7999
USERS = {"passwd": f"Debian-exim:x:{USER}:{USER}::/:/bin/false\n", "group": f"Debian-exim:x:{USER}:\n"}


def verdict(log, shown, count):
    """Delivered lines have =>, failures ** or ==, or tell of an authenticator."""
    troubles = [line for line in log.splitlines() if re.search(r" (\*\*|==) |authenticator failed", line)]
    delivered = [line for line in log.splitlines() if re.search(r" [=-]> ", line)]
    if troubles or len(delivered) < count:
        return Outcome(False, "\n".join(troubles) or shown + log)
    if " K " not in delivered[-1]:
        return Outcome(False, f"it did not use CHUNKING: {delivered[-1]}")
    return Outcome(True, delivered[-1])


def configuration(binary, place, job):
    protocol = "protocol = smtps" if job.tls == "implicit" else ""
    return f"""\
exim_path = {binary}
primary_hostname = relay.stranger.example
spool_directory = {place}/spool
log_file_path = {place}/log/%s
keep_environment =
message_size_limit = 0
# It would add a Sender of its own host, which is no verified domain.
local_from_check = false
smtputf8_advertise_hosts = *
received_header_text = Received: by relay.stranger.example with local id $message_exim_id; $tod_full
begin routers
smarthost:
  driver = manualroute
  domains = *
  transport = house
  route_list = * {job.host}
  self = send
begin transports
house:
  driver = smtp
  port = {job.port}
  {protocol}
  allow_localhost
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {job.ca}
  tls_verify_hosts = *
  tls_try_verify_hosts =
begin retry
* * F,2h,15m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{job.username}^{job.password}
"""
