//! What the integration tests share: a WebSocket client on plain sockets, and handlers and servers to speak to.
//!
//! The client's framing is written apart from the engine's, so that neither hides a mistake of the other. Every wait is
//! bounded by [`WAIT`]: a failure is a message, not a hang. It refuses to know what a test is about.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use wsring::Running;
pub use wsring::ring::uring::raise_nofile;
use wsring::{Config, CoreCx, Cx, Error, Handler, Message, OnPanic, Opening, SendOutcome, Server, Stats, Verdict};

use crate::http::{Answer, handshake, upgrade_head};
use crate::patient::patiently;
use crate::ring::ring;

/// The longest that anything may take.
pub const WAIT: Duration = Duration::from_secs(30);

/// Opcodes, RFC 6455 §5.2.
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Pseudo-random numbers (splitmix64): the same test sends the same bytes.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound - 1`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn key(&mut self) -> [u8; 4] {
        (self.next() as u32).to_ne_bytes()
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// ASCII of exactly `len` bytes.
    pub fn ascii(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes(len);
        bytes.iter_mut().for_each(|byte| *byte = b' ' + *byte % 95);
        bytes
    }

    /// Text of exactly `len` bytes with characters of two, three and four.
    pub fn multi_byte(&mut self, len: usize) -> Vec<u8> {
        let mut text = String::with_capacity(len);
        while text.len() + 4 <= len {
            text.push(['é', '€', '😀', 'x'][self.below(4)]);
        }
        while text.len() < len {
            text.push('.');
        }
        text.into_bytes()
    }
}

/// Appends a masked frame (RFC 6455 §5.2, §5.3).
pub fn client_frame(out: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8], key: [u8; 4]) {
    client_header(out, fin, opcode, payload.len() as u64, key);
    let from = out.len();
    out.extend_from_slice(payload);
    for (i, byte) in out[from..].iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
}

/// Appends the header of a masked frame.
pub fn client_header(out: &mut Vec<u8>, fin: bool, opcode: u8, len: u64, key: [u8; 4]) {
    out.push(u8::from(fin) << 7 | opcode);
    match len {
        0..=125 => out.push(0x80 | len as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status code of a Close frame.
    #[track_caller]
    pub fn close_code(&self) -> u16 {
        assert!(self.opcode == CLOSE && self.payload.len() >= 2, "not a Close with a code: {self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
}

/// What a core does when it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Sleeps,
    Polls,
}

/// What `/proc` says of a thread, such as `/proc/7/task/9`.
#[derive(Clone)]
pub struct Thread(pub String);

impl Thread {
    /// The one that asks.
    pub fn this() -> Self {
        let task = std::fs::read_link("/proc/thread-self").expect("it runs");
        Self(format!("/proc/{}", task.display()))
    }

    /// How often it has given up its core by itself (voluntary_ctxt_switches, proc_pid_status(5)), and its time on a core
    /// in nanoseconds.
    fn usage(&self) -> (u64, u64) {
        let read = |file: &str| std::fs::read_to_string(format!("{}/{file}", self.0)).expect("it runs");
        let (status, schedstat) = (read("status"), read("schedstat"));
        let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let parsed = |number: Option<&str>| number.expect("a count").trim().parse().expect("a number");
        (parsed(waits), parsed(schedstat.split(' ').next()))
    }

    /// What it does first after `work`, which it has to do some work for: give up its core, or use that for far longer
    /// than the work takes. However busy the machine is, it does one of the two.
    #[track_caller]
    pub fn idles_after(&self, work: impl FnOnce()) -> Idle {
        // What the work costs takes microseconds. A core that polls may have to share its processor with many others and
        // poll for a second only: of that it gets this much where fifty want to run.
        const FAR_LONGER_NS: u64 = 20_000_000;
        let (waits, cpu_ns) = self.usage();
        work();
        let deadline = Instant::now() + WAIT;
        loop {
            let (waits_now, cpu_ns_now) = self.usage();
            match () {
                () if cpu_ns_now - cpu_ns > FAR_LONGER_NS => return Idle::Polls,
                () if waits_now > waits => return Idle::Sleeps,
                () => assert!(Instant::now() < deadline, "{} neither sleeps nor polls", self.0),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it polls after some `work`: a core that does may be kept from it once, but not again and again.
    #[track_caller]
    pub fn polls_at_last(&self, mut work: impl FnMut()) -> bool {
        let deadline = Instant::now() + WAIT;
        std::iter::repeat_with(|| self.idles_after(&mut work))
            .take_while(|_| Instant::now() < deadline)
            .any(|idle| idle == Idle::Polls)
    }
}

/// A plain TCP connection with every wait bounded.
pub fn tcp(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, WAIT).expect("connects");
    bounded(&stream);
    stream
}

/// A port on which nobody listens, so that connecting is refused. Nobody else gets it while the socket is held, but a server may
/// come to listen on it: it shares the port by SO_REUSEPORT, or by SO_REUSEADDR (socket(7)).
pub fn refused() -> (socket2::Socket, SocketAddr) {
    held(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// The same on the port of a server that listens with SO_REUSEPORT: nobody else gets it when that has ended.
pub fn held(addr: SocketAddr) -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.set_reuse_port(true).expect("SO_REUSEPORT");
    socket.bind(&addr.into()).expect("a port to share");
    let addr = socket.local_addr().expect("an address").as_socket().expect("of the internet");
    (socket, addr)
}

/// Bounds the waits of a stream, and sends what is written at once.
pub fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(WAIT)).expect("a timeout");
    stream.set_write_timeout(Some(WAIT)).expect("a timeout");
    stream.set_nodelay(true).expect("TCP_NODELAY");
}

/// One read. A socket with a timeout is not restarted after a signal or a frozen machine (signal(7)), so we do it.
pub fn read_some(mut stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    patiently(|| stream.read(bytes))
}

/// Reads until the end of a head; what follows it stays in the second part.
pub fn read_head(stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).expect("a head is ASCII"), rest));
        }
        match read_some(stream, &mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

/// Sends a request and reads its answer to the end of the connection.
#[track_caller]
pub fn ask(addr: SocketAddr, request: &str) -> Answer {
    let mut stream = tcp(addr);
    stream.write_all(request.as_bytes()).expect("the request goes out");
    let (head, body) = read_head(&stream).expect("a response");
    let mut answer = Answer { body, ..Answer::of(&head) };
    stream.read_to_end(&mut answer.body).expect("the end");
    answer
}

/// Drops a connection with a reset (SO_LINGER of zero, socket(7)).
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}

/// Writes bytes in pieces of random length, each a write of its own: segment boundaries fall anywhere.
#[track_caller]
pub fn write_cut(mut stream: &TcpStream, random: &mut Random, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let most = [3, 40, 700, 9_000, 90_000][random.below(5)];
        let (now, later) = bytes.split_at((1 + random.below(most)).min(bytes.len()));
        stream.write_all(now).expect("the piece goes out");
        bytes = later;
    }
}

/// Writes until nothing goes out although the server has worked: `work` has it do so, as by an echo of another connection of the same
/// core, and comes back when it has. Returns how much went.
pub fn write_until_stalled(mut stream: &TcpStream, bytes: &[u8], mut work: impl FnMut()) -> usize {
    // In each it would have read what had come.
    const ROUNDS: usize = 20;
    stream.set_nonblocking(true).expect("nonblocking");
    let (mut at, mut still) = (0, 0);
    while at < bytes.len() && still < ROUNDS {
        match patiently(|| stream.write(&bytes[at..bytes.len().min(at + (1 << 20))])) {
            Ok(n) => (at, still) = (at + n, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                work();
                still += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).expect("blocking");
    at
}

/// A WebSocket client.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    /// The answer to the handshake.
    pub answer: Answer,
    pub random: Random,
    buffer: Vec<u8>,
    at: usize,
}

impl Client {
    /// Connects and upgrades, on path `/`.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        let mut stream = tcp(addr);
        stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
        Self::upgraded(stream)
    }

    /// Opens a connection on this path; any answer but 101 is a failed test.
    #[track_caller]
    pub fn open(addr: SocketAddr, path: &str) -> Self {
        Self::try_open(addr, path, &[]).unwrap_or_else(|answer| panic!("not opened: {answer:?}"))
    }

    /// Opens a connection with further header lines, or says what the answer was.
    #[track_caller]
    pub fn try_open(addr: SocketAddr, path: &str, headers: &[&str]) -> Result<Self, Answer> {
        let mut stream = tcp(addr);
        stream.write_all(handshake(path, headers).as_bytes()).expect("the request goes out");
        let (head, rest) = read_head(&stream).expect("a response");
        let answer = Answer::of(&head);
        if answer.status == 101 {
            return Ok(Self::after(stream, &head, rest));
        }
        let mut body = rest;
        stream.read_to_end(&mut body).expect("the end");
        Err(Answer { body, ..answer })
    }

    /// A second name of the same connection, for another thread: one sends, the other receives.
    pub fn twin(&self) -> Self {
        let stream = self.stream.try_clone().expect("a second descriptor");
        let random = Random::new(!self.random.0);
        Self { stream, answer: self.answer.clone(), random, buffer: Vec::new(), at: 0 }
    }

    /// The client of a stream on which the request has been sent.
    #[track_caller]
    pub fn upgraded(stream: TcpStream) -> Self {
        let (head, buffer) = read_head(&stream).expect("a response");
        Self::after(stream, &head, buffer)
    }

    /// The client of a stream whose response has been read, and some bytes behind it.
    #[track_caller]
    pub fn after(stream: TcpStream, head: &str, buffer: Vec<u8>) -> Self {
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="; // RFC 6455 §1.3
        assert!(head.to_ascii_lowercase().contains(accept), "{head}");
        let seed = stream.local_addr().expect("an address").port();
        Self { stream, answer: Answer::of(head), random: Random::new(seed.into()), buffer, at: 0 }
    }

    /// Sends a whole message or control frame.
    #[track_caller]
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_frame(true, opcode, payload);
    }

    #[track_caller]
    pub fn send_frame(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        client_frame(&mut bytes, fin, opcode, payload, self.random.key());
        self.stream.write_all(&bytes).expect("the frame goes out");
    }

    /// Sends the head of a frame and nothing of its payload.
    #[track_caller]
    pub fn send_head(&mut self, fin: bool, opcode: u8, len: u64) {
        let mut bytes = Vec::new();
        client_header(&mut bytes, fin, opcode, len, self.random.key());
        self.stream.write_all(&bytes).expect("the head goes out");
    }

    /// Sends bytes in segments of random length.
    #[track_caller]
    pub fn send_cut(&mut self, bytes: &[u8]) {
        write_cut(&self.stream, &mut self.random, bytes);
    }

    /// More bytes from the server; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let mut piece = [0_u8; 65536];
        let n = read_some(&self.stream, &mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }

    /// The next frame; `None` at the end of the stream, which must not lie inside a frame.
    pub fn try_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let bytes = &self.buffer[self.at..];
            if let Some((frame, len)) = server_frame(bytes) {
                self.at += len;
                return Ok(Some(frame));
            }
            let partial = !bytes.is_empty();
            if !self.fill()? {
                assert!(!partial, "the stream ended inside a frame");
                return Ok(None);
            }
        }
    }

    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.try_frame().expect("a frame").expect("a frame, not the end")
    }

    /// The next frame, or `None` where the server ended the connection, by a reset too.
    #[track_caller]
    pub fn frame_or_end(&mut self) -> Option<Frame> {
        match self.try_frame() {
            Ok(frame) => frame,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether something comes within `time`. What comes is not lost.
    #[track_caller]
    pub fn hears_within(&mut self, time: Duration) -> bool {
        if self.at < self.buffer.len() {
            return true;
        }
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        let heard = patiently(|| self.stream.peek(&mut [0]));
        self.stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        match heard {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame must be this one, whole.
    #[track_caller]
    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame();
        assert_eq!((frame.fin, frame.opcode, frame.payload.len()), (true, opcode, payload.len()));
        assert!(frame.payload == payload, "{} bytes came back changed", payload.len());
    }

    /// Sends and expects the same back.
    #[track_caller]
    pub fn echo(&mut self, opcode: u8, payload: &[u8]) {
        self.send(opcode, payload);
        self.expect(opcode, payload);
    }

    /// The next frame must be a Close; returns its code and reason.
    #[track_caller]
    pub fn expect_close(&mut self) -> (u16, String) {
        let frame = self.frame();
        assert_eq!(frame.opcode, CLOSE, "{frame:?}");
        let (code, reason) = frame.payload.split_at(2);
        (u16::from_be_bytes([code[0], code[1]]), String::from_utf8(reason.to_vec()).expect("UTF-8"))
    }

    /// Nothing more may come but the end.
    #[track_caller]
    pub fn expect_end(&mut self) -> End {
        match self.try_frame() {
            Ok(None) => End::Eof,
            Ok(Some(frame)) => panic!("a frame after the last: opcode {}, {} bytes", frame.opcode, frame.payload.len()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("{error}"),
        }
    }

    /// The closing handshake, begun here (RFC 6455 §7.1.2): the server answers with the same code and closes first.
    #[track_caller]
    pub fn close(mut self) {
        self.send(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(self.expect_close().0, 1000);
        assert_eq!(self.expect_end(), End::Eof);
    }

    /// Ends our side of the stream; the other stays open.
    #[track_caller]
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }
}

/// A whole frame at the start of `bytes`, and its length. The server must not mask (RFC 6455 §5.1) and must use the
/// shortest form of the length (§5.2).
fn server_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(second & 0x80, 0, "a server's frame is masked");
    assert_eq!(first & 0x70, 0, "a reserved bit is set");
    let (len, head) = match second {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let shortest = [2, 4, 10][usize::from(len > 125) + usize::from(len > 0xffff)];
    assert_eq!(head, shortest, "a length of {len} in a header of {head} bytes");
    let payload = bytes.get(head..head + len as usize)?.to_vec();
    let len = head + payload.len();
    Some((Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload }, len))
}

/// Sends every message back.
pub struct Echo;

impl Handler for Echo {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let pressure = cx.forward(message);
        // What a peer has said before it broke its connection is handled too.
        let is_gone = pressure == SendOutcome::Gone;
        assert!(pressure.is_queued() || is_gone, "an echo is always queued: {pressure:?}");
    }
}

/// `count` cores of the affinity mask, going round it so that tests side by side share the machine.
pub fn cores(count: usize) -> Vec<usize> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().expect("an affinity mask").iter().map(|core| core.id).collect();
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    (0..count).map(|i| allowed[(first + i) % allowed.len()]).collect()
}

/// A server on a free port.
pub fn serve<H: Handler<Mail = ()>>(
    config: Config,
    core_count: usize,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> (Running, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    serve_at(any, config, core_count, factory).expect("the server starts")
}

/// A server on this address.
pub fn serve_at<H: Handler<Mail = ()>>(
    addr: SocketAddr,
    config: Config,
    core_count: usize,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> Result<(Running, SocketAddr), Error> {
    let running = Server::bind(addr)?
        .cores(cores(core_count))
        .config(strict(config))
        .start(move |core| factory(core.place.index()))?;
    let addr = running.local_addrs()[0];
    Ok((running, addr))
}

/// A handler's failed assertion fails its test, and it runs on the ring that is being tested.
pub fn strict(config: Config) -> Config {
    config.on_panic(OnPanic::Stop).ring(ring())
}

/// A client on one core.
pub fn start_client<H: Handler<Mail = ()>>(
    config: Config,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> Running {
    wsring::Client::new()
        .cores(cores(1))
        .config(strict(config))
        .start(move |core| factory(core.place.index()))
        .expect("the client starts")
}

/// Stops a server and returns its counters, all cores together.
#[track_caller]
pub fn finish(running: Running) -> Stats {
    running.handle().stop();
    let mut total = Stats::default();
    running.join().expect("a clean end").into_iter().for_each(|stats| total += stats);
    total
}

/// The kernel's version.
pub fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
