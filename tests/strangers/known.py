"""Defects that are known and not mended yet. One that no longer shows is complained about, so that its line goes.

A line is the beginning of a row's name, as the table prints it, and what is wrong.
"""

KNOWN = {
    "kept: beside": "a signature of a third party is removed together with one in the tenant's own name",
    **{f"send/{client}: {client} {tls} unended": "a last line without an end leaves so by BDAT; SMTP's door ends it"
       for client in ("http-rfc822", "http-json") for tls in ("starttls", "implicit")},
    "sentences: auth-odd": "does not say which mechanisms there are",
    "sentences: stream": "does not name the stream that does not exist",
    "sentences: pool": "does not name the pool that does not exist",
    "sentences: parameter": "does not name the parameter",
    "sentences: space-colon": "does not say that there is a space before the colon",
    **{f"refuse/{client}: {client} line": "does not say how long a line may be"
       for client in ("smtplib", "aiosmtplib", "nodemailer", "net-smtp", "net-smtp-bdat", "swaks", "swaks-pipeline",
                      "curl", "msmtp")},
    **{f"refuse/{client}: {client} size": "at the end of data it does not say how large a message may be"
       for client in ("nodemailer", "phpmailer", "swaks", "swaks-pipeline", "msmtp")},
}


def sorted_out(rows):
    """Rows of (name, verdict) as (good, known, bad): bad are the rows that differ and a known defect that is gone."""
    good, known, bad = [], [], []
    for name, verdict in rows:
        reason = next((reason for start, reason in KNOWN.items() if name.startswith(start)), None)
        if verdict is None and reason:
            bad.append((name, f"this is mended, take it out of known.py: {reason}"))
        elif verdict is None:
            good.append(name)
        elif reason:
            known.append((name, reason))
        else:
            bad.append((name, verdict))
    return good, known, bad
