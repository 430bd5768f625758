//! What a peer has not acknowledged: how much that is, and what becomes of it when the socket is closed.

use super::*;

const UNACKED: Token = Token::new(Kind::Unacked, 8, 4);
const CLOSE: Token = Token::new(Kind::Close, 0, 0);

impl Bench {
    #[track_caller]
    fn unacked(&mut self, socket: Socket) -> u32 {
        self.ring.submit(UNACKED, Op::Unacked { socket });
        match self.done(UNACKED) {
            Done::Unacked { result } => result.expect("a TCP socket, and a kernel that tells"),
            other => panic!("{other:?}"),
        }
    }

    /// Asks until it is less than that.
    #[track_caller]
    fn unacked_below(&mut self, socket: Socket, than: u32) -> u32 {
        let deadline = Instant::now() + WAIT;
        loop {
            let unacked = self.unacked(socket);
            if unacked < than {
                return unacked;
            }
            assert!(Instant::now() < deadline, "{unacked} bytes, and {than} before");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A send ends when the socket takes no more, and says how much it took: MSG_WAITALL would keep that to itself until the peer had read
/// all. What the peer has not taken shrinks as it reads. A reset drops the rest, and leaves nothing to the kernel; an end in order
/// leaves all of it.
#[test]
fn what_a_peer_has_not_taken_is_told_and_dropped_by_a_reset() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
        for reset in [true, false] {
            let mut bench = Bench::new(|c| c.features = features);
            let (socket, mut peer) = bench.pair();
            assert_eq!(bench.unacked(socket), 0);
            let len = 64 << 20;
            let payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![3; len])), from: 0, to: len as u32 };
            bench.ring.submit(SEND, Op::Send { socket, payload });
            let Done::Sent { result: Ok(sent), .. } = bench.done(SEND) else { panic!("another completion") };
            assert!((1..len).contains(&sent), "{sent} bytes of {len} in a socket whose peer reads none");
            let before = bench.unacked(socket);
            assert!(before > 0 && before as usize <= sent, "{before} of {sent}");
            // Until the receiver's window opens: it is told so in steps.
            let mut bytes = vec![0; sent / 2];
            peer.read_exact(&mut bytes).expect("they are there");
            let after = bench.unacked_below(socket, before);
            assert!(after as usize <= sent - bytes.len(), "{after}: what was read was acknowledged");
            bench.ring.submit(CLOSE, Op::Close { socket, reset });
            assert!(matches!(bench.done(CLOSE), Done::Closed));
            if reset {
                assert!(sockets_by_state(bench.addr).is_empty(), "{features}: {:?}", sockets_by_state(bench.addr));
            }
            let rest = std::io::copy(&mut peer, &mut std::io::sink());
            match reset {
                true => assert_eq!(rest.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{features}"),
                false => assert_eq!(rest.expect("an end in order") as usize, sent - bytes.len(), "{features}"),
            }
        }
    }
}
