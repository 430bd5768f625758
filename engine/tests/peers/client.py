"""Python's `websockets` as a client of wsring.

    client.py URL STAGE [deflate]

A line `ok NAME` or `FAIL NAME: why` for each check; `ready` where the server is to be stopped.  Each check is one
function; none waits without a bound.
"""
import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

import checks
from checks import CLOSES, INVALID, LONGEST, MIB, PATIENCE_S, echo, noise, text


class Client:
    """How connections are made in a stage."""

    def __init__(self, url, deflate):
        self.url, self.deflate = url, deflate

    def connect(self, **more):
        """A connection that trusts any certificate, goes through no proxy and takes any message."""
        if self.url.startswith("wss:"):
            more["ssl"] = ssl.create_default_context()
            more["ssl"].check_hostname, more["ssl"].verify_mode = False, ssl.CERT_NONE
        return connect(self.url, max_size=None, proxy=None, open_timeout=PATIENCE_S, **more)


def on_one(check):
    """The check of an open connection as one that opens it."""
    async def opened(client):
        async with client.connect() as ws:
            await check(ws)

    opened.__name__ = check.__name__
    return opened


async def too_long(client):
    """RFC 6455 §7.4.1: 1009, one byte past the limit."""
    for message in [noise(LONGEST + 1), text(LONGEST + 1)]:
        async with client.connect() as ws:
            await checks.closes(ws, 1009, message)


async def invalid_text(client):
    """RFC 6455 §8.1: text that is no UTF-8 ends with 1007, in whichever fragment it is."""
    for parts in INVALID:
        async with client.connect() as ws:
            await checks.closes(ws, 1007, parts, text=True)


async def close_codes(client):
    for code, reason in CLOSES:
        async with client.connect() as ws:
            await checks.close_code(ws, code, reason)


async def subprotocols(client):
    """The server was told `--subprotocol second --subprotocol first`: its order counts."""
    for offered, agreed in [(["first", "second"], "second"), (["other", "first"], "first"), (["other"], None), (None, None)]:
        async with client.connect(subprotocols=offered) as ws:
            assert ws.subprotocol == agreed, "offered %s, agreed on %s" % (offered, ws.subprotocol)
            await echo(ws, "hello")


async def extensions(client):
    async with client.connect() as ws:
        await checks.extensions(ws, client.deflate)


async def without_deflate(client):
    """A client that offers no extension gets none."""
    async with client.connect(compression=None) as ws:
        await checks.extensions(ws, False)
        await echo(ws, noise(20_000))


async def deflate_parameters(client):
    """RFC 7692 §7.1: what the client asks of the server is granted, and what it hints of itself may be used."""
    for asked in [{"server_no_context_takeover": True}, {"client_no_context_takeover": True},
                  {"client_max_window_bits": True}, {"client_max_window_bits": 9},
                  *({"server_max_window_bits": bits} for bits in range(9, 16)),
                  {"server_no_context_takeover": True, "client_no_context_takeover": True,
                   "server_max_window_bits": 10, "client_max_window_bits": 10}]:
        async with client.connect(compression=None, extensions=[ClientPerMessageDeflateFactory(**asked)]) as ws:
            assert ws.protocol.extensions, "not agreed: %s" % asked
            agreed = ws.protocol.extensions[0]
            assert agreed.remote_no_context_takeover or not asked.get("server_no_context_takeover"), (asked, agreed)
            assert agreed.remote_max_window_bits <= asked.get("server_max_window_bits", 15), (asked, agreed)
            for message in ["", text(100), text(20_000), text(20_000), text(MIB), noise(20_000)]:
                await echo(ws, message)


async def answers_pings(client):
    """Silent for longer than the server bears without being answered a ping."""
    async with client.connect(ping_interval=None) as ws:
        await asyncio.sleep(2.5)
        await echo(ws, "still here")


async def server_stops(client):
    """The server is stopped: RFC 6455 §7.4.1, 1001."""
    async with client.connect() as ws:
        await echo(ws, "hello")
        print("ready", flush=True)
        try:
            await ws.recv()
        except ConnectionClosed as end:
            assert end.rcvd and end.rcvd.code == 1001, "closed %s" % end.rcvd
        else:
            raise AssertionError("not closed")


STAGES = {
    "echo": [*map(on_one, [checks.text_and_binary, checks.sizes, checks.fragments, checks.pings, checks.many_in_order]),
             too_long, invalid_text, close_codes, subprotocols, extensions, without_deflate],
    "idle": [answers_pings],
    "stop": [server_stops],
}


async def main(url, stage, *words):
    client = Client(url, "deflate" in words)
    for check in STAGES[stage] + ([deflate_parameters] if stage == "echo" and client.deflate else []):
        try:
            await asyncio.wait_for(check(client), PATIENCE_S)
            line = "ok %s" % check.__name__
        except Exception as error:      # whatever it is, it is this check's
            line = "FAIL %s: %s: %s" % (check.__name__, type(error).__name__, error)
        print(line.replace("\n", " "), flush=True)


asyncio.run(main(*sys.argv[1:]))
