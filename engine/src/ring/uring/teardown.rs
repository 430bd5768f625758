//! The end of a ring: nothing of it goes while the kernel may still read or write it.
//!
//! Owns the order in which a ring ends, and what is kept for ever if the kernel does not let go of it.

use std::time::{Duration, Instant};

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};

use super::accepts::Accepts;
use super::{ENTER_GETEVENTS, OWN, Uring};
use crate::ring::Ring;

/// How long a ring that goes waits for what it has cancelled.
const LAST_COMPLETIONS: Duration = Duration::from_secs(1);

impl Uring {
    /// Ends everything, and says how many operations did not end. At most [`LAST_COMPLETIONS`] long.
    fn end(&mut self) -> u32 {
        // First what is queued, so that the cancel finds it, and closes are not lost. A ring that is broken is not asked again.
        let mut works = self.enter(0, ENTER_GETEVENTS, None).is_ok();
        self.accepts.iter_mut().for_each(Accepts::end);
        if works {
            self.push(&AsyncCancel2::new(CancelBuilder::any()).build().user_data(OWN.to_bits()));
        }
        let began = Instant::now();
        let step = Timespec::from(Duration::from_millis(10));
        while works && self.in_flight > 0 && began.elapsed() < LAST_COMPLETIONS {
            works = self.enter(1, ENTER_GETEVENTS, Some(&SubmitArgs::new().timespec(&step))).is_ok();
            self.gather();
            // What a receive brought is nobody's any more; memory of sends and new sockets come back to be dropped.
            while self.next().is_some() {}
        }
        self.in_flight
    }
}

/// Closing a ring does not end its operations at once: close(2) leaves that to a work item of the kernel (io_ring_exit_work of
/// io_uring/io_uring.c), which may still run when the memory below has gone to somebody else. So they are cancelled and awaited.
impl Drop for Uring {
    fn drop(&mut self) {
        if self.end() == 0 {
            return;
        }
        // Memory that the kernel may yet read or write is never given back. A send block keeps the region that it lies in.
        std::mem::forget(std::mem::take(&mut self.sends));
        self.accepts.iter_mut().for_each(Accepts::keep_for_ever);
        self.alarm.keep_for_ever();
        self.buffers.keep_for_ever();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::ring::uring::{Feature, Features, RingConfig, Sending, Waker};
    use crate::ring::{Done, Heap, Kind, Memory, Op, Payload, SendBlocks, Socket, Time, Token};

    /// A ring with an accepted connection, and its peer.
    fn connected(features: Features) -> (Uring, SendBlocks, Socket, TcpStream) {
        let config = RingConfig { sockets_max: 8, backlog: 2, features, ..RingConfig::default() };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (mut ring, blocks) =
            Uring::new(&config, vec![listener], Waker::new().expect("a descriptor")).expect("a ring");
        ring.submit(Token::new(Kind::Accept, 0, 0), Op::Accept { listener: 0 });
        let peer = TcpStream::connect(addr).expect("connects");
        loop {
            ring.wait(None).expect("the ring works");
            if let Some((_, Done::Accepted { result, .. })) = ring.next() {
                return (ring, blocks, result.expect("accepted"), peer);
            }
        }
    }

    #[test]
    fn everything_ends_with_a_ring() {
        for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
            let (mut ring, _blocks, socket, _peer) = connected(features);
            ring.submit(Token::new(Kind::Recv, 0, 0), Op::Recv { socket, once: false });
            ring.submit(Token::new(Kind::Wake, 0, 0), Op::Wake);
            let len = 64 << 20; // more than its peer's socket takes
            let payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![1; len])), from: 0, to: len as u32 };
            ring.submit(Token::new(Kind::Send, 0, 0), Op::Send { socket, payload });
            ring.wait(Some(Time::default())).expect("the ring works");
            assert!(ring.in_flight >= 3, "{} of an accept, a receive, a send and a wake", ring.in_flight);
            assert_eq!(ring.end(), 0, "{features}");
        }
    }

    /// An operation that the ring has counted and that never completes: its memory is not given back, though the ring goes.
    #[test]
    fn memory_that_the_kernel_does_not_let_go_of_is_kept() {
        struct Lent(Arc<AtomicBool>);
        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                b"read by the kernel"
            }
        }
        impl Drop for Lent {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        for completes in [true, false] {
            let given_back = Arc::new(AtomicBool::new(false));
            let (mut ring, blocks, _socket, _peer) = connected(Features::all());
            let bytes = Box::new(Bytes::from_owner(Lent(Arc::clone(&given_back))));
            let payload = Payload { memory: Memory::Heap(Heap::Shared(bytes)), from: 0, to: 1 };
            ring.sends.insert(Sending { token: Token::new(Kind::Send, 0, 0), payload });
            ring.in_flight += u32::from(!completes);
            drop((ring, blocks));
            assert_eq!(given_back.load(Ordering::Relaxed), completes);
        }
    }
}
