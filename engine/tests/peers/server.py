"""Python's `websockets` as a server that examines a client of wsring.

    server.py [deflate] [CERTIFICATE KEY]

Prints `listening PORT`, then a line `ok NAME` or `FAIL NAME: why` for each check, and ends once the client asks it to.
The client is one that Autobahn's fuzzing server could examine too: it reads how many cases there are from
/getCaseCount, echoes at /runCase?case=N, waits at /getCaseStatus for the last, and says at /updateReports that it is
done.  Other paths are for `wsring connect`: /talk echoes, /close closes with the code and reason of its query, /headers
tells the request's headers, /refuse answers 403.
"""
import asyncio
import http
import json
import ssl
import sys
import urllib.parse

from websockets.asyncio.server import serve

import checks
from checks import CLOSES, INVALID, LONGEST, PATIENCE_S, noise, text

DEFLATE = "deflate" in sys.argv[1:]
FILES = [word for word in sys.argv[1:] if word != "deflate"]


def cases():
    """The checks, each of one connection, by the name that it is reported under."""
    for check in [checks.text_and_binary, checks.sizes, checks.fragments, checks.pings, checks.many_in_order]:
        yield check.__name__, check
    yield "extensions", lambda ws: checks.extensions(ws, DEFLATE)
    for kind, message in [("text", text(LONGEST + 1)), ("binary", noise(LONGEST + 1))]:
        yield "too_long_%s" % kind, lambda ws, message=message: checks.closes(ws, 1009, message)
    for number, parts in enumerate(INVALID):
        yield "invalid_text_%d" % number, lambda ws, parts=parts: checks.closes(ws, 1007, parts, text=True)
    for number, close in enumerate(CLOSES):
        yield "close_code_%d" % number, lambda ws, close=close: checks.close_code(ws, *close)


CASES = list(cases())


async def examine(ws, done):
    """One connection."""
    url = urllib.parse.urlsplit(ws.request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/getCaseCount":
        await ws.send(str(len(CASES)))
    elif url.path == "/getCaseStatus":
        pass                            # a case is over before its connection is
    elif url.path == "/updateReports":
        done.set_result(None)
    elif url.path == "/close":
        await ws.close(int(query["code"]), query["reason"])
    elif url.path == "/headers":
        await ws.send(json.dumps(dict(ws.request.headers.raw_items())))
    elif url.path == "/talk":
        async for message in ws:
            await ws.send(message)
    elif url.path == "/runCase":
        name, check = CASES[int(query["case"]) - 1]
        try:
            await asyncio.wait_for(check(ws), PATIENCE_S)
            line = "ok %s" % name
        except Exception as error:      # whatever it is, it is this check's
            line = "FAIL %s: %s: %s" % (name, type(error).__name__, error)
        print(line.replace("\n", " "), flush=True)


def refuse(connection, request):
    """An answer that is no 101, with a body."""
    if request.path == "/refuse":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
    return None


async def main():
    done = asyncio.get_running_loop().create_future()
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if FILES else None
    if secure:
        secure.load_cert_chain(*FILES)
    async with serve(lambda ws: examine(ws, done), "127.0.0.1", 0, max_size=None, process_request=refuse,
                     compression="deflate" if DEFLATE else None, subprotocols=["second", "first"],
                     select_subprotocol=choose, ssl=secure) as server:
        print("listening %d" % server.sockets[0].getsockname()[1], flush=True)
        await done


def choose(_, offered):
    """The server's order, and none if none is known."""
    return next((name for name in ["second", "first"] if name in offered), None)


asyncio.run(main())
