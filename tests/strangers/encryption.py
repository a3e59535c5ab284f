"""TLS of every door judged by other people's scanners: sslyze and testssl.sh, and Münster's tester of STARTTLS injection.

The API has no TLS of its own. What scanners say of certificates is left out, since the house under test has an authority of
its own. testssl.sh takes its time: it looks at protocols in every run, and at everything with `--thorough`.
"""

import concurrent.futures
import json
import os
import subprocess

PROTOCOLS = {
    "SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "offered",
    "TLS1_3": "offered",
}
HOLES = {
    "cipherlist_NULL": "not offered", "cipherlist_aNULL": "not offered", "cipherlist_EXPORT": "not offered",
    "cipherlist_LOW": "not offered", "cipherlist_3DES_IDEA": "not offered", "cipherlist_AVERAGE": "not offered",
    "cipherlist_STRONG": "offered", "heartbleed": "not vulnerable", "CCS": "not vulnerable", "ROBOT": "not vulnerable",
    "secure_renego": "supported", "secure_client_renego": ("not vulnerable", "likely not vulnerable"),
    "CRIME_TLS": "not vulnerable", "POODLE_SSL": "not vulnerable", "fallback_SCSV": "no protocol below TLS 1.2",
    "SWEET32": "not vulnerable", "FREAK": "not vulnerable", "DROWN": "not vulnerable", "LOGJAM": "not vulnerable",
    "BEAST": "not vulnerable", "LUCKY13": "not vulnerable", "RC4": "not vulnerable",
}
# What this says of the tools of the host, and that SMTP within TLS is not known to it.
REMARKS = ("engine_problem", "scanTime", "service")
# Of sslyze, by the name of the scan and of what it found.
FOUND = {
    ("ssl_2_0_cipher_suites", "is_tls_version_supported"): False, ("ssl_3_0_cipher_suites", "is_tls_version_supported"): False,
    ("tls_1_0_cipher_suites", "is_tls_version_supported"): False, ("tls_1_1_cipher_suites", "is_tls_version_supported"): False,
    ("tls_1_2_cipher_suites", "is_tls_version_supported"): True, ("tls_1_3_cipher_suites", "is_tls_version_supported"): True,
    ("tls_1_3_early_data", "supports_early_data"): False, ("tls_compression", "supports_compression"): False,
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"): False, ("heartbleed", "is_vulnerable_to_heartbleed"): False,
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"): False,
    ("session_renegotiation", "client_renegotiations_success_count"): 0,
    ("session_renegotiation", "supports_secure_renegotiation"): True,
    ("tls_extended_master_secret", "supports_ems_extension"): True,
    ("robot", "robot_result"): "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
}


def check(house, tools, folder, thorough):
    """Rows of (what, verdict). The scanners wait more than they work, so all of them are at it at once."""
    doors = [("submission", True), ("submissions", False), ("inbound", True)]
    scans = [("sslyze", sslyze), ("testssl.sh", everything if thorough else protocols)]
    if tools.lacks({"testssl.sh"}):
        print(f"  without testssl.sh: {tools.lacks({'testssl.sh'})}")
        scans.pop()
    jobs = [(f"{name} {door}", scan, door, starts) for name, scan in scans for door, starts in doors
            if scan is sslyze or thorough or door != "inbound"]
    jobs += [(f"injection {door}", injection, door, starts) for door, starts in doors if starts]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        runs = [(what, pool.submit(scan, house.ready["smtp"][door], starts, tools, folder)) for what, scan, door, starts in jobs]
        for what, run in runs:
            wrong = run.result()
            yield what, "; ".join(wrong) if wrong else None


def sslyze(address, starts, tools, folder):
    path = os.path.join(folder, f"sslyze-{address.rpartition(':')[2]}.json")
    starttls = ["--starttls", "smtp"] if starts else []
    said = run([f"{tools.place}/python/bin/sslyze", *starttls, "--early_data", "--ems", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1",
                "--tlsv1_2", "--tlsv1_3", "--compression", "--openssl_ccs", "--heartbleed", "--reneg", "--robot",
                "--mozilla_config", "disable", "--json_out", path, address])
    scans = loaded(path)["server_scan_results"] if os.path.exists(path) else []
    if len(scans) != 1 or scans[0]["scan_status"] != "COMPLETED":
        return [f"it has not scanned: {said[-300:]}"]
    results = scans[0]["scan_result"]
    wrong = [f"{scan}: {results[scan]['status']}" for scan, _ in FOUND if results[scan]["status"] != "COMPLETED"]
    if wrong:
        return wrong
    wrong = [f"{scan} {found} is {results[scan]['result'][found]}" for (scan, found), wanted in FOUND.items()
             if results[scan]["result"][found] != wanted]
    suites = [one["cipher_suite"]["name"] for scan in ("tls_1_2_cipher_suites", "tls_1_3_cipher_suites")
              for one in results[scan]["result"]["accepted_cipher_suites"]]
    return wrong + [f"{suite} is weak" for suite in suites if not is_strong(suite)] + ([] if suites else ["no suites"])


def is_strong(suite):
    """Forward secret, and encryption that authenticates: all of TLS 1.3, of TLS 1.2 what is called so."""
    ends = suite.endswith(("_GCM_SHA256", "_GCM_SHA384", "_POLY1305_SHA256"))
    return ends and (suite.startswith("TLS_ECDHE_") or "_WITH_" not in suite)


def protocols(address, starts, _tools, folder):
    return testssl(address, starts, folder, ["-p"], PROTOCOLS)


def everything(address, starts, _tools, folder):
    return testssl(address, starts, folder, ["-p", "-s", "-U"], PROTOCOLS | HOLES)


def testssl(address, starts, folder, checks, wishes):
    path = os.path.join(folder, f"testssl-{address.rpartition(':')[2]}.json")
    starttls = ["-t", "smtp"] if starts else []
    said = run(["testssl", "--quiet", "--color", "0", "--warnings", "off", *checks, "--jsonfile", path, "--ip", "one", *starttls,
                address])
    if not os.path.exists(path):
        return [f"it has not scanned: {said[-300:]}"]
    findings = {one["id"]: one for one in loaded(path) if one["id"] not in REMARKS}
    wrong = [f"no finding {name}" for name in wishes if name not in findings]
    wrong += [f"{name} is {findings[name]['finding']}" for name, wanted in wishes.items()
              if name in findings and not findings[name]["finding"].startswith(wanted)]
    # Whatever else it found and does not like.
    return wrong + [f"{name}: {one['finding']}" for name, one in findings.items()
                    if one["severity"] not in ("OK", "INFO") and name not in wishes]


def injection(address, _starts, tools, _folder):
    host, port = address.rsplit(":", 1)
    # Long enough for a busy machine to answer, since silence is what it takes for a good sign.
    said = run([f"{tools.place}/python/bin/command-injection-tester", "--smtp", "--smtp-port", port, "--timeout", "2", "--nocolor",
                "--logdir", tools.workplace("injection"), host])
    is_good = "Sanity test done" in said and "Probably no command injection here!" in said
    return [] if is_good else [said[-400:]]


def run(command):
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return ended.stdout.decode(errors="replace")


def loaded(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
