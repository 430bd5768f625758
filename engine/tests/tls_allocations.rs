//! What TLS costs in memory for each record in a steady state: rustls 0.23 makes a buffer for the plaintext of each
//! record received and one for each record sent; the engine adds none. Counted on the core's thread alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ClientConnection;
use wsring::Config;
use wsring_testkit::certificates::{Authority, name};
use wsring_testkit::{BINARY, Echo, Random, client_frame, finish, read_some, serve, tcp, upgrade_head};

/// Counts what the threads allocate that ask for it.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the records in a stream of bytes: RFC 8446 §5.1.
#[derive(Default)]
struct Records {
    count: u64,
    /// Bytes of the header that have come, and of the body that have not.
    header: Vec<u8>,
    body: usize,
}

impl Records {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let len = self.body.min(bytes.len());
                (self.body, bytes) = (self.body - len, &bytes[len..]);
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let &[_, _, _, high, low] = &self.header[..] {
                self.body = usize::from(u16::from_be_bytes([high, low]));
                self.count += 1;
                self.header.clear();
            }
        }
    }
}

/// A client that counts the records of both directions.
struct Peer {
    tls: ClientConnection,
    stream: TcpStream,
    sent: Records,
    received: Records,
    plain: usize,
}

impl Peer {
    fn send(&mut self, plain: &[u8]) {
        self.tls.writer().write_all(plain).expect("it is taken");
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("into memory");
        }
        self.sent.pass(&bytes);
        self.stream.write_all(&bytes).expect("it goes out");
    }

    fn receive(&mut self) {
        let mut bytes = [0; 4096];
        let len = read_some(&self.stream, &mut bytes).expect("no reset");
        assert!(len > 0, "the server hung up");
        self.received.pass(&bytes[..len]);
        let mut bytes = &bytes[..len];
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).expect("from memory");
            self.tls.process_new_packets().expect("sound");
            let _ = std::io::Read::read_to_end(&mut self.tls.reader(), &mut plain); // WouldBlock after the last byte
        }
        self.plain += plain.len();
    }

    fn receive_plain(&mut self, len: usize) {
        while self.plain < len {
            self.receive();
        }
        self.plain -= len;
    }
}

/// Allocations beyond those of records, for as much as can be in use at once, however the threads are scheduled: buffers
/// that are made once, kept, and grow a few times. It does not depend on how many messages there are.
const IN_USE_MAX: u64 = 200;

#[test]
fn one_buffer_a_record_and_it_is_rustls() {
    let authority = Authority::new();
    let config = Config::default().tls(Arc::new(authority.server()));
    let (running, addr) = serve(config, 1, |_| {
        COUNTED.set(true);
        Echo
    });
    let client = Arc::new(authority.client(&[&rustls::version::TLS13]));
    let mut tls = ClientConnection::new(client, name()).expect("a client");
    tls.set_buffer_limit(None);
    let mut peer = Peer { tls, stream: tcp(addr), sent: Records::default(), received: Records::default(), plain: 0 };
    while peer.tls.is_handshaking() {
        peer.send(b"");
        peer.receive();
    }
    peer.send(upgrade_head("/").as_bytes());
    while peer.plain == 0 {
        peer.receive();
    }
    peer.plain = 0;
    let mut random = Random::new(1);
    for (depth, len) in [(16, 125), (4, 16 << 10), (1, 1 << 20)] {
        let mut batch = Vec::new();
        for _ in 0..depth {
            client_frame(&mut batch, true, BINARY, &random.bytes(len), random.key());
        }
        let answer = batch.len() - 4 * depth;
        let (mut rounds, mut beyond) = (0, 0);
        loop {
            let before = (COUNT.load(Ordering::Relaxed), peer.sent.count + peer.received.count);
            for _ in 0..50 {
                peer.send(&batch);
                peer.receive_plain(answer);
            }
            let allocated = COUNT.load(Ordering::Relaxed) - before.0;
            let records = peer.sent.count + peer.received.count - before.1;
            println!("{depth} x {len} B, round {rounds}: {allocated} allocations for {records} records");
            if allocated == records {
                break;
            }
            // Any round may still need more at once than those before it, but not all of them.
            rounds += 1;
            beyond += allocated.abs_diff(records);
            assert!(beyond <= IN_USE_MAX, "{depth} x {len} B: {beyond} more than the records in {rounds} rounds");
        }
    }
    drop(peer);
    finish(running);
}
