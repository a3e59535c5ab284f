"""Clients that are programs: swaks, curl, msmtp. One run a job."""

from clients.job import Client, Outcome, run


class Swaks(Client):
    packages = ("swaks", "libio-socket-ssl-perl")
    can = frozenset({"8bit"})

    def __init__(self, name="swaks", extra=()):
        self.name = name
        self.extra = extra

    spoils = {"last-dot": "takes a last line that is a dot for the end", "empty": "writes a blank line of its own"}

    def send_one(self, job):
        tls = {"starttls": "--tls", "implicit": "--tls-on-connect"}[job.tls]
        # It always writes a line end of its own after the data.
        letter = job.path + ".swaks"
        with open(letter, "wb") as file:
            file.write(job.raw().removesuffix(b"\r\n"))
        code, shown = run([
            "swaks", "--server", job.host, "--port", str(job.port), tls, "--tls-verify", "--tls-ca-path", job.ca,
            "--auth", "PLAIN", "--auth-user", job.username, "--auth-password", job.password,
            "--from", job.sender, "--to", ",".join(job.recipients), "--data", f"@{letter}",
            "--suppress-data", *self.extra])
        said = [line for line in shown.splitlines() if line.startswith(("<**", "<~*", "***"))]
        return Outcome(code == 0, "\n".join(said))


class Curl(Client):
    name = "curl"
    packages = ("curl",)
    can = frozenset({"8bit", "bare"})

    def send_one(self, job):
        scheme = {"starttls": "smtp", "implicit": "smtps"}[job.tls]
        recipients = [word for recipient in job.recipients for word in ("--mail-rcpt", recipient)]
        code, shown = run([
            "curl", "--silent", "--show-error", "--verbose",
            "--url", f"{scheme}://{job.host}:{job.port}/stranger.example", "--ssl-reqd",
            "--cacert", job.ca, "--user", f"{job.username}:{job.password}",
            "--mail-from", job.sender, *recipients, "--upload-file", job.path])
        # Without --verbose it tells the code of a reply at most.
        said = [line.strip() for line in shown.splitlines() if line.startswith(("< 4", "< 5", "curl: "))]
        return Outcome(code == 0, "\n".join(said))


class Msmtp(Client):
    name = "msmtp"
    packages = ("msmtp", "libsasl2-modules")
    can = frozenset({"8bit"})

    def send_one(self, job):
        code, shown = run([
            "msmtp", f"--host={job.host}", f"--port={job.port}", "--tls=on",
            f"--tls-starttls={'on' if job.tls == 'starttls' else 'off'}", f"--tls-trust-file={job.ca}",
            "--auth=plain", f"--user={job.username}", f"--passwordeval=echo {job.password}",
            f"--from={job.sender}", "--", *job.recipients], job.with_unix_lines())
        return Outcome(code == 0, shown.strip())


def clients():
    return [Swaks(), Swaks("swaks-pipeline", ("--pipeline", "--auth", "LOGIN")), Curl(), Msmtp()]
