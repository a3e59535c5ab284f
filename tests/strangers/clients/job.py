"""What a client is asked to do and what became of it."""

import subprocess
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Job:
    """One message for one session. `path` is the letter with CRLF line ends."""

    host: str
    port: int
    tls: str
    ca: str
    username: str
    password: str
    sender: str
    recipients: tuple
    path: str
    utf8: bool = False

    def but(self, **changes):
        return replace(self, **changes)

    def raw(self):
        with open(self.path, "rb") as file:
            return file.read()

    def with_unix_lines(self):
        """The letter for programs that want LF and send CRLF."""
        return self.raw().replace(b"\r\n", b"\n")


@dataclass(frozen=True)
class Outcome:
    """Whether the client believes that it sent, and what it showed its user."""

    ok: bool
    text: str


class Client:
    """A client has a name, what it can do beyond sending ASCII, and a way to do jobs."""

    name = ""
    can = frozenset()
    # What the host must have, by the names of apt.txt.
    packages = ()
    # Fields that it puts before the letter itself.
    adds = ()
    # Letters that it cannot send as they are, with the reason: its defect and not ours.
    spoils = {}

    def lacks(self, tools):
        """None, or what it cannot do without."""
        return tools.lacks(self.packages)

    def send(self, jobs):
        return [self.send_one(job) for job in jobs]

    def send_one(self, job):
        raise NotImplementedError


def run(command, stdin=b"", seconds=60):
    """Runs a program; its exit code and what it printed."""
    ended = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=seconds, check=False)
    return ended.returncode, ended.stdout.decode("utf-8", "replace")
