// Node's `ws` as a client of wsring: the checks of checks.js, and those that a browser cannot make.
//
//     node client.js URL STAGE [deflate]
//
// A line `ok NAME` or `FAIL NAME: why` for each check; `ready` where the server is to be stopped.

import WebSocket from "ws";
import { MIB, Peer, STAGES, assert, noise, run, text } from "./checks.js";

const [url, stage, ...words] = process.argv.slice(2);
const deflate = words.includes("deflate");
const options = { maxPayload: 0, rejectUnauthorized: false };

function open(url, protocols, more) {
    return new Peer(new WebSocket(url, protocols ?? [], { ...options, ...more }));
}

function send(peer, data, how) {
    return new Promise((resolve, reject) => peer.socket.send(data, how, (error) => (error ? reject(error) : resolve())));
}

// RFC 6455 §5.4: frames of any length make one message, a character cut in two and a ping between them.
async function fragments(open, url) {
    const peer = await open(url).opened;
    const pieces = [["", "", ""], ["a", "", "b"], [Buffer.from([0xe2]), Buffer.from([0x82, 0xac])],
        Array.from({ length: 1000 }, (_, i) => text(i % 40)), [text(MIB), text(70_000)]];
    for (const parts of pieces) {
        for (const binary of [false, true]) {
            for (const [i, part] of parts.entries()) {
                await send(peer, part, { binary, fin: i + 1 === parts.length });
                if (i === 0) await pinged(peer, "between");
            }
            const whole = Buffer.concat(parts.map((part) => Buffer.from(part)));
            const back = await peer.next();
            assert((typeof back === "string") !== binary, `sent binary: ${binary}, got ${typeof back}`);
            assert(Buffer.from(back).equals(whole), `${parts.length} fragments differ`);
        }
    }
    await peer.close(1000, "");
}

async function pinged(peer, payload) {
    const pong = new Promise((resolve) => peer.socket.once("pong", resolve));
    peer.socket.ping(payload);
    const back = await pong;
    assert(back.equals(Buffer.from(payload)), `pinged '${payload}', got '${back}'`);
}

async function pings(open, url) {
    const peer = await open(url).opened;
    for (const payload of ["", "p", "p".repeat(125)]) await pinged(peer, payload);
    peer.socket.pong("unasked"); // RFC 6455 §5.5.3: needs no answer
    await peer.echo("hello");
    await peer.close(1000, "");
}

// RFC 6455 §8.1: text that is no UTF-8 ends with 1007, in whichever fragment it is.
async function invalidText(open, url) {
    for (const parts of [[[0xff]], [[0x61], [0xc0]], [[0xe2, 0x82], []]]) {
        const peer = await open(url).opened;
        for (const [i, part] of parts.entries()) {
            await send(peer, Buffer.from(part), { binary: false, fin: i + 1 === parts.length }).catch(() => {});
        }
        const event = await peer.closed();
        assert(event.code === 1007, `closed ${event.code} ${event.reason}`);
    }
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

const more = { echo: { fragments, pings, invalidText, withoutDeflate, ...(deflate ? { deflateParameters } : {}) },
    idle: { serverPings }, stop: {} };
const ready = async () => console.log("ready");
await run({ ...STAGES[stage], ...more[stage] }, open, url, { deflate, ready }, (line) => console.log(line));
