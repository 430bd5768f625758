//! The end of a ring: nothing of it goes while the kernel may still read or write it.
//!
//! Owns the order in which a ring ends, and what is kept for ever if the kernel does not let go of it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};

use super::{ENTER_GETEVENTS, OWN_CANCEL, Uring};
use crate::ring::Ring;

/// How long a ring that goes waits for what it has cancelled.
const LAST_COMPLETIONS: Duration = Duration::from_secs(1);

impl Uring {
    /// Ends everything, and says how many operations did not end. At most [`LAST_COMPLETIONS`] long.
    fn end(&mut self) -> u32 {
        // First what is queued, so that the cancel finds it, and closes are not lost. A ring that is broken is not asked again.
        let mut works = self.enter(0, ENTER_GETEVENTS, None).is_ok();
        if works {
            self.push(&AsyncCancel2::new(CancelBuilder::any()).build().user_data(OWN_CANCEL.to_bits()));
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
        // Zero-copy sends wait for their peers. Memory that the kernel may yet read or write is never given back, and the ring that
        // they keep must not keep the sockets of others.
        std::mem::forget(std::mem::take(&mut self.sends));
        std::mem::forget(std::mem::take(&mut self.wake_count));
        std::mem::forget(Rc::clone(&self.blocks));
        self.buffers.keep_for_ever();
        if self.descriptors.is_none() {
            // On a kernel that keeps closed files this would wait for the operations, and there nothing is in the table.
            let _ = self.uring.submitter().unregister_files();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::ring::uring::{Feature, Features, RingConfig, Waker};
    use crate::ring::{Done, Heap, Kind, Memory, Op, Payload, SendBlocks, Socket, Time, Token};

    /// A ring with an accepted connection, and its peer.
    fn connected(features: Features, zero_copy_from_bytes: Option<usize>) -> (Uring, SendBlocks, Socket, TcpStream) {
        let config = RingConfig { sockets_max: 8, features, zero_copy_from_bytes, ..RingConfig::default() };
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

    fn send(ring: &mut Uring, socket: Socket, len: usize) {
        let payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![1; len])), from: 0, to: len as u32 };
        ring.submit(Token::new(Kind::Send, 0, 0), Op::Send { socket, payload });
    }

    #[test]
    fn everything_ends_with_a_ring_but_zero_copy_sends_to_a_peer_that_does_not_read() {
        for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
            let (mut ring, _blocks, socket, _peer) = connected(features, None);
            ring.submit(Token::new(Kind::Recv, 0, 0), Op::Recv { socket, once: false });
            ring.submit(Token::new(Kind::Wake, 0, 0), Op::Wake);
            send(&mut ring, socket, 64 << 20);
            ring.wait(Some(Time::default())).expect("the ring works");
            assert!(ring.in_flight >= 3, "{} of an accept, a receive, a send and a wake", ring.in_flight);
            assert_eq!(ring.end(), 0, "{features}");

            let (mut ring, _blocks, socket, _peer) = connected(features, Some(1));
            send(&mut ring, socket, 1 << 20);
            ring.wait(Some(Time::default())).expect("the ring works");
            assert!(ring.end() > 0, "the peer has read nothing");
        }
    }

    /// A zero-copy send that lasts keeps its memory and its own connection, and nobody else's.
    #[test]
    fn a_ring_that_is_kept_by_a_peer_closes_the_sockets_of_others() {
        for features in [Features::all(), Features::all().without(Feature::DirectDescriptors)] {
            let (mut ring, blocks, socket, deaf) = connected(features, Some(1));
            ring.submit(Token::new(Kind::Accept, 0, 0), Op::Accept { listener: 0 });
            let mut other = TcpStream::connect(deaf.peer_addr().expect("an address")).expect("connects");
            while !matches!(ring.next(), Some((_, Done::Accepted { result: Ok(_), .. }))) {
                ring.wait(None).expect("the ring works");
            }
            send(&mut ring, socket, 1 << 20);
            ring.wait(Some(Time::default())).expect("the ring works");
            drop((ring, blocks));
            other.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket option");
            // Not `read`, which a stop of the process would interrupt (signal(7)).
            assert_eq!(io::Read::read_to_end(&mut other, &mut Vec::new()).expect("the end is seen"), 0, "{features}");
        }
    }
}
