"""Judges a report of the Autobahn testsuite against the committed list of expected outcomes.

Owns the comparison, the list's format and the case ids.  Promises that whatever
differs from the list becomes a line a person can act on, and that some outcomes
never pass, whatever the list says.  Refuses to know processes, sockets and who
was tested: it reads two mappings and returns text.

`wstest` exits 0 whatever it found, and leaves an agent out of its report when
nothing listened.  So silence is never success here.
"""
import json
import re

# Of each sub-group of 12.* and 13.*: 1,000 messages of 16 B, of 16 KiB, and of 16 KiB in frames of 256 B.
SUBSET_CASES = [1, 7, 12]
# What --subset runs: every case but those of permessage-deflate (RFC 7692), and of those the above for each kind of data
# (12.N: JSON, picture, text of another language, page, PDF) and for each set of parameters (13.N: takeover or not,
# windows of 9 and 15 bits, several offers); and the largest message, 128 KiB, whole and in frames of 256 B. Left out are
# the sizes between, in which the suite's own compressing takes most of the time.
SUBSET = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
          *("%d.%d.%d" % (group, part, case) for group, parts in [(12, 5), (13, 7)]
            for part in range(1, parts + 1) for case in SUBSET_CASES), "12.4.10", "13.1.15"]

# `behavior` values that fail even if the list expects them; NON-STRICT is text or a
# protocol fault not failed at the first impossible octet (RFC 6455 §8.1, §7.1.7).
NEVER = ("FAILED", "NON-STRICT", "UNIMPLEMENTED")
# The only `behaviorClose` values that can pass: others are WRONG CODE, UNCLEAN,
# FAILED BY CLIENT, FAILED and whatever a later suite invents.
CLOSE_PASSES = ("OK", "INFORMATIONAL")


def case_key(case):
    """Orders case ids as numbers: 9.2 comes before 10.1."""
    return [int(part) if part.isdigit() else -1 for part in case.split(".")]


def chosen(case, patterns):
    """Whether a case id is meant by one of the patterns, as `wstest` reads them.

    A pattern without `*` is one id.  With it, `*` is any text and the id only has
    to begin with a match, so `1.*` means group 1 and not group 10.
    """
    for pattern in patterns:
        if "*" in pattern:
            if re.match(".*".join(map(re.escape, pattern.split("*"))), case):
                return True
        elif pattern == case:
            return True
    return False


def read_list(text):
    """The committed list: {case: [behavior, behaviorClose]}.  Raises ValueError on anything else."""
    def unique(pairs):
        found = {}
        for case, outcome in pairs:
            if case in found:
                raise ValueError("case %s is listed twice" % case)
            found[case] = outcome
        return found

    listed = json.loads(text, object_pairs_hook=unique)
    if not isinstance(listed, dict):
        raise ValueError("the list of expected outcomes is not an object")
    for case, outcome in listed.items():
        pair = isinstance(outcome, list) and len(outcome) == 2 and all(isinstance(o, str) for o in outcome)
        if not pair or not re.fullmatch(r"\d+(\.\d+)+", case):
            raise ValueError("%r: %r is not a case with [behavior, behaviorClose]" % (case, outcome))
    return listed


def write_list(outcomes):
    """The list as text, a line a case, in the suite's order: made to be read and diffed."""
    lines = ['  "%s": ["%s", "%s"]' % (case, *outcomes[case]) for case in sorted(outcomes, key=case_key)]
    return "{\n%s\n}\n" % ",\n".join(lines)


def outcomes_of(index, agent):
    """{case: (behavior, behaviorClose)} of one agent in the suite's index.json, or None if it is not there."""
    cases = index.get(agent) if isinstance(index, dict) else None
    if not isinstance(cases, dict):
        return None
    return {case: (str(found.get("behavior")), str(found.get("behaviorClose"))) for case, found in cases.items()}


def fault_of(case, found, expected):
    """Why one case does not pass, or None.  `found` or `expected` is None where the case is absent."""
    if found is None:
        return "%-8s was not run (expected %s / %s)" % (case, *expected)
    what = "%-8s %s / %s" % (case, *found)
    if found[0] in NEVER:
        return what + ": this outcome never passes"
    if found[1] not in CLOSE_PASSES:
        return what + ": this close never passes"
    if expected is None:
        return what + ": not in the list of expected outcomes"
    if tuple(expected) != tuple(found):
        return what + ": expected %s / %s" % tuple(expected)
    return None


def judge(index, agent, expected, patterns):
    """Compares a report with the list.

    `patterns` are the cases that were asked for; the list is cut to them.  Returns
    (faults, table): `faults` maps a case to its line, `table` maps every case asked
    for or found to the pair found (None if it was not run).  An agent that the
    report does not know is a fault under the key "agent", and so is an empty choice.
    """
    wanted = {case: tuple(pair) for case, pair in expected.items() if chosen(case, patterns)}
    found = outcomes_of(index, agent)
    faults = {}
    if found is None:
        faults["agent"] = "the report knows no agent %r: nobody was reached under that name, no case was run" % agent
        found = {}
    if not wanted and not found:
        faults["agent"] = faults.get("agent", "no case matches %s" % ", ".join(patterns))
    table = {case: found.get(case) for case in sorted(set(wanted) | set(found), key=case_key)}
    for case, outcome in table.items():
        fault = fault_of(case, outcome, wanted.get(case))
        if fault:
            faults[case] = fault
    return faults, table


def summary(table, faults):
    """Lines of a table by group: cases, passed, failed, and what was found how often."""
    groups = {}
    for case, outcome in table.items():
        groups.setdefault(case.split(".")[0], []).append((case, outcome))
    lines = ["group  cases  passed  failed  outcomes (behavior / close)"]
    for group in sorted(groups, key=int):
        cases = groups[group]
        failed = sum(case in faults for case, _ in cases)
        counts = {}
        for _, outcome in cases:
            name = "not run" if outcome is None else " / ".join(outcome)
            counts[name] = counts.get(name, 0) + 1
        seen = ", ".join("%d %s" % (count, name) for name, count in sorted(counts.items(), key=lambda c: -c[1]))
        lines.append("%5s  %5d  %6d  %6d  %s" % (group, len(cases), len(cases) - failed, failed, seen))
    return lines
