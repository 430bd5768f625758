//! What a TLS connection takes of memory, in the middle of its handshake and open, is what it is counted as. Live bytes are
//! counted on the core's thread alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Verdict};
use wsring_testkit::certificates::{Authority, name};
use wsring_testkit::{TEXT, WAIT, client_frame, finish, read_some, serve, tcp, upgrade_head};

/// Adds up what the threads hold that ask for it.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn add(bytes: usize, sign: i64) {
    if COUNTED.get() {
        LIVE.fetch_add(bytes as i64 * sign, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(layout.size(), -1);
        add(size, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers what the core has received so far, what it counts of memory, what is live, and how many it has closed for that.
struct Meter;

impl Handler for Meter {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
        let stats = cx.stats();
        let live = LIVE.load(Ordering::Relaxed);
        let text = format!("{} {} {live} {}", stats.bytes_in, stats.memory_bytes, stats.memory_closed);
        let _ = cx.send(&text);
    }
}

/// A client of TLS by hand: what it sends and when is up to the test.
struct Peer {
    tls: ClientConnection,
    stream: TcpStream,
    sent: usize,
}

impl Peer {
    fn new(authority: &Authority, version: &'static SupportedProtocolVersion, addr: SocketAddr) -> Self {
        let tls = ClientConnection::new(Arc::new(authority.client(&[version])), name()).expect("a client");
        Self { tls, stream: tcp(addr), sent: 0 }
    }

    fn send(&mut self, plain: &[u8]) {
        self.tls.writer().write_all(plain).expect("it is taken");
        while self.tls.wants_write() {
            self.sent += self.tls.write_tls(&mut self.stream).expect("it goes out");
        }
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let len = read_some(&self.stream, &mut bytes).expect("no reset");
        let mut bytes = &bytes[..len];
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).expect("from memory");
            self.tls.process_new_packets().expect("sound");
            let _ = self.tls.reader().read_to_end(&mut plain); // WouldBlock after the last byte
        }
        plain
    }

    /// Up to the server's whole flight, which is not answered.
    fn begin(mut self) -> Self {
        self.send(b"");
        while !self.tls.wants_write() {
            self.receive();
        }
        self
    }

    fn open(mut self) -> Self {
        while self.tls.is_handshaking() {
            self.send(b"");
            self.receive();
        }
        self.send(upgrade_head("/").as_bytes());
        while self.receive().is_empty() {}
        self
    }

    /// What the core says: see [`Meter`].
    fn ask(&mut self) -> [i64; 4] {
        let mut frame = Vec::new();
        client_frame(&mut frame, true, TEXT, b"?", [1, 2, 3, 4]);
        self.send(&frame);
        let answer = self.receive();
        let text = std::str::from_utf8(&answer[2..]).expect("text");
        let numbers: Vec<i64> = text.split(' ').map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().expect("four of them")
    }

    /// When the core has received all that everybody has sent: what it counts of memory, and what is live.
    fn ask_behind(&mut self, others: &[Peer]) -> (i64, i64) {
        let others: usize = others.iter().map(|peer| peer.sent).sum();
        loop {
            let [received, counted, live, _] = self.ask();
            if received as usize >= others + self.sent {
                return (counted, live);
            }
        }
    }
}

/// One test at a time: live bytes are those of the process.
static TURN: Mutex<()> = Mutex::new(());

/// In its handshake, which the peer does not finish, and open: no more than 256 B a connection are not counted, and not twice of what
/// there is.
#[test]
fn what_tls_takes_is_counted() {
    const PEERS: usize = 64;
    let _turn = TURN.lock();
    let authority = Authority::new();
    let config = Config::default().tls(Arc::new(authority.server())).handshake_timeout(Duration::from_secs(600));
    let (running, addr) = serve(config, 1, |_| {
        COUNTED.set(true);
        Meter
    });
    let mut meter = Peer::new(&authority, &TLS13, addr).open();
    // What many at once need beside themselves is there from here on.
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::new(&authority, &TLS13, addr).open()).collect();
    for (version, open) in [(&TLS12, false), (&TLS12, true), (&TLS13, false), (&TLS13, true)] {
        let before = meter.ask_behind(&peers);
        peers.extend((0..PEERS).map(|_| {
            let peer = Peer::new(&authority, version, addr);
            if open { peer.open() } else { peer.begin() }
        }));
        let now = meter.ask_behind(&peers);
        let (counted, live) = ((now.0 - before.0) / PEERS as i64, (now.1 - before.1) / PEERS as i64);
        println!("{:?}, open: {open}: {live} bytes are live, {counted} counted", version.version);
        assert!(live <= counted + 256 && counted <= 2 * live, "{live} bytes are live, {counted} counted");
    }
    drop((peers, meter));
    finish(running);
}

/// Most of a ClientHello of 60 KiB, of many: those that hold most are cut, and a neighbour is served.
#[test]
fn handshakes_that_never_end_are_kept_within_the_budget() {
    const PEERS: usize = 100;
    const BUDGET: usize = 2 << 20;
    let _turn = TURN.lock();
    let authority = Authority::new();
    let config = Config::default().tls(Arc::new(authority.server())).handshake_timeout(Duration::from_secs(600));
    let (running, addr) = serve(config.memory_max_bytes(BUDGET), 1, |_| Meter);
    let mut meter = Peer::new(&authority, &TLS13, addr).open();
    // RFC 8446 §4: a handshake message of 0xF000 bytes; §5.1: in records of 16,000 bytes.
    let mut message = vec![1, 0, 0xF0, 0];
    message.resize(0xF000, 7);
    let hello: Vec<u8> = message.chunks(16_000).flat_map(record).collect();
    let peers: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let mut peer = tcp(addr);
            let _ = peer.write_all(&hello[..hello.len() - 100]); // it may be cut meanwhile
            let [_, counted, _, _] = meter.ask();
            assert!(counted as usize <= BUDGET + BUDGET / 4 + (128 << 10), "{counted}");
            peer
        })
        .collect();
    let began = Instant::now();
    while meter.ask()[3] == 0 {
        assert!(began.elapsed() < WAIT, "nobody is closed");
    }
    drop((peers, meter));
    assert!(finish(running).memory_refused > 0, "nobody new was refused meanwhile");
}

fn record(piece: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend((piece.len() as u16).to_be_bytes());
    record.extend(piece);
    record
}
