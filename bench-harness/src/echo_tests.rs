//! What both raw echoes promise, asked of both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, StreamOwned};

use crate::epoll_echo::EpollEcho;
use crate::ring_echo::RingEcho;
use crate::tls;

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("joined once").join();
        assert!(thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
    }
}

pub(crate) fn listen(run: impl FnOnce(&AtomicBool, &dyn Fn(SocketAddr)) -> io::Result<()> + Send + 'static) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || run(&seen, &|addr| tell.send(addr).expect("the test waits")));
    let addr = told.recv_timeout(Duration::from_secs(10)).expect("it listens");
    Running { addr, stop, thread: Some(thread) }
}

/// Both baselines, with buffers of `buffer_len` bytes.
fn start(buffer_len: usize) -> [Running; 2] {
    let epoll = listen(move |stop, tell| {
        let mut echo = EpollEcho::bind("127.0.0.1:0".parse().expect("address"), buffer_len)?;
        tell(echo.local_addr()?);
        echo.run(stop)
    });
    [epoll, start_ring(16, buffer_len as u32)]
}

fn start_ring(count: u16, buffer_len: u32) -> Running {
    start_ring_with(Some((count, buffer_len)), None)
}

pub(crate) fn start_ring_with(shape: Option<(u16, u32)>, tls: Option<Arc<ServerConfig>>) -> Running {
    // A ring belongs to the thread that made it.
    listen(move |stop, tell| {
        let mut echo = RingEcho::bind("127.0.0.1:0".parse().expect("address"), shape, tls)?;
        tell(echo.local_addr()?);
        echo.run(stop)
    })
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Sends everything from a second thread, reads it back after `pause`, and expects the end of stream after it.
fn round_trip(addr: SocketAddr, len: usize, pause: Duration) {
    let bytes = pattern(len);
    let mut stream = TcpStream::connect(addr).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let mut writer = stream.try_clone().expect("clone");
    let sent = bytes.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&sent).expect("send");
        writer.shutdown(Shutdown::Write).expect("half-close");
    });
    thread::sleep(pause);
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read back");
    assert!(back == bytes, "{len} bytes sent, {} came back", back.len());
    sender.join().expect("sender");
}

#[test]
fn bytes_come_back_exactly_around_the_buffer_size() {
    for echo in start(4096) {
        // 16 x 4096 is one whole turn, or all buffers: the next byte belongs to another.
        for len in [0, 1, 4095, 4096, 4097, 16 * 4096 - 1, 16 * 4096, 16 * 4096 + 1, 1 << 20] {
            round_trip(echo.addr, len, Duration::ZERO);
        }
    }
}

#[test]
fn a_slow_reader_gets_everything_and_holds_up_nobody() {
    for echo in start(64 << 10) {
        let addr = echo.addr;
        // More than the socket buffers of both sides can hold, so that the echo must stop and come back to it.
        let slow = thread::spawn(move || round_trip(addr, 48 << 20, Duration::from_millis(300)));
        for _ in 0..20 {
            round_trip(addr, 1 << 20, Duration::ZERO);
        }
        slow.join().expect("slow reader");
    }
}

/// Two that are each paused with half of the ring echo's buffers hold all of them. It then looked for buffers without letting
/// the kernel finish the sends that held them, and never came out of it.
#[test]
fn two_slow_readers_hold_up_a_third_only_while_they_do_not_read() {
    for echo in start(16 << 10) {
        let addr = echo.addr;
        let slow = || thread::spawn(move || round_trip(addr, 48 << 20, Duration::from_millis(300)));
        let slow = [slow(), slow()];
        thread::sleep(Duration::from_millis(100));
        for _ in 0..100 {
            round_trip(addr, 10_000, Duration::ZERO);
        }
        for reader in slow {
            reader.join().expect("slow reader");
        }
    }
}

/// With so few, nearly every piece pauses its connection, and the last send often completes before the cancelled receive.
#[test]
fn one_buffer_or_two_are_enough_for_the_ring() {
    for (count, size) in [(1, 4096), (2, 4096), (1, 64 << 10), (2, 64 << 10)] {
        let echo = start_ring(count, size);
        for _ in 0..20 {
            round_trip(echo.addr, 1 << 20, Duration::ZERO);
        }
        let addr = echo.addr;
        let many: Vec<_> = (0..4).map(|_| thread::spawn(move || round_trip(addr, 4 << 20, Duration::ZERO))).collect();
        many.into_iter().for_each(|one| one.join().expect("round trip"));
    }
}

/// In the shape it has unless told otherwise, far more than its buffers take is under way.
#[test]
fn many_that_send_at_once_share_the_rings_buffers() {
    let echo = start_ring_with(None, None);
    let addr = echo.addr;
    let many: Vec<_> = (0..100)
        .map(|i| thread::spawn(move || round_trip(addr, 300_000 + i * 1000, Duration::from_millis(20))))
        .collect();
    many.into_iter().for_each(|one| one.join().expect("round trip"));
}

#[test]
fn a_peer_that_never_reads_is_not_read_from_without_end() {
    for echo in start(64 << 10) {
        let mut stream = TcpStream::connect(echo.addr).expect("connect");
        stream.set_nonblocking(true).expect("non-blocking");
        let chunk = pattern(1 << 20);
        let (mut sent, mut refused) = (0, 0);
        // It ends only when the echo stops reading: 20 refusals in a row, 10 ms apart.
        while refused < 20 {
            match stream.write(&chunk) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 256 << 20, "the echo swallows everything");
        }
        // The ring echo's buffers may all be with this peer (see there): it lives on when the peer is gone.
        drop(stream);
        round_trip(echo.addr, 1000, Duration::ZERO);
    }
}

#[test]
fn a_thousand_connections_that_come_and_go_leave_their_slots() {
    for echo in start(4096) {
        for _ in 0..20 {
            let mut streams: Vec<_> = (0..50).map(|_| TcpStream::connect(echo.addr).expect("connect")).collect();
            for stream in &mut streams {
                stream.write_all(b"a few bytes").expect("send");
            }
            for stream in &mut streams {
                let mut back = [0; 11];
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
                stream.read_exact(&mut back).expect("read back");
                assert_eq!(&back, b"a few bytes");
            }
        }
    }
}

/// A server's configuration from files, as the command has it, and a client's that trusts it.
pub(crate) fn tls_configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("wsring-bench-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["echo.test".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, cert.pem()).expect("written");
    std::fs::write(&key, signing_key.serialize_pem()).expect("written");
    let server = tls::server(&certificate, &key).expect("a pair");
    assert!(tls::server(&key, &key).is_err() && tls::server(&certificate, &folder).is_err());
    let client = tls::client(&certificate).expect("a certificate");
    std::fs::remove_dir_all(&folder).expect("removed");
    (server, client)
}

/// Over TLS as well: every byte comes back, whatever the records and the receives; a stranger is given up alone.
#[test]
fn bytes_come_back_over_tls() {
    let (server, client) = tls_configs();
    for (count, buffer_len) in [(16, 64 << 10), (2, 512)] {
        let running = start_ring_with(Some((count, buffer_len)), Some(Arc::clone(&server)));
        let connect = || {
            let stream = TcpStream::connect(running.addr).expect("connect");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
            stream
        };
        let name = ServerName::try_from("echo.test").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&client), name).expect("a client");
        let mut stream = StreamOwned::new(tls, connect());
        for len in [1, 100, 511, 512, 16_383, 16_384, 16_385, 100_000, 1 << 20] {
            let bytes = pattern(len);
            // Less than the sockets hold, so that nobody waits for the other.
            for piece in bytes.chunks(50_000) {
                stream.write_all(piece).expect("send");
                let mut back = vec![0; piece.len()];
                stream.read_exact(&mut back).expect("read back");
                assert!(back == piece, "{len}");
            }
        }
        let mut stranger = connect();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("send");
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer); // an end or a reset
        stream.write_all(b"still here").expect("send");
        let mut back = [0; 10];
        stream.read_exact(&mut back).expect("read back");
        assert_eq!(&back, b"still here");
    }
}
