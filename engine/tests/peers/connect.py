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


def connect(command, url, *words, lines="", until=None):
    """Runs the command: gives it `lines`, reads output as long as `until`, and ends the input then.

    Without `until` the input stays open: the server ends it.  Returns (exit status, output, errors).
    """
    deadline = time.monotonic() + PATIENCE_S
    with tempfile.TemporaryFile("w+") as errors:
        process = peers.started([*command, url, "--wait", "0", *words], errors, subprocess.PIPE)
        with peers.ending(process, deadline):
            # All of it at once, so only one line may be longer than what pipes hold: it is read whole before it is sent.
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


def text(command, server):
    lines = "hello\nh\u00e9llo \u20ac\n\n"
    expect(connect(command, server + "/talk", lines=lines, until=lines), 0, lines)


def binary_as_hex(command, server):
    expect(connect(command, server + "/talk", "--binary", lines="a\u20ac\n\n", until="61e282ac\n\n"), 0, "61e282ac\n\n")


def long_line(command, server):
    line = "x" * (16 << 20) + "\n"
    expect(connect(command, server + "/talk", lines=line, until=line), 0, line)


def subprotocol(command, server):
    words = ["--subprotocol", "first", "--subprotocol", "second"]
    expect(connect(command, server + "/talk", *words, lines="x\n", until="x\n"), 0, "x\n", "connected, subprotocol second")


def headers(command, server):
    found = connect(command, server + "/headers", "--header", "X-Desk: 7", "--origin", "https://a.example")
    expect(found, 0, None)
    told = {name.lower(): value for name, value in json.loads(found[1]).items()}
    assert (told["x-desk"], told["origin"], told["host"]) == ("7", "https://a.example", server.split("/")[2]), told


def closed_by_server(command, server):
    expect(connect(command, server + "/close?code=1000&reason=done"), 0, "", "closed by the server: 1000 done")
    expect(connect(command, server + "/close?code=4000&reason=bye"), 1, "", "closed by the server: 4000 bye")


def refused(command, server):
    expect(connect(command, server + "/refuse"), 1, "", "403", "not you")


def untrusted(command, server):
    """Without `--ca`: nobody whom the machine trusts signed that certificate."""
    trusting_nobody = command[:command.index("--ca")]
    found = connect(trusting_nobody, server + "/talk")
    expect(found, 1, "", "certificate")
    expect(connect(trusting_nobody, server + "/talk", "--insecure", lines="x\n", until="x\n"), 0, "x\n")


CHECKS = {"connect_" + check.__name__: check for check in [
    text, binary_as_hex, long_line, subprotocol, headers, closed_by_server, refused]}
TLS_CHECKS = {**CHECKS, "connect_untrusted": untrusted}


def run(wsring, server, certificate=None, options=()):
    """All checks, with these options of the command; returns their lines. With a certificate, which is then trusted, those of TLS."""
    command, lines = [wsring, "connect", *options, *(["--ca", certificate] if certificate else [])], []
    for name, check in (TLS_CHECKS if certificate else CHECKS).items():
        try:
            check(command, server)
            lines.append("ok %s" % name)
        except (AssertionError, OSError, ValueError, KeyError) as error:
            lines.append("FAIL %s: %s: %s" % (name, type(error).__name__, error))
    return lines
