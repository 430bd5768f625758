//! The kernel's stand-in: a [`Ring`] on which every peer says what a script has prepared, and every operation succeeds at
//! the next wait.
//!
//! What it does itself happens in functions named `kernel_side_*`, which are not counted; of the seam only the calls are.
//! It promises the order of a well-behaved kernel: what was submitted completes first, then new bytes arrive.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use wsring::ring::{Done, Op, RecvEnd, Ring, Socket, Time, Token};

/// A pass of the loop takes so long.
const PASS: Duration = Duration::from_micros(20);

/// What happens at a wait.
pub enum Arrival {
    /// A peer connects; it gets this socket.
    Peer(u32),
    /// Bytes of the peer at this socket.
    Bytes(u32, Vec<u8>),
}

/// Received bytes.
pub struct Lent(Vec<u8>);

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// One socket, seen from the kernel.
#[derive(Default)]
pub struct Peer {
    receive: Option<Token>,
    /// All that was sent to it.
    pub got: Vec<u8>,
}

/// The ring.
pub struct MemoryRing {
    /// What each wait brings.
    script: VecDeque<Vec<Arrival>>,
    pub peers: Vec<Peer>,
    /// Peers from this one on take nothing.
    still_from: u32,
    accept: Option<Token>,
    submitted: Vec<(Token, Op)>,
    ready: VecDeque<(Token, Done<Lent>)>,
    now: Time,
    waits: u64,
}

impl MemoryRing {
    pub fn new(sockets: u32, script: Vec<Vec<Arrival>>) -> Self {
        Self {
            script: script.into(),
            peers: (0..sockets).map(|_| Peer::default()).collect(),
            still_from: u32::MAX,
            accept: None,
            submitted: Vec::new(),
            ready: VecDeque::new(),
            now: Time::default(),
            waits: 0,
        }
    }

    /// Sends to peers from this one on never complete.
    pub fn still_from(mut self, socket: u32) -> Self {
        self.still_from = socket;
        self
    }

    #[inline(never)]
    fn kernel_side_submit(&mut self, token: Token, op: Op) {
        self.submitted.push((token, op));
    }

    #[inline(never)]
    fn kernel_side_wait(&mut self) {
        assert!(self.ready.is_empty(), "{} completions were not looked at", self.ready.len());
        self.now = self.now.plus(PASS);
        self.waits += 1;
        for (token, op) in mem::take(&mut self.submitted) {
            self.start(token, op);
        }
        for arrival in self.script.pop_front().unwrap_or_default() {
            let completion = match arrival {
                Arrival::Peer(socket) => {
                    let token = self.accept.expect("the engine accepts");
                    (token, Done::Accepted { result: Ok(Socket(socket)), peer: None, more: true })
                }
                Arrival::Bytes(socket, bytes) => {
                    let token = self.peers[socket as usize].receive.expect("the engine receives");
                    (token, Done::Received { lease: Some(Lent(bytes)), end: None })
                }
            };
            self.ready.push_back(completion);
        }
    }

    fn start(&mut self, token: Token, op: Op) {
        let done = match op {
            Op::Accept { .. } => return self.accept = Some(token),
            Op::Recv { socket, .. } => return self.peers[socket.0 as usize].receive = Some(token),
            Op::Wake => return,
            Op::Send { socket, .. } if socket.0 >= self.still_from => return,
            Op::Send { socket, payload } => {
                self.peers[socket.0 as usize].got.extend_from_slice(payload.bytes());
                let result = Ok(payload.len());
                Done::Sent { payload, result }
            }
            Op::CancelSocket { socket } => {
                if let Some(receive) = self.peers[socket.0 as usize].receive.take() {
                    let end = Some(RecvEnd::Cancelled);
                    self.ready.push_back((receive, Done::Received { lease: None, end }));
                }
                Done::Cancelled
            }
            Op::Unacked { .. } => Done::Unacked { result: Ok(0) },
            Op::Close { .. } => Done::Closed,
            Op::Connect { remote, .. } => panic!("no cell dials, yet {remote} is connected to"),
            Op::Cancel { target } => panic!("no cell pauses a peer, yet {target:?} is cancelled"),
        };
        self.ready.push_back((token, done));
    }

    #[inline(never)]
    fn kernel_side_next(&mut self) -> Option<(Token, Done<Lent>)> {
        self.ready.pop_front()
    }

    #[inline(never)]
    fn kernel_side_release(&mut self, lease: Lent) {
        drop(lease);
    }
}

impl Ring for MemoryRing {
    type Lease = Lent;

    #[inline(always)]
    fn submit(&mut self, token: Token, op: Op) {
        self.kernel_side_submit(token, op);
    }

    #[inline(always)]
    fn wait(&mut self, _: Option<Time>) -> io::Result<()> {
        self.kernel_side_wait();
        Ok(())
    }

    #[inline(always)]
    fn next(&mut self) -> Option<(Token, Done<Lent>)> {
        self.kernel_side_next()
    }

    #[inline(always)]
    fn release(&mut self, lease: Lent) {
        self.kernel_side_release(lease);
    }

    fn unlisten(&mut self, listener: u32) {
        panic!("nobody stops, yet listener {listener} is closed");
    }

    #[inline(always)]
    fn now(&self) -> Time {
        self.now
    }

    fn enters(&self) -> u64 {
        self.waits
    }
}
