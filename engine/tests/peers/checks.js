// What JavaScript finds out about a peer that echoes: in a browser and on Node's `ws`, which has the same interface.
//
// Owns the checks that both can make.  Promises that each says what it found instead of what it should, and that no wait
// is without a bound.  Refuses to know which client runs it: `open(url, protocols)` makes a socket.

const PATIENCE_MS = 30_000;
export const MIB = 1 << 20;

export function assert(condition, ...words) {
    if (!condition) throw new Error(words.join(" "));
}

function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// One connection: its messages in order, and how it ended.
export class Peer {
    constructor(socket) {
        this.socket = socket;
        socket.binaryType = "arraybuffer";
        this.messages = [];
        this.waiting = [];
        const opened = new Promise((resolve, reject) => {
            if (socket.readyState === 1) resolve(this); // a server's
            socket.addEventListener("open", () => resolve(this));
            socket.addEventListener("close", (event) => reject(new Error(`closed (${event.code}) before it opened`)));
            socket.addEventListener("error", () => {}); // a close event follows
        });
        this.opened = within(opened, "open");
        this.opened.catch(() => {}); // for whom it may concern
        this.ended = new Promise((resolve) => socket.addEventListener("close", resolve));
        socket.addEventListener("message", (event) => {
            const next = this.waiting.shift();
            if (next) next.resolve(event.data);
            else this.messages.push(event.data);
        });
        this.ended.then((event) => {
            for (const next of this.waiting) next.reject(new Error(`closed (${event.code} ${event.reason})`));
        });
    }

    next() {
        if (this.messages.length) return Promise.resolve(this.messages.shift());
        return within(new Promise((resolve, reject) => this.waiting.push({ resolve, reject })), "a message");
    }

    // How the server ended it, which must not send anything before.
    closed() {
        assert(!this.messages.length, "not closed, but sent something");
        const sent = new Promise((_, reject) => this.waiting.push({ resolve: () => reject(new Error("sent something")), reject() {} }));
        return within(Promise.race([this.ended, sent]), "the end");
    }

    // Sends, and checks that the same comes back, of the same kind.
    async echo(data) {
        this.socket.send(data);
        const back = await this.next();
        assert(typeof back === typeof data, `sent ${typeof data}, got ${typeof back}`);
        assert(same(back, data), `an echo of ${size(data)} differs: ${size(back)}`);
    }

    async close(code, reason) {
        code === undefined ? this.socket.close() : this.socket.close(code, reason);
        return this.closed();
    }
}

function size(data) {
    return typeof data === "string" ? data.length : data.byteLength;
}

function same(a, b) {
    if (typeof a === "string") return a === b;
    const [x, y] = [new Uint8Array(a), new Uint8Array(b.buffer ?? b)];
    if (x.length !== y.length) return false;
    for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
    return true;
}

// So many bytes of lines as an exchange sends them, which compress; always the same.
export function text(length) {
    const lines = [];
    let total = 0;
    for (let i = 1, seed = 1; total < length; i++) {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        const line = `{"id":${i},"price":${(seed >>> 8) % 100000},"side":"buy"}\n`;
        lines.push(line);
        total += line.length;
    }
    return lines.join("").slice(0, length);
}

// So many bytes that do not compress.
export function noise(length) {
    const bytes = new Uint8Array(length);
    for (let i = 0, seed = 1; i < length; i++) {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        bytes[i] = seed >>> 24;
    }
    return bytes;
}

// RFC 6455 §5.2: the lengths on both sides of each form, and the longest message that the server takes.
const LENGTHS = [0, 1, 125, 126, 127, 4096, 65535, 65536, MIB];
const LONGEST = 16 * MIB;

// What is found out about an open connection, whichever end of it is wsring.
export const onOne = {
    async textAndBinary(peer) {
        for (const message of ["", "hello", "h\u00e9llo \u20ac \u{1f600}", "\u0000"]) await peer.echo(message);
        await peer.echo(new Uint8Array(0));
        await peer.echo(Uint8Array.from({ length: 256 }, (_, i) => i));
    },

    async sizes(peer) {
        for (const length of [...LENGTHS, LONGEST]) {
            await peer.echo(text(length));
            // What does not compress is longer when compressed: the limit is on the message.
            await peer.echo(noise(length));
        }
    },

    async manyInOrder(peer) {
        const sent = Array.from({ length: 2000 }, (_, i) => `${i} ${text((i * 37) % 3000)}`);
        for (const message of sent) peer.socket.send(message);
        for (const message of sent) assert((await peer.next()) === message, `not in order at ${message.split(" ")[0]}`);
    },
};

// RFC 6455 §7.4.1: 1009, one byte past the limit.
export const TOO_LONG = [() => noise(LONGEST + 1), () => text(LONGEST + 1)];
export async function tooLong(peer, message) {
    peer.socket.send(message());
    const event = await peer.closed();
    assert(event.code === 1009, `closed ${event.code} ${event.reason}`);
}

// RFC 6455 §5.5.1: wsring answers with the code that it got, none for none (§7.1.5); its own reason is none.
export const CLOSES = [[1000, ""], [1000, "bye"], [3000, "\u00e4\u00f6\u{1f600}"], [4999, "r".repeat(123)], []];
export async function closeCode(peer, [code, reason]) {
    const event = await peer.close(code, reason);
    assert(event.wasClean && event.code === (code ?? 1005) && event.reason === "", `sent ${code}, got ${event.code} ${event.reason}`);
}

export async function extensions(peer, deflate) {
    const agreed = peer.socket.extensions.includes("permessage-deflate");
    assert(agreed === deflate, `extensions: '${peer.socket.extensions}'`);
    for (let i = 0; i < 3; i++) await peer.echo(text(20_000)); // with takeover, a window of what went before
}

// A check of one connection as one that opens it for each of `all`.
export const opening = (check, all = [undefined]) => async (open, url) => {
    for (const one of all) {
        const peer = await open(url).opened;
        await check(peer, one);
        if (peer.socket.readyState === 1) await peer.close(1000, "");
    }
};

// The server was told `--subprotocol second --subprotocol first`: its order counts.
async function subprotocols(open, url) {
    for (const [offered, agreed] of [[["first", "second"], "second"], [["other", "first"], "first"], [[], ""]]) {
        const peer = await open(url, offered).opened;
        assert(peer.socket.protocol === agreed, `offered ${offered}, agreed on '${peer.socket.protocol}'`);
        await peer.echo("hello");
        await peer.close(1000, "");
    }
    // A client of JavaScript that offers some insists on one (WHATWG WebSockets, "establish a WebSocket connection").
    const refused = await open(url, ["other"]).opened.then(() => "opened", () => "failed");
    assert(refused === "failed", "opened without a subprotocol that was asked for");
}

// Silent for longer than the server bears without being answered a ping.
async function answersPings(open, url) {
    const peer = await open(url).opened;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await peer.echo("still here");
    await peer.close(1000, "");
}

// `ready()` has the server stopped: RFC 6455 §7.4.1, 1001.
async function serverStops(open, url, { ready }) {
    const peer = await open(url).opened;
    await peer.echo("hello");
    await ready();
    const event = await peer.closed();
    assert(event.wasClean && event.code === 1001, `closed ${event.code} ${event.reason}`);
}

// The checks of each stage, by the name that they are reported under.
export const STAGES = {
    echo: {
        ...Object.fromEntries(Object.entries(onOne).map(([name, check]) => [name, opening(check)])),
        tooLong: opening(tooLong, TOO_LONG),
        closeCodes: opening(closeCode, CLOSES),
        subprotocols,
        extensions: (open, url, { deflate }) => opening((peer) => extensions(peer, deflate))(open, url),
    },
    idle: { answersPings },
    stop: { serverStops },
};

// Runs checks one after the other; `report` takes one line for each.
export async function run(checks, open, url, facts, report) {
    for (const [name, check] of Object.entries(checks)) {
        try {
            await check(open, url, facts);
            await report(`ok ${name}`);
        } catch (error) {
            await report(`FAIL ${name}: ${error.message}`);
        }
    }
}
