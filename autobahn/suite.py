"""One run of the installed testsuite against a peer of its own making or of somebody else's, in either role.

Owns the suite's specification, the processes of the run and the report they leave.  Promises that every wait is
bounded, that whoever dies, hangs or panics becomes a line a person can act on, and that nothing it started outlives
it.  Refuses to know how a peer is built (autobahn/run) and which outcomes are good (verdict.py).
"""
import json
import time

import testee

AGENT = "wsring"
# Without its peer the suite, or its client, reports what it has and ends; a little time for that.
GRACE_S = 15


def await_end(process, log, name, peer, deadline):
    """Waits for a process to end by itself while its `peer` (a Testee or None) lives.  Returns a list of faults."""
    try:
        while process.poll() is None:
            if peer and peer.died():
                deadline, peer = min(deadline, time.monotonic() + GRACE_S), None
            if time.monotonic() > deadline:
                return ["%s was not done in time and was ended:\n%s" % (name, testee.tail(log, 3))]
            time.sleep(0.05)
    finally:
        testee.end(process)
    if process.returncode:
        return ["%s: exit status %d:\n%s" % (name, process.returncode, testee.tail(log))]
    if testee.panicked(log):
        return ["a thread of %s panicked:\n%s" % (name, testee.tail(log))]
    return []


def read_report(folder):
    """The suite's index, and a list of faults."""
    try:
        return json.loads((folder / "index.json").read_text()), []
    except (OSError, ValueError) as error:
        return {}, ["the testsuite left no readable report: %s" % error]


def write_spec(folder, patterns, **more):
    """The suite's instructions, as a file in the report's folder."""
    spec = {"outdir": str(folder), "cases": patterns, "exclude-cases": [], "exclude-agent-cases": {}, **more}
    path = folder / "spec.json"
    path.write_text(json.dumps(spec, indent=2) + "\n")
    return path


def against_server(wstest, folder, patterns, deadline, command=None, url=None):
    """The suite's fuzzing client against a server: the one at `url`, or what `command` starts.

    A server that is started takes a free port of 127.0.0.1 and prints `listening on URL`. Returns (index, faults): the suite's report, empty if there is none, and what else went wrong.
    """
    server, log = None, folder / "wstest.log"
    try:
        if command:
            server = testee.Testee(command, None, folder / "server.log")
            url = "ws://127.0.0.1:%d" % server.port
        spec = write_spec(folder, patterns, servers=[{"agent": AGENT, "url": url}])
        client = testee.start([wstest, "-m", "fuzzingclient", "-s", spec], log)
        faults = await_end(client, log, "wstest", server, deadline)
        index, others = read_report(folder)
        fault = server.stop() if server else None
        return index, faults + others + ([fault] if fault else [])
    finally:
        if server:
            testee.end(server.process)


def against_client(wstest, folder, patterns, deadline, command):
    """The suite's fuzzing server against a client: `command(url, agent)` runs every case and asks for the report.

    The client reads the number of cases from /getCaseCount, runs each at /runCase?case=N&agent=AGENT, echoing every
    message, waits for the last one's result at /getCaseStatus, and ends with /updateReports?agent=AGENT and exit status 0.
    Returns what `against_server` returns.
    """
    port, log = testee.free_port(), folder / "client.log"
    url = "ws://127.0.0.1:%d" % port
    spec = write_spec(folder, patterns, url=url)
    # `-u 0`: no web server beside it.
    server = testee.Testee([wstest, "-m", "fuzzingserver", "-u", "0", "-s", spec], port, folder / "wstest.log")
    try:
        faults = await_end(testee.start(command(url, AGENT), log), log, "the client", server, deadline)
        if server.died():
            faults.append("the testsuite died during the run, %s:\n%s" % (server.died(), testee.tail(server.log)))
    finally:
        testee.end(server.process)
    index, others = read_report(folder)
    return index, faults + others
