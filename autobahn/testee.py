"""A server under test and the commands around it, as processes with deadlines.

Owns what it starts.  Promises that every wait is bounded, that nothing it started
outlives it, and that it ends only what it started, by process id.  Refuses to know
Autobahn, cases and outcomes.
"""
import os
import re
import signal
import socket
import subprocess
import time


class Fault(Exception):
    """Something did not work; the text is for a person."""


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(host, port):
    """Whether a TCP connection to host:port is accepted within a second."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def end(process):
    """Kills a process and the group it leads, and reaps it.  Does nothing to one that was reaped before."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def tail(path, lines=15):
    """The last lines of a log, indented, or from where it tells of a panic; a sentence if there are none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            all_lines = log.read().splitlines()
    except FileNotFoundError:
        all_lines = []
    panics = [number for number, line in enumerate(all_lines) if "panicked at" in line]
    told = all_lines[panics[0]:][:lines] if panics else all_lines[-lines:]
    return "\n".join("    " + line for line in told) or "    (it printed nothing)"


def panicked(path):
    """Whether a log tells of a panic: a thread can panic while its process lives on and ends well."""
    with open(path, encoding="utf-8", errors="replace") as log:
        return "panicked at" in log.read()


def faults_of_ring(log, ring):
    """Whether the log of `wsring serve` says that it runs on that ring, if one was asked for, as a list of faults."""
    with open(log, encoding="utf-8", errors="replace") as text:
        told = re.search(r"listening on .*\| ring (\w+)", text.read())
    found = told[1] if told else "none"
    return [] if ring in (None, found) else ["FAIL the ring: the server runs on %s, not on %s" % (found, ring)]


def start(command, log):
    """Starts a command in a process group of its own, without stdin, its output in the file `log`."""
    with open(log, "wb") as out:
        try:
            return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            raise Fault("cannot start %s: %s" % (command[0], error)) from error


def finish(command, deadline, log=None):
    """Runs a command to its end or the deadline (time.monotonic); returns its stdout if no log takes it.

    Raises Fault if it fails, does not exist or is not done in time; then it is killed with its group.
    """
    words = [str(word) for word in command]
    out = open(log, "wb") if log else subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, start_new_session=True,
                                   stderr=subprocess.STDOUT if log else None, text=True)
    except OSError as error:
        raise Fault("cannot start %s: %s" % (words[0], error)) from error
    finally:
        if log:
            out.close()
    try:
        text, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Fault("out of time: %s" % " ".join(words)) from None
    finally:
        end(process)
        if process.stdout:
            process.stdout.close()
    if process.returncode:
        raise Fault("%s: exit status %d%s" % (" ".join(words), process.returncode, "\n" + tail(log) if log else ""))
    return text


class Testee:
    """A server process: listens within `listen_s` seconds of its start, is gone within `stop_s` of SIGTERM."""

    def __init__(self, command, port, log, listen_s=15.0, stop_s=10.0):
        """Starts it. `port` is where it will listen; or None if it takes a free one and prints `listening on URL`."""
        self.log, self.port, self.stop_s = log, port, stop_s
        self.process = start(command, log)
        try:
            self._await_listening(time.monotonic() + listen_s, listen_s)
        except BaseException:
            end(self.process)
            raise

    def _await_listening(self, deadline, listen_s):
        while True:
            # Asked before the socket: an answer on the port of a server that is gone is somebody else's.
            if self.died():
                raise Fault("the server ended before it listened, %s:\n%s" % (self.died(), tail(self.log)))
            if self.port is None:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    found = re.search(r"listening on \w+://\S+:(\d+)/", log.read())
                self.port = found and int(found[1])
            elif listens("127.0.0.1", self.port):
                return
            if time.monotonic() > deadline:
                raise Fault("the server does not listen on port %s after %g s:\n%s"
                            % (self.port or "(it named none)", listen_s, tail(self.log)))
            time.sleep(0.05)

    def died(self):
        """None while it runs, else how it ended, in words."""
        status = self.process.poll()
        if status is None:
            return None
        if status < 0:
            return "killed by %s" % signal.Signals(-status).name
        return "exit status %d" % status

    def stop(self):
        """Ends it with SIGTERM.  Returns None after a clean exit, else a sentence on what went wrong."""
        death = self.died()
        if death:
            return "the server died during the run, %s:\n%s" % (death, tail(self.log))
        self.process.send_signal(signal.SIGTERM)
        return self.await_stopped()

    def await_stopped(self):
        """As `stop`, after somebody has sent the signal."""
        try:
            self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            return "the server was still there %g s after SIGTERM:\n%s" % (self.stop_s, tail(self.log))
        finally:
            end(self.process)
        if self.process.returncode != 0:
            return "the server did not exit cleanly at SIGTERM, %s:\n%s" % (self.died(), tail(self.log))
        if panicked(self.log):
            return "a thread of the server panicked:\n%s" % tail(self.log)
        return None
