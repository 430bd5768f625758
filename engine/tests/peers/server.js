// Node's `ws` as a server that examines a client of wsring: as server.py, with the same paths.
//
//     node server.js [deflate] [CERTIFICATE KEY]

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { WebSocketServer } from "ws";
import { CLOSES, Peer, TOO_LONG, closeCode, extensions, onOne, tooLong } from "./checks.js";
import { INVALID, fragments, invalidText, pings } from "./frames.js";

const deflate = process.argv.includes("deflate");
const [cert, key] = process.argv.slice(2).filter((word) => word !== "deflate");

// One for each of `all`, by number.
const each = (name, check, all) => all.map((one, i) => [`${name}${i}`, (peer) => check(peer, one)]);

const cases = [
    ...Object.entries(onOne),
    ["fragments", fragments],
    ["pings", pings],
    ["extensions", (peer) => extensions(peer, deflate)],
    ...each("tooLong", tooLong, TOO_LONG),
    ...each("invalidText", invalidText, INVALID),
    ...each("closeCode", closeCode, CLOSES),
];

async function examine(socket, request) {
    const url = new URL(request.url, "ws://here");
    const peer = new Peer(socket);
    if (url.pathname === "/getCaseCount") {
        socket.send(String(cases.length));
        socket.close(1000);
    } else if (url.pathname === "/getCaseStatus") {
        socket.close(1000); // a case is over before its connection is
    } else if (url.pathname === "/updateReports") {
        await peer.close(1000);
        process.exit(0);
    } else if (url.pathname === "/close") {
        socket.close(Number(url.searchParams.get("code")), url.searchParams.get("reason"));
    } else if (url.pathname === "/headers") {
        const pairs = request.rawHeaders.flatMap((name, i, all) => (i % 2 ? [] : [[name, all[i + 1]]]));
        socket.send(JSON.stringify(Object.fromEntries(pairs)));
        socket.close(1000);
    } else if (url.pathname === "/talk") {
        socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    } else if (url.pathname === "/runCase") {
        const [name, check] = cases[Number(url.searchParams.get("case")) - 1];
        try {
            await check(peer);
            console.log(`ok ${name}`);
        } catch (error) {
            console.log(`FAIL ${name}: ${error.message}`);
        }
        socket.close(1000);
    }
}

const pages = cert ? createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) }) : createServer();
const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: 0,
    perMessageDeflate: deflate && { threshold: 0 },
    handleProtocols: (offered) => ["second", "first"].find((name) => offered.has(name)) ?? false,
});
pages.on("upgrade", (request, stream, head) => {
    if (request.url === "/refuse") return stream.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot you\n");
    sockets.handleUpgrade(request, stream, head, (socket) => examine(socket, request));
});
pages.listen(0, "127.0.0.1", () => console.log(`listening ${pages.address().port}`));
