// What only Node's `ws` can find out about an open connection: frames and pings, which browsers hide.

import { MIB, assert, text } from "./checks.js";

function send(peer, data, how) {
    return new Promise((resolve, reject) => peer.socket.send(data, how, (error) => (error ? reject(error) : resolve())));
}

async function pinged(peer, payload) {
    const pong = new Promise((resolve) => peer.socket.once("pong", resolve));
    peer.socket.ping(payload);
    const back = await pong;
    assert(back.equals(Buffer.from(payload)), `pinged '${payload}', got '${back}'`);
}

// RFC 6455 §5.4: frames of any length make one message, a character cut in two and a ping between them.
export async function fragments(peer) {
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
}

export async function pings(peer) {
    for (const payload of ["", "p", "p".repeat(125)]) await pinged(peer, payload);
    peer.socket.pong("unasked"); // RFC 6455 §5.5.3: needs no answer
    await peer.echo("hello");
}

// RFC 6455 §8.1: text that is no UTF-8 ends with 1007, in whichever fragment it is.
export const INVALID = [[[0xff]], [[0x61], [0xc0]], [[0xe2, 0x82], []]];
export async function invalidText(peer, parts) {
    for (const [i, part] of parts.entries()) {
        await send(peer, Buffer.from(part), { binary: false, fin: i + 1 === parts.length }).catch(() => {});
    }
    const event = await peer.closed();
    assert(event.code === 1007, `closed ${event.code} ${event.reason}`);
}
