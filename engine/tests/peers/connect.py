"""`wsring connect` against a server that nobody here wrote.

Owns the command lines and what each must print.  Promises a line `ok NAME` or `FAIL NAME: why` a check, and that no wait
is without a bound.  Refuses to know which server it is: server.py says what each path does.
"""
import json
import subprocess
import tempfile
import time

import peers

PATIENCE_S = 60


def connect(binary, url, *words, lines="", until=None):
    """Runs the command: gives it `lines`, reads output as long as `until`, and ends the input then.

    Without `until` the input stays open: the server ends it.  Returns (exit status, output, errors).
    """
    deadline = time.monotonic() + PATIENCE_S
    with tempfile.TemporaryFile("w+") as errors:
        process = peers.started([binary, "connect", url, "--wait", "0", *words], errors, subprocess.PIPE)
        with peers.ending(process, deadline):
            # Longer than a pipe holds: the client must print before it reads on, and does, since nothing here reads later.
            process.stdin.write(lines)
            process.stdin.flush()
            output = process.stdout.read(len(until)) if until is not None else ""
            if until is not None:
                process.stdin.close()
            output += process.stdout.read()
            status = process.wait()
        errors.seek(0)
        return status, output, errors.read()


def expect(found, status, output, *errors):
    """Compares what `connect` returned."""
    assert found[0] == status, "exit status %s: %s" % (found[0], found[2])
    assert output is None or found[1] == output, "printed %r" % found[1][:200]
    assert all(part in found[2] for part in errors), "told %r" % found[2]


def text(binary, server):
    lines = "hello\nh\u00e9llo \u20ac\n\n"
    expect(connect(binary, server + "/talk", lines=lines, until=lines), 0, lines)


def binary_as_hex(binary, server):
    expect(connect(binary, server + "/talk", "--binary", lines="a\u20ac\n\n", until="61e282ac\n\n"), 0, "61e282ac\n\n")


def long_line(binary, server):
    line = "x" * (16 << 20) + "\n"
    expect(connect(binary, server + "/talk", lines=line, until=line), 0, line)


def subprotocol(binary, server):
    words = ["--subprotocol", "first", "--subprotocol", "second"]
    expect(connect(binary, server + "/talk", *words, lines="x\n", until="x\n"), 0, "x\n", "connected, subprotocol second")


def headers(binary, server):
    found = connect(binary, server + "/headers", "--header", "X-Desk: 7", "--origin", "https://a.example")
    expect(found, 0, None)
    told = {name.lower(): value for name, value in json.loads(found[1]).items()}
    assert (told["x-desk"], told["origin"], told["host"]) == ("7", "https://a.example", server.split("/")[2]), told


def closed_by_server(binary, server):
    expect(connect(binary, server + "/close?code=1000&reason=done"), 0, "", "closed by the server: 1000 done")
    expect(connect(binary, server + "/close?code=4000&reason=bye"), 1, "", "closed by the server: 4000 bye")


def refused(binary, server):
    expect(connect(binary, server + "/refuse"), 1, "", "403", "not you")


CHECKS = {"connect_" + check.__name__: check for check in [
    text, binary_as_hex, long_line, subprotocol, headers, closed_by_server, refused]}


def run(binary, server):
    """All checks; returns their lines."""
    lines = []
    for name, check in CHECKS.items():
        try:
            check(binary, server)
            lines.append("ok %s" % name)
        except (AssertionError, OSError, ValueError, KeyError) as error:
            lines.append("FAIL %s: %s: %s" % (name, type(error).__name__, error))
    return lines
