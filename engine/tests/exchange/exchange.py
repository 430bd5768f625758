"""A mock of an exchange, for one client that reconnects without end.

    exchange.py

Prints `port N`, serves until its input ends, and prints a line of JSON then: what it was asked and what the client did wrong.

- `GET /token` answers with the URL of one connection; a token is good once, and for one address of two. Every 40th URL is of an address where nobody
  listens.
- Connections end as those of exchanges do: most after a few messages, with a Close (1001, 1012) as after 24 hours; some by a reset, some by silence
  that does not end.
- Some are refused: 429 with Retry-After (in seconds and as a date), 503 with a body in chunks on a connection that stays, 418 as a ban.

Owns what is wrong: a token that is unknown or used twice, a connection before Retry-After is over, more connections at once than end and begin.
"""
import asyncio
import base64
import hashlib
import json
import struct
import sys
import time

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ADDRESSES = ["127.0.0.1", "127.0.0.2"]
NOBODY = "127.0.0.3"


class Exchange:
    def __init__(self):
        self.port = 0
        self.tokens = {}        # token -> the address that it is for
        self.given = self.asked = self.opened = self.open = self.open_max = self.silent = self.resets = self.refused = 0
        self.not_before = 0.0
        self.faults = []

    def fault(self, what):
        if len(self.faults) < 20:
            self.faults.append(what)

    async def serve(self, reader, writer):
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            path = lines[0].split(" ")[1]
            if path == "/token":
                await self.token(writer)
            else:
                await self.connection(reader, writer, path, headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def token(self, writer):
        self.given += 1
        address = NOBODY if self.given % 40 == 0 else ADDRESSES[self.given % 2]
        token = f"t{self.given}"
        self.tokens[token] = address
        url = f"ws://{address}:{self.port}/ws?token={token}"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(url)}\r\nConnection: close\r\n\r\n{url}".encode())
        await writer.drain()

    async def connection(self, reader, writer, path, headers):
        self.asked += 1
        here = writer.get_extra_info("sockname")[0]
        token = path.partition("token=")[2]
        if self.tokens.pop(token, None) != here:
            self.fault(f"token {token!r} is none, or not for {here}")
        if time.monotonic() < self.not_before:
            self.fault(f"asked {self.not_before - time.monotonic():.3f} s before Retry-After is over")
        if self.asked % 250 == 0:
            return await self.refuse(reader, writer)
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()).decode()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive,\r\n Upgrade\r\n"
                     b"X-Region: eu\r\nSec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n")
        self.opened += 1
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            await self.talk(reader, writer)
        finally:
            self.open -= 1

    async def refuse(self, reader, writer):
        """429, 418 and 503 in turn; the client has to end those whose connection stays."""
        self.refused += 1
        kind = self.refused % 3
        if kind == 0:
            writer.write(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n4\r\nbusy\r\n0\r\n\r\n")
        else:
            self.not_before = time.monotonic() + 1.0
            status = b"429 Too Many Requests" if kind == 1 else b"418 I'm a teapot"
            after = b"1" if kind == 1 else b"Sun, 06 Nov 1994 08:49:38 GMT"
            writer.write(b"HTTP/1.1 " + status + b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: " + after +
                         b"\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async def talk(self, reader, writer):
        for number in range(3):
            text = json.dumps({"trade": number}).encode()
            writer.write(bytes([0x81, len(text)]) + text)
        if self.opened % 100 == 50:
            self.silent += 1
            await reader.read()     # until the client has had enough
        elif self.opened % 30 == 7:
            self.resets += 1
            await writer.drain()
            writer.transport.abort()
        else:
            writer.write(bytes([0x88, 2]) + struct.pack(">H", 1001 if self.opened % 2 else 1012))
            await writer.drain()
            await reader.readexactly(8)     # its Close, masked
            writer.close()

    def report(self):
        if self.open_max > 4:   # one is cut and waited for, one ends, one begins
            self.fault(f"{self.open_max} connections at once")
        names = ["given", "asked", "opened", "open", "silent", "resets", "refused", "faults"]
        return json.dumps({name: getattr(self, name) for name in names})


async def main():
    exchange = Exchange()
    first = await asyncio.start_server(exchange.serve, ADDRESSES[0], 0)
    exchange.port = first.sockets[0].getsockname()[1]
    await asyncio.start_server(exchange.serve, ADDRESSES[1], exchange.port)
    print("port", exchange.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(exchange.report(), flush=True)


asyncio.run(main())
