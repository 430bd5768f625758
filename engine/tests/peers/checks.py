"""What Python's `websockets` finds out about an open connection, whichever end of it is wsring.

Owns the messages sent and the comparisons.  Promises that an assertion says what was found.  Refuses to know how the
connection was made.
"""
import asyncio
import random

from websockets.exceptions import ConnectionClosed

PATIENCE_S = 60
MIB = 1 << 20
LONGEST = 16 * MIB          # wsring's limit on a message
LENGTHS = [0, 1, 125, 126, 127, 4096, 65535, 65536, MIB, LONGEST]      # RFC 6455 §5.2: both sides of each form
EURO = "\u20ac".encode()
# Text that is no UTF-8, in its first fragment, in its last, and for want of an end.
INVALID = [[b"\xff"], [b"a", b"\xc0"], [EURO[:2], b""]]
CLOSES = [(1000, ""), (1000, "bye"), (1001, "going"), (3000, "\u00e4\u00f6\U0001f600"), (4999, "r" * 123)]


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


async def echo(ws, message):
    """Sends, and checks that the same comes back, of the same kind."""
    await ws.send(message)
    back = await ws.recv()
    assert type(back) is type(message), "sent %s, got %s" % (type(message), type(back))
    assert back == message, "an echo of %d differs: %d" % (len(message), len(back))


async def closes(ws, code, message, **how):
    """wsring answers a message with this close code, and with nothing else."""
    try:
        await ws.send(message, **how)
        back = await ws.recv()
    except ConnectionClosed as end:
        assert end.rcvd and end.rcvd.code == code, "closed %s" % end.rcvd
        return
    raise AssertionError("not closed, but sent %d" % len(back))


async def text_and_binary(ws):
    for message in ["", "hello", "h\u00e9llo \u20ac \U0001f600", "\0", b"", bytes(range(256))]:
        await echo(ws, message)


async def sizes(ws):
    for length in LENGTHS:
        await echo(ws, text(length))
        # What does not compress is longer when compressed: the limit is on the message.
        await echo(ws, noise(length))


async def fragments(ws):
    """RFC 6455 §5.4: frames of any length make one message, with a character cut in two and a ping between them."""
    async def with_ping(parts):
        for number, part in enumerate(parts):
            yield part
            if number == 0:
                await (await ws.ping(b"between"))

    for parts in [[b"", b"", b""], [b"a", b"", b"b"], [EURO[:1], EURO[1:]], [text(i % 40).encode() for i in range(1000)],
                  [text(MIB).encode(), text(70_000).encode()]]:
        for as_text in [True, False]:
            await ws.send(with_ping(parts), text=as_text)
            back = await ws.recv(decode=False)
            assert back == b"".join(parts), "%d fragments differ" % len(parts)


async def pings(ws):
    for payload in [b"", b"p", b"p" * 125]:
        await (await ws.ping(payload))
    await ws.pong(b"unasked")       # RFC 6455 §5.5.3: needs no answer
    await echo(ws, "hello")


async def many_in_order(ws):
    sent = ["%d %s" % (i, text(i * 37 % 3000)) for i in range(2000)]

    async def send():
        for message in sent:
            await ws.send(message)

    sending = asyncio.ensure_future(send())
    for message in sent:
        assert await ws.recv() == message, "not in order at %s" % message.split(" ")[0]
    await sending


async def close_code(ws, code, reason):
    """RFC 6455 §5.5.1: wsring answers with the code that it got; its own reason is none."""
    await ws.close(code, reason)
    got = ws.protocol.close_rcvd
    assert got and (got.code, got.reason) == (code, ""), "sent %d, got %s" % (code, got)


async def extensions(ws, deflate):
    """permessage-deflate is agreed on exactly if both ends want it."""
    names = [extension.name for extension in ws.protocol.extensions]
    assert names == (["permessage-deflate"] if deflate else []), names
    for _ in range(3):      # with takeover, a window of what went before
        await echo(ws, text(20_000))
