// Node's `ws` as a client of wsring: the checks of checks.js, and those that a browser cannot make.
//
//     node client.js URL STAGE [deflate]
//
// A line `ok NAME` or `FAIL NAME: why` for each check; `ready` where the server is to be stopped.

import WebSocket from "ws";
import { MIB, Peer, STAGES, assert, noise, opening, run, text } from "./checks.js";
import { INVALID, fragments, invalidText, pings } from "./frames.js";

const [url, stage, ...words] = process.argv.slice(2);
const deflate = words.includes("deflate");
const options = { maxPayload: 0, rejectUnauthorized: false };

function open(url, protocols, more) {
    return new Peer(new WebSocket(url, protocols ?? [], { ...options, ...more }));
}

// A client that offers no extension gets none.
async function withoutDeflate(_, url) {
    const peer = await open(url, [], { perMessageDeflate: false }).opened;
    assert(peer.socket.extensions === "", `extensions: '${peer.socket.extensions}'`);
    await peer.echo(text(20_000));
    await peer.echo(noise(20_000));
    await peer.close(1000, "");
}

// RFC 7692 §7.1: what the client asks of the server is granted, and what it hints of itself may be used.
async function deflateParameters(_, url) {
    const asked = [
        { serverNoContextTakeover: true },
        { clientNoContextTakeover: true },
        { serverMaxWindowBits: 9 },
        { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
        { clientMaxWindowBits: true },
        { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
    ];
    for (const parameters of asked) {
        const peer = await open(url, [], { perMessageDeflate: { threshold: 0, ...parameters } }).opened;
        const agreed = peer.socket._extensions?.["permessage-deflate"]?.params;
        const told = JSON.stringify([parameters, agreed]);
        assert(agreed, `not agreed: ${told}`);
        assert(!parameters.serverNoContextTakeover || agreed.server_no_context_takeover, `takeover: ${told}`);
        assert(!parameters.serverMaxWindowBits || agreed.server_max_window_bits <= parameters.serverMaxWindowBits, told);
        for (const message of ["", text(100), text(20_000), text(20_000), text(MIB), noise(20_000)]) await peer.echo(message);
        await peer.close(1000, "");
    }
}

// The server's own pings reach a client that can see them, and are taken for a sign of life.
async function serverPings(open, url) {
    const peer = await open(url).opened;
    for (let i = 0; i < 2; i++) await new Promise((resolve) => peer.socket.once("ping", resolve));
    await peer.echo("still here");
    await peer.close(1000, "");
}

const more = {
    echo: {
        fragments: opening(fragments),
        pings: opening(pings),
        invalidText: opening(invalidText, INVALID),
        withoutDeflate,
        ...(deflate ? { deflateParameters } : {}),
    },
    idle: { serverPings },
    stop: {},
};
const ready = async () => console.log("ready");
await run({ ...STAGES[stage], ...more[stage] }, open, url, { deflate, ready }, (line) => console.log(line));
