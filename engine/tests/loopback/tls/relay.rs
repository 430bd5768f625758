//! The echo programme over TLS: plain clients, and a relay that encrypts between them and the server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};
use wsring::{Config, Deflate, Feature, Features, QueueEntries, RecvBuffers, SendBuffers};

use super::{Wire, with_tls};
use crate::common::certificates::Authority;
use crate::common::packed::Packed;
use crate::common::*;
use crate::deflate::converse;
use crate::programme::{borders, programme};

/// A port where plain connections are taken to `addr` over TLS, so that plain clients can be used.
pub fn relay(addr: SocketAddr, config: &Arc<ClientConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("an address");
    let config = Arc::clone(config);
    thread::spawn(move || {
        for (seed, plain) in listener.incoming().enumerate() {
            let plain = plain.expect("a connection");
            bounded(&plain);
            let wire = Wire::connect(addr, &config);
            let (tls, stream) = (Arc::new(Mutex::new(wire.tls)), wire.stream);
            let to = (Arc::clone(&tls), plain.try_clone().unwrap(), stream.try_clone().unwrap());
            thread::spawn(move || encrypt(&to.0, &to.1, &to.2, Random::new(seed as u64)));
            thread::spawn(move || decrypt(&tls, &stream, &plain));
        }
    });
    at
}

/// What is read from `from` goes to `to`, encrypted, in segments of any length. Ends with the stream.
fn encrypt(tls: &Mutex<ClientConnection>, from: &TcpStream, mut to: &TcpStream, mut random: Random) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let most = 1 + random.below(bytes.len());
        let Ok(len @ 1..) = read_some(from, &mut bytes[..most]) else { break };
        let mut sealed = Vec::new();
        let mut tls = tls.lock().expect("no panic");
        if random.below(20) == 0 {
            // Before what was read, never behind it: a record behind the client's Close may find the socket closed,
            // and its answer is a reset. TLS 1.2 has no such thing.
            let _ = tls.refresh_traffic_keys();
        }
        tls.writer().write_all(&bytes[..len]).expect("it is taken");
        while tls.wants_write() {
            tls.write_tls(&mut sealed).expect("into memory");
        }
        drop(tls);
        for piece in sealed.chunks(1 + random.below(40_000)) {
            if to.write_all(piece).is_err() {
                return;
            }
        }
    }
}

fn decrypt(tls: &Mutex<ClientConnection>, from: &TcpStream, mut to: &TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    let mut plain = Vec::new();
    loop {
        let len = read_some(from, &mut bytes).expect("no reset");
        let mut tls = tls.lock().expect("no panic");
        let mut sealed = &bytes[..len];
        while !sealed.is_empty() {
            tls.read_tls(&mut sealed).expect("from memory");
            tls.process_new_packets().expect("it is sound");
            let _ = tls.reader().read_to_end(&mut plain); // WouldBlock after the last byte
        }
        let closed = tls.process_new_packets().expect("it is sound").peer_has_closed();
        drop(tls);
        to.write_all(&plain).expect("it goes out");
        plain.clear();
        if len == 0 {
            assert!(closed, "the stream ended without a close_notify");
            return to.shutdown(Shutdown::Write).unwrap_or(());
        }
    }
}

/// The programme over TLS, under one configuration.
fn echoes(change: impl FnOnce(Config) -> Config, change_client: impl FnOnce(&Authority, &mut ClientConfig)) {
    let authority = Authority::new();
    let config = change(with_tls(authority.server()));
    let mut client = authority.client(&[&TLS13]);
    change_client(&authority, &mut client);
    let mut lens = borders(&config);
    for edge in [16 << 10, 32 << 10] {
        // A frame that fills its records, or has a byte more or less.
        lens.extend((0..12).map(|i| edge - i));
    }
    let (running, addr) = serve(config, 1, |_| Echo);
    let messages = programme(relay(addr, &Arc::new(client)), &lens);
    let stats = finish(running);
    assert_eq!((stats.messages, stats.sent), (messages, messages));
    assert_eq!((stats.accepted, stats.opened, stats.closed), (4, 4, 4));
    assert_eq!((stats.tls_failed, stats.violations, stats.resets, stats.timeouts), (0, 0, 0, 0));
}

macro_rules! configurations {
    ($($name:ident: $change:expr, $client:expr;)*) => {
        $(#[test]
        fn $name() {
            echoes($change, $client);
        })*
    };
}

configurations! {
    echoes_as_it_comes: |c| c, |_, _| {};
    echoes_by_version_1_2: |c| c, |authority, c| *c = authority.client(&[&TLS12]);
    echoes_in_small_records: |c| c, |_, c| c.max_fragment_size = Some(600);
    echoes_with_receive_buffers_of_64_bytes: |c| c.recv_buffers(RecvBuffers::Fixed { count: 4, bytes: 64 }), |_, _| {};
    echoes_without_send_blocks: |c| c.send_buffers(SendBuffers { count: 0, bytes: 512 }), |_, _| {};
    echoes_without_any_feature: |c| c.features(Features::none()), |_, _| {};
    echoes_with_everything_tiny: |c| {
        c.recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 })
            .send_buffers(SendBuffers { count: 1, bytes: 512 })
            .queue_entries(QueueEntries { submission: 2, completion: 2 })
            .pool_max_bytes(0)
            .output_high_bytes(1000)
            .output_low_bytes(500)
            .features(Features::all().without(Feature::MultishotRecv))
    }, |_, c| c.max_fragment_size = Some(600);
}

/// Compressed, then encrypted: every length, moved messages and smallest blocks too.
#[test]
fn compressed_messages_go_over_tls() {
    for (deflate, takeover) in [(Deflate::shared(), false), (Deflate::dedicated(), true)] {
        let small = (RecvBuffers::Fixed { count: 64, bytes: 512 }, SendBuffers { count: 2, bytes: 512 });
        let large = (RecvBuffers::Fixed { count: 16, bytes: 64 << 10 }, SendBuffers { count: 64, bytes: 16 << 10 });
        for (recv_buffers, send_buffers) in [small, large] {
            let authority = Authority::new();
            let config =
                with_tls(authority.server()).deflate(deflate).recv_buffers(recv_buffers).send_buffers(send_buffers);
            let (running, addr) = serve(config, 1, |_| Echo);
            let at = relay(addr, &Arc::new(authority.client(&[&TLS13])));
            let count = converse(&mut Packed::connect(at, "permessage-deflate"), &deflate, takeover);
            let stats = finish(running);
            assert_eq!((stats.messages, stats.violations, stats.tls_failed, stats.closed), (count, 0, 0, 1));
            assert!(stats.compressed > 0 && stats.compressed < count);
        }
    }
}
