"""Defects that are known and not mended yet. One that no longer shows is complained about, so that its line goes.

A line is the beginning of a row's name, as the table prints it, and what is wrong.
"""

KNOWN = {}


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
