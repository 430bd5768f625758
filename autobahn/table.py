"""The committed account of a whole run: docs/autobahn.md.

Owns the text and its format.  Promises that the numbers are those of the run and the commit it names, and that what
did not pass is in it.  Refuses to know how a run is made.
"""
import verdict

GROUPS = {"1": "frames", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragments",
          "6": "UTF-8", "7": "closing", "9": "limits and performance", "10": "frames cut by the sender",
          "12": "permessage-deflate: five kinds of data", "13": "permessage-deflate: seven sets of parameters"}

HEAD = """# The Autobahn testsuite

Written by `autobahn/run all --table docs/autobahn.md`, which runs every case of {suite} in both roles
(`autobahn/install` says how the suite comes to run on Python 3).

| | |
|---|---|
| date | {date} |
| commit | {commit} |
| machine | {machine} |
| server | `wsring serve --deflate {deflate}`, tested by the suite's fuzzing client |
| client | `engine/examples/autobahn_client.rs`, tested by the suite's fuzzing server |
"""

FOOT = """
INFORMATIONAL is the suite's own word for a case whose outcome RFC 6455 leaves open; it says so of every peer.
`autobahn/expected-server.json` and `autobahn/expected-client.json` hold the outcome of each case.
"""


def of_mode(title, outcomes, faults):
    """The lines of one role: a row a group, and the cases that are not plain OK."""
    groups, others = {}, []
    for case in sorted(outcomes, key=verdict.case_key):
        found = outcomes[case]
        row = groups.setdefault(case.split(".")[0], {"cases": 0, "OK": 0, "INFORMATIONAL": 0, "failed": 0})
        row["cases"] += 1
        if case in faults:
            row["failed"] += 1
            others.append("%s (%s)" % (case, "not run" if found is None else " / ".join(found)))
        else:
            row[found[0]] += 1
            others += [case + " (INFORMATIONAL)"] if found[0] != "OK" else []
    lines = ["", "## " + title, "", "| group | what | cases | OK | INFORMATIONAL | failed |", "|---:|---|---:|---:|---:|---:|"]
    for group, row in groups.items():
        lines.append("| %s | %s | %d | %d | %d | %d |" % (group, GROUPS.get(group, ""), *row.values()))
    lines.append("| | all | %d | %d | %d | %d |" % tuple(sum(r[k] for r in groups.values())
                                                      for k in ("cases", "OK", "INFORMATIONAL", "failed")))
    return lines + ["", "Not plain OK: %s." % (", ".join(others) or "none")]


def page(modes, **facts):
    """The whole file. `modes` is a list of (title, outcomes, faults)."""
    lines = [line for mode in modes for line in of_mode(*mode)]
    return HEAD.format(**facts) + "\n".join(lines) + "\n" + FOOT
