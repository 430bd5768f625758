//! The other end of a client under test: a WebSocket echo on epoll, one thread, that counts.
//!
//! Owns: the listener, the clients' connections and the course of a run. Promises: exact counts (a message counts when its last
//! byte has come, and every byte before it has been answered or waits to be), every frame is the one that was asked for, bounded
//! waits, and memory bounded by one read buffer of unsent bytes per connection. Refuses to know: which client it is. Of frames it
//! takes one shape only, whole binary messages of one size: what is measured is at the other end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wsring_proto::handshake::{self, HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request};

use crate::frames;
use crate::load::{Edge, OnEdge, Outcome, STALL, histogram};
use crate::net::Patience;
use crate::poller::{Poller, Ready};
use crate::proc;

/// How long a client has to open all its connections.
const OPEN_WAIT: Duration = if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(20) };
/// Bytes read from a connection at a time.
const BUFFER_LEN: usize = 64 << 10;
/// How long an end may go unnoticed where nothing comes.
const WAIT_MS: u16 = 10;

/// What a client is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Connections it opens.
    pub connections: usize,
    /// Messages it keeps in flight on each.
    pub depth: u32,
    /// Payload bytes of a message.
    pub size: usize,
}

/// How long and how to look at it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is to do.
    pub flight: Flight,
    /// Time under load before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
    /// How to wait.
    pub patience: Patience,
}

/// The echo, listening.
pub struct ClientEcho(TcpListener);

impl ClientEcho {
    /// Listens on a port of 127.0.0.1 that the kernel chooses. Fails as socket(2), bind(2) and listen(2) do.
    pub fn bind() -> io::Result<ClientEcho> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(4096)?;
        Ok(ClientEcho(socket.into()))
    }

    /// Where it listens.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Takes the connections of one client, echoes for the time of `plan`, and closes them. `on_edge` is called at both ends of
    /// the counted time. Any fault of the client (connections that do not come, a wrong handshake or header, more in flight than
    /// it was told, a closed connection, silence) ends the run with an error. No latencies: they are the client's to see.
    pub fn run(self, plan: &Plan, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
        let mut echo = Echo::open(&self.0, plan)?;
        let begun = Instant::now();
        echo.turn_until(|| begun.elapsed() >= plan.warmup)?;
        on_edge(Edge::Begin)?;
        let (messages_before, idle_before) = (echo.messages, echo.idle);
        let (begun, cpu_before) = (Instant::now(), proc::thread_cpu()?);
        echo.turn_until(|| begun.elapsed() >= plan.measured)?;
        let seconds = begun.elapsed().as_secs_f64();
        let client_cpu = proc::thread_cpu()? - cpu_before;
        on_edge(Edge::End)?;
        let messages = echo.messages - messages_before;
        Ok(Outcome {
            messages,
            reply_bytes: messages * plan.flight.size as u64,
            seconds,
            latencies: histogram(),
            client_cpu,
            client_idle: echo.idle - idle_before,
            messages_in_all: echo.messages,
        })
    }
}

/// All connections open.
struct Echo {
    asked: Asked,
    conns: Vec<Conn>,
    poller: Poller,
    patience: Patience,
    /// Connections that had more to read than one turn.
    unfinished: Vec<usize>,
    buffer: Vec<u8>,
    /// Messages that have come whole.
    messages: u64,
    /// Time spent polling for nothing.
    idle: Duration,
}

impl Echo {
    fn open(listener: &TcpListener, plan: &Plan) -> io::Result<Echo> {
        let deadline = Instant::now() + OPEN_WAIT;
        let mut echo = Echo {
            asked: Asked::new(plan.flight),
            conns: Vec::with_capacity(plan.flight.connections),
            poller: Poller::new(512)?,
            patience: plan.patience,
            unfinished: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
            messages: 0,
            idle: Duration::ZERO,
        };
        for nth in 0..plan.flight.connections {
            // What is open already waits, and its client with it, until all are.
            let stream = accept(listener, deadline).map_err(|error| {
                let asked = plan.flight.connections;
                io::Error::new(error.kind(), format!("the client opened {nth} of {asked} connections: {error}"))
            })?;
            echo.poller.add(&stream, nth as u64)?;
            echo.conns.push(Conn { stream, incoming: Incoming::default(), out: Vec::new(), sent: 0, hangup: false });
        }
        Ok(echo)
    }

    /// Turns until `done`, asked once a pass; silence is the other way to end.
    fn turn_until(&mut self, done: impl Fn() -> bool) -> io::Result<()> {
        let mut last_message = Instant::now();
        while !done() {
            let before = self.messages;
            self.turn()?;
            if self.messages > before {
                last_message = Instant::now();
            } else if last_message.elapsed() > STALL {
                let why = format!("no message for {STALL:?}, {} in all", self.messages);
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let turns = std::mem::take(&mut self.unfinished);
        let polls = self.patience == Patience::Poll;
        let begun = Instant::now();
        let ready = self.poller.wait(if polls || !turns.is_empty() { 0 } else { WAIT_MS })?;
        if polls && ready == 0 && turns.is_empty() {
            self.idle += begun.elapsed();
        }
        for event in 0..ready {
            let Ready { token, writable, hangup } = self.poller.ready(event);
            self.conns[token as usize].hangup |= hangup;
            self.pump(token as usize, writable)?;
        }
        turns.into_iter().try_for_each(|nth| self.pump(nth, false))
    }

    fn pump(&mut self, nth: usize, writable: bool) -> io::Result<()> {
        let pumped = self.conns[nth].pump(&self.asked, &mut self.buffer, writable);
        let pumped = pumped.map_err(|error| io::Error::new(error.kind(), format!("connection {nth}: {error}")))?;
        self.messages += pumped.messages;
        if pumped.more {
            self.unfinished.push(nth);
        }
        Ok(())
    }
}

/// A connection and what it still has to be sent.
struct Conn {
    stream: TcpStream,
    incoming: Incoming,
    /// Replies, of which `out[sent..]` is not written. Nothing is read while there are any.
    out: Vec<u8>,
    sent: usize,
    /// The client has ended its side: no edge will announce the end of the stream, so read until it.
    hangup: bool,
}

/// What a turn of a connection came to.
struct Pumped {
    messages: u64,
    /// There is more to read already; if not, an edge will tell.
    more: bool,
}

impl Conn {
    /// Sends what waits, then reads once and answers.
    fn pump(&mut self, asked: &Asked, buffer: &mut [u8], writable: bool) -> io::Result<Pumped> {
        let waiting = Pumped { messages: 0, more: false };
        if !self.out.is_empty() && (!(writable || self.hangup) || !self.flush()?) {
            return Ok(waiting);
        }
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the client closed it")),
            Ok(count) => count,
            Err(error) if would_wait(&error) => return Ok(waiting),
            Err(error) => return Err(error),
        };
        let messages = self.incoming.feed(asked, &buffer[..count], &mut self.out)?;
        let drained = self.flush()?;
        // epoll(7): a short read means the socket was drained, and the next byte makes a new edge.
        Ok(Pumped { messages, more: drained && (count == buffer.len() || self.hangup) })
    }

    /// Whether all is written.
    fn flush(&mut self) -> io::Result<bool> {
        if self.out.is_empty() {
            return Ok(true);
        }
        // One write: a short one means that the socket is full, and its next room makes an edge.
        match self.stream.write(&self.out[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if would_wait(&error) => {}
            Err(error) => return Err(error),
        }
        let all = self.sent == self.out.len();
        if all {
            self.out.clear();
            self.sent = 0;
        }
        Ok(all)
    }
}

/// A signal without SA_RESTART looks like a full socket; no handler here interrupts a non-blocking call (signal(7)).
fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The next connection, its opening handshake answered (RFC 6455 §4.2.2).
fn accept(listener: &TcpListener, deadline: Instant) -> io::Result<TcpStream> {
    let time_left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::new(ErrorKind::TimedOut, "no more time")) } else { Ok(left) }
    };
    // accept(2) waits no longer than a read may: socket(7), SO_RCVTIMEO.
    socket2::SockRef::from(listener).set_read_timeout(Some(time_left()?))?;
    let (mut stream, _) = listener.accept()?;
    let (limits, mut scan) = (HeadLimits::default(), HeadScan::default());
    let (mut head, mut filled) = (vec![0; limits.bytes_max], 0);
    let len = loop {
        stream.set_read_timeout(Some(time_left()?))?;
        match stream.read(&mut head[filled..]) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed before its handshake")),
            Ok(count) => filled += count,
            // A socket with a timeout is not read on when the process was stopped and continued (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match scan.feed(&head[..filled], &limits) {
            HeadEnd::Partial => {}
            HeadEnd::Complete(len) => break len,
            HeadEnd::TooLarge => return Err(io::Error::new(ErrorKind::InvalidData, "a handshake without end")),
        }
    };
    // RFC 6455 §4.1: a client sends nothing more until it has seen the answer.
    if len < filled {
        return Err(io::Error::new(ErrorKind::InvalidData, "bytes behind the handshake, before its answer"));
    }
    let mut answer = Vec::new();
    let mut table = HeaderTable::new();
    let accepted = Request::parse(&head[..len], &limits, &mut table)
        .and_then(|request| handshake::accept(&request, &Policy::default()))
        .map_err(|refusal| io::Error::new(ErrorKind::InvalidData, format!("wrong handshake: {}", refusal.reason())))?;
    handshake::write_switching(&mut answer, &accepted.key, accepted.subprotocol, []).map_err(io::Error::other)?;
    stream.write_all(&answer)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The one frame that may come, and its reply.
struct Asked {
    /// Header of a masked frame, up to the mask.
    head: Vec<u8>,
    reply_head: Vec<u8>,
    flight: Flight,
}

impl Asked {
    fn new(flight: Flight) -> Asked {
        Asked { head: frames::head(flight.size, true), reply_head: frames::head(flight.size, false), flight }
    }
}

/// Where one connection stands in its stream of messages.
#[derive(Default)]
struct Incoming {
    /// Bytes of the next frame that have come; always below its length.
    got: usize,
    mask: [u8; 4],
}

impl Incoming {
    /// Takes what was received, appends what is to be answered, and says how many messages it completed.
    fn feed(&mut self, asked: &Asked, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<u64> {
        let body_at = asked.head.len() + 4;
        let mut messages = 0;
        while !bytes.is_empty() {
            let step;
            if self.got < asked.head.len() {
                step = bytes.len().min(asked.head.len() - self.got);
                if let Some(wrong) = (0..step).find(|&at| bytes[at] != asked.head[self.got + at]) {
                    let found = [&asked.head[..self.got], &bytes[..=wrong]].concat();
                    let why = format!("wrong header: expected {:02x?}, found {found:02x?}", asked.head);
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
            } else if self.got < body_at {
                let at = self.got - asked.head.len();
                step = bytes.len().min(4 - at);
                self.mask[at..at + step].copy_from_slice(&bytes[..step]);
                if at + step == 4 {
                    out.extend_from_slice(&asked.reply_head);
                }
            } else {
                step = bytes.len().min(body_at + asked.flight.size - self.got);
                push_unmasked(out, &bytes[..step], self.mask, self.got - body_at);
            }
            self.got += step;
            bytes = &bytes[step..];
            if self.got == body_at + asked.flight.size {
                self.got = 0;
                messages += 1;
            }
        }
        // All before were answered before these were read.
        if messages > u64::from(asked.flight.depth) {
            let why = format!("{messages} messages in flight, not {}", asked.flight.depth);
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        Ok(messages)
    }
}

/// RFC 6455 §5.3, for a part of the payload that begins `at` bytes into it.
fn push_unmasked(out: &mut Vec<u8>, bytes: &[u8], mask: [u8; 4], at: usize) {
    let mut key = mask;
    key.rotate_left(at % 4);
    let begin = out.len();
    out.extend_from_slice(bytes);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut words = out[begin..].chunks_exact_mut(8);
    for word in &mut words {
        let plain = u64::from_ne_bytes((&*word).try_into().expect("eight bytes")) ^ wide;
        word.copy_from_slice(&plain.to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

#[cfg(test)]
mod tests;
