"""The peers that nobody here wrote: how each is installed, started and listened to.

Owns what it installs (.venv and node_modules beside this file, both pinned) and the processes it starts.  Promises
that a peer that cannot be had is a Missing that says why and what to do, never silence.  Refuses to know what is
checked: client.py, server.py, client.js, server.js and page.html do, and run judges what they say.
"""
import contextlib
import fcntl
import hashlib
import http.server
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "autobahn"))
import testee  # noqa: E402  processes with deadlines

WEBSOCKETS = "websockets==17.4"
WEBSOCKETS_PYTHON = (3, 11)     # what that version needs


class Missing(Exception):
    """A peer cannot be had here; the text says why."""


def stamped(path, text, install):
    """Runs `install` unless it was done before with the same `text`; one process at a time, whose others wait for it."""
    folder = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists() or path.read_text() != text:
            install()
            path.write_text(text)
    finally:
        os.close(folder)


class Process:
    """A peer of two programs.  Each prints a line a check: the client is called with URL, stage and words; the server
    says first where it listens."""

    def interpreter(self):
        """What runs the programs, as words; installed if need be.  Raises Missing."""
        raise NotImplementedError

    def __enter__(self):
        self.words = self.interpreter()
        return self

    def __exit__(self, *_):
        pass

    def run(self, url, stage, deflate, ready, deadline, log):
        """Runs a stage; calls `ready` when the client asks for it.  Returns its lines; a fault is a line `FAIL ...`."""
        lines = []
        with open(log, "wb") as errors:
            command = [*self.words, HERE / self.CLIENT, url, stage, *(["deflate"] if deflate else [])]
            process = started(command, errors)
        with ending(process, deadline):
            for line in process.stdout:
                ready() if line == "ready\n" else lines.append(line.rstrip("\n"))
            process.wait()
        if process.returncode:
            lines.append("FAIL the client: %s\n%s" % (how_ended(process, deadline), testee.tail(log)))
        return lines

    def serve(self, deflate, tls, examine, deadline, log):
        """Runs the server while `examine(url)`, over TLS if there are a certificate and a key; returns its lines, a fault being a line `FAIL ...`."""
        with open(log, "wb") as errors:
            process = started([*self.words, HERE / self.SERVER, *(["deflate"] if deflate else []), *(tls or [])], errors)
        with ending(process, deadline):
            word, _, port = process.stdout.readline().partition(" ")
            if word != "listening":
                return ["FAIL the server: it does not listen\n%s" % testee.tail(log)]
            lines = examine("%s://127.0.0.1:%d" % ("wss" if tls else "ws", int(port)))
            if tls:     # no client that could ask it to end
                testee.end(process)
                return lines
            lines += [line.rstrip("\n") for line in process.stdout]
            process.wait()
        if process.returncode:
            lines.append("FAIL the server: %s\n%s" % (how_ended(process, deadline), testee.tail(log)))
        return lines


def started(command, errors, stdin=subprocess.DEVNULL):
    """A process whose output is read here."""
    return subprocess.Popen([*map(str, command)], stdin=stdin, stdout=subprocess.PIPE, stderr=errors, text=True,
                            start_new_session=True)


@contextlib.contextmanager
def ending(process, deadline):
    """Ends the process after the block, or at the deadline, which lets whoever reads its output go on."""
    watch = threading.Timer(max(0.1, deadline - time.monotonic()), testee.end, [process])
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        testee.end(process)
        process.stdout.close()


def how_ended(process, deadline):
    """In words."""
    return "was ended: out of time" if time.monotonic() > deadline else "exit status %d" % process.returncode


class Websockets(Process):
    """Python's `websockets`."""

    CLIENT, SERVER = "client.py", "server.py"

    def interpreter(self):
        if sys.version_info < WEBSOCKETS_PYTHON:
            raise Missing("%s needs Python %d.%d or later, this is %d.%d"
                          % (WEBSOCKETS, *WEBSOCKETS_PYTHON, *sys.version_info[:2]))
        root = HERE / ".venv"

        def install():
            try:
                import ensurepip  # noqa: F401  Debian ships it apart
            except ImportError:
                raise Missing("Python's venv is missing: run 'apt-get install python3-venv'") from None
            shutil.rmtree(root, ignore_errors=True)
            deadline = time.monotonic() + 300
            testee.finish([sys.executable, "-m", "venv", root], deadline)
            testee.finish([root / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                           "--no-deps", "--only-binary", ":all:", WEBSOCKETS], deadline)

        # A virtual environment holds its own path: one that was moved with its checkout is installed anew.
        stamped(root / "installed", "%s %s %s\n" % (WEBSOCKETS, sys.version, root), install)
        return [root / "bin" / "python"]


class Ws(Process):
    """Node's `ws`, at the version and hash of package-lock.json."""

    CLIENT, SERVER = "client.js", "server.js"

    def interpreter(self):
        if not shutil.which("node") or not shutil.which("npm"):
            raise Missing("node and npm are not here: run 'apt-get install nodejs npm'")

        def install():
            with tempfile.NamedTemporaryFile() as log:
                testee.finish(["npm", "ci", "--prefix", HERE, "--no-audit", "--no-fund", "--ignore-scripts"],
                              time.monotonic() + 300, log.name)

        lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
        stamped(HERE / "node_modules" / "installed", lock + "\n", install)
        return ["node"]


class Chromium:
    """A browser, without a driver: a page asks this process for jobs and tells it what came of them."""

    FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             # The certificate of the test is signed by itself.
             "--ignore-certificate-errors"]
    FILES = {"/": ("page.html", "text/html"), "/checks.js": ("checks.js", "text/javascript")}

    def __enter__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            raise Missing("chromium is not here: run 'apt-get install chromium'")
        self.jobs, self.told = queue.Queue(), queue.Queue()
        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.log = pathlib.Path(self.profile.name) / "log"
        self.browser = testee.start([program, *self.FLAGS, "--user-data-dir=%s/profile" % self.profile.name,
                                     "http://127.0.0.1:%d/" % self.pages.server_port], self.log)
        return self

    def __exit__(self, *_):
        self.jobs.put(None)
        self.pages.shutdown()
        self.pages.server_close()
        testee.end(self.browser)
        self.profile.cleanup()

    def handler(peer):
        """The page, its jobs, and what it tells."""
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body, kind):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/job":
                    self.answer(json.dumps(peer.jobs.get()).encode(), "application/json")
                elif self.path in peer.FILES:
                    name, kind = peer.FILES[self.path]
                    self.answer((HERE / name).read_bytes(), kind)
                else:
                    self.send_error(404)

            def do_POST(self):
                line = self.rfile.read(int(self.headers["Content-Length"])).decode()
                # Told before it is answered: the page's next line comes by another thread, and only when this one is answered.
                peer.told.put(line)
                self.answer(b"", "text/plain")

            def log_message(self, *_):
                pass

        return Handler

    def run(self, url, stage, deflate, ready, deadline, _log):
        """As Process.run."""
        self.jobs.put({"url": url, "stage": stage, "deflate": deflate})
        lines = []
        while True:
            try:
                line = self.told.get(timeout=0.2)
            except queue.Empty:
                if self.browser.poll() is not None:
                    return lines + ["FAIL the browser: exit status %d\n%s" % (self.browser.returncode, testee.tail(self.log))]
                if time.monotonic() > deadline:
                    return lines + ["FAIL the browser: out of time\n%s" % testee.tail(self.log)]
                continue
            if line == "done":
                return lines
            ready() if line == "ready" else lines.append(line)


PEERS = {"websockets": Websockets, "ws": Ws, "chromium": Chromium}
