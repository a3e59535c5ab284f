"""Other people's verifiers of DKIM: each gets files, and tells of every signature [domain, algorithm, holds].

All of them ask the lab's DNS for the keys.
"""

import json
import os
import re
import subprocess

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")


def dkimpy(tools, house, files):
    return parsed([tools.python, f"{HERE}/verify_dkimpy.py", house.dns, *files], files)


def mail_dkim(_tools, house, files):
    return parsed(["perl", f"{HERE}/verify_mail_dkim.pl", *house.dns.rsplit(":", 1), *files], files)


def parsed(command, files):
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{command[:2]}: {ended.stderr.decode()}")
    return one_each(command[1], [json.loads(line) for line in ended.stdout.splitlines()], files)


def one_each(name, told, files):
    """A file that nobody judged would count as a good one."""
    if len(told) != len(files):
        raise SystemExit(f"{name} judged {len(told)} of {len(files)}: {str(told)[-2000:]}")
    return told


def opendkim(tools, house, files):
    """Its test mode. Unbound inside it is told to ask the lab for everything, also for reserved names."""
    place = tools.workplace("opendkim")
    host, port = house.dns.rsplit(":", 1)
    write(f"{place}/unbound.conf",
          f'server:\n  do-not-query-localhost: no\n  module-config: "iterator"\n  local-zone: "test." nodefault\n'
          f'forward-zone:\n  name: "."\n  forward-addr: {host}@{port}\n')
    # What comes from an internal host would not be verified.
    write(f"{place}/opendkim.conf",
          f"Mode v\nSyslog no\nInternalHosts 192.0.2.1\nAlwaysAddARHeader yes\nAuthservID judge\n"
          f"MaximumSignaturesToVerify 10\nResolverConfiguration {place}/unbound.conf\n")
    ended = subprocess.run(["opendkim", "-x", f"{place}/opendkim.conf", "-vvv", "-t", ",".join(files)],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300, check=False)
    told = re.findall(r"INSHEADER: idx=0 hname='Authentication-Results' hvalue='(.*?)'\n",
                      ended.stdout.decode("utf-8", "replace"), re.DOTALL)
    return one_each("opendkim", [results_of(text) for text in told], files)


def results_of(text):
    """From the header field that it would add."""
    signatures = re.findall(r"dkim=(\w+)(.*?)header\.d=(\S+).*?header\.a=(\S+)", text, re.DOTALL)
    return [[domain, algorithm, True if result == "pass" else " ".join((result + why).split())]
            for result, why, domain, algorithm in signatures]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def everybody(tools):
    """Name, what it does, the algorithms that it does not know; none whose package is not here."""
    verifiers = [
        ("dkimpy", dkimpy, (), ()),
        ("mail-dkim", mail_dkim, ("ed25519-sha256",), ("libmail-dkim-perl",)),
        ("opendkim", opendkim, (), ("opendkim",)),
    ]
    return [(name, verify, unknown) for name, verify, unknown, packages in verifiers if not tools.lacks(packages)]
