"""Python's `websockets` as a client of wsring.

    client.py URL STAGE [deflate]

A line `ok NAME` or `FAIL NAME: why` for each check; `ready` where the server is to be stopped.  Each check is one
function; none waits without a bound.
"""
import asyncio
import random
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

PATIENCE_S = 60
MIB = 1 << 20
LONGEST = 16 * MIB          # the server's limit on a message
LENGTHS = [0, 1, 125, 126, 127, 4096, 65535, 65536, MIB, LONGEST]      # RFC 6455 §5.2: both sides of each form


def text(length):
    """So many bytes of lines as an exchange sends them, which compress; always the same."""
    numbers, lines, total = random.Random(1), [], 0
    while total < length:
        lines.append('{"id":%d,"price":%d,"side":"buy"}\n' % (len(lines), numbers.randrange(100000)))
        total += len(lines[-1])
    return "".join(lines)[:length]


def noise(length):
    """So many bytes that do not compress."""
    return random.Random(2).randbytes(length)


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


async def echo(ws, message):
    """Sends, and checks that the same comes back, of the same kind."""
    await ws.send(message)
    back = await ws.recv()
    assert type(back) is type(message), "sent %s, got %s" % (type(message), type(back))
    assert back == message, "an echo of %d differs: %d" % (len(message), len(back))


async def closed(ws):
    """The code that the server closes with instead of sending anything."""
    try:
        message = await ws.recv()
    except ConnectionClosed as end:
        return end.rcvd and end.rcvd.code
    raise AssertionError("not closed, but sent %d" % len(message))


async def text_and_binary(client):
    async with client.connect() as ws:
        for message in ["", "hello", "h\u00e9llo \u20ac \U0001f600", "\0", b"", bytes(range(256))]:
            await echo(ws, message)


async def sizes(client):
    async with client.connect() as ws:
        for length in LENGTHS:
            await echo(ws, text(length))
            await echo(ws, noise(length))


async def too_long(client):
    """RFC 6455 §7.4.1: 1009, one byte past the limit."""
    for message in [noise(LONGEST + 1), text(LONGEST + 1)]:
        async with client.connect() as ws:
            try:
                await ws.send(message)
            except ConnectionClosed:
                pass
            code = await closed(ws)
            assert code == 1009, "closed %s" % code


async def fragments(client):
    """RFC 6455 §5.4: frames of any length make one message, with a character cut in two and a ping between them."""
    async def with_ping(ws, parts):
        for number, part in enumerate(parts):
            yield part
            if number == 0:
                await (await ws.ping(b"between"))

    euro = "\u20ac".encode()
    async with client.connect() as ws:
        for parts in [[b"", b"", b""], [b"a", b"", b"b"], [euro[:1], euro[1:]], [text(i % 40).encode() for i in range(1000)],
                      [text(MIB).encode(), text(70_000).encode()]]:
            for as_text in [True, False]:
                await ws.send(with_ping(ws, parts), text=as_text)
                back = await ws.recv(decode=False)
                assert back == b"".join(parts), "%d fragments differ" % len(parts)


async def pings(client):
    async with client.connect() as ws:
        for payload in [b"", b"p", b"p" * 125]:
            await (await ws.ping(payload))
        await ws.pong(b"unasked")       # RFC 6455 §5.5.3: needs no answer
        await echo(ws, "hello")


async def close_codes(client):
    """RFC 6455 §5.5.1: the server answers with the code that it got; its own reason is none."""
    for code, reason in [(1000, ""), (1000, "bye"), (1001, "going"), (3000, "\u00e4\u00f6\U0001f600"), (4999, "r" * 123)]:
        async with client.connect() as ws:
            await ws.close(code, reason)
            got = ws.protocol.close_rcvd
            assert got and (got.code, got.reason) == (code, ""), "sent %d, got %s" % (code, got)


async def invalid_text(client):
    """RFC 6455 §8.1: text that is no UTF-8 ends with 1007, in whichever fragment it is."""
    for parts in [[b"\xff"], [b"a", b"\xc0"], [b"\xe2\x82", b""]]:
        async with client.connect() as ws:
            try:
                await ws.send(parts, text=True)
            except ConnectionClosed:
                pass
            code = await closed(ws)
            assert code == 1007, "closed %s" % code


async def subprotocols(client):
    """The server was told `--subprotocol second --subprotocol first`: its order counts."""
    for offered, agreed in [(["first", "second"], "second"), (["other", "first"], "first"), (["other"], None), (None, None)]:
        async with client.connect(subprotocols=offered) as ws:
            assert ws.subprotocol == agreed, "offered %s, agreed on %s" % (offered, ws.subprotocol)
            await echo(ws, "hello")


async def many_in_order(client):
    sent = ["%d %s" % (i, text(i * 37 % 3000)) for i in range(2000)]
    async with client.connect() as ws:
        async def send():
            for message in sent:
                await ws.send(message)

        sending = asyncio.ensure_future(send())
        for message in sent:
            assert await ws.recv() == message, "not in order at %s" % message.split(" ")[0]
        await sending


async def extensions(client):
    """permessage-deflate is offered, and agreed on exactly if the server compresses."""
    async with client.connect() as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == (["permessage-deflate"] if client.deflate else []), names
        for _ in range(3):
            await echo(ws, text(20_000))


async def without_deflate(client):
    """A client that offers no extension gets none."""
    async with client.connect(compression=None) as ws:
        assert not ws.protocol.extensions, ws.protocol.extensions
        await echo(ws, text(20_000))
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
        code = await closed(ws)
        assert code == 1001, "closed %s" % code


STAGES = {
    "echo": [text_and_binary, sizes, too_long, fragments, pings, close_codes, invalid_text, subprotocols, many_in_order,
             extensions, without_deflate],
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
