//! What a listener's settings do to its sockets, and what becomes of files.

use socket2::Domain;

use super::*;

fn listening(config: &Config) -> (Socket, SocketAddr) {
    let socket = bind_tcp("127.0.0.1:0".parse().unwrap(), How::default()).unwrap();
    listen(&socket, config).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

#[test]
fn nodelay_is_inherited_by_accepted_sockets() {
    for nodelay in [true, false] {
        let (listener, addr) = listening(&Config::default().nodelay(nodelay));
        let _peer = std::net::TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.tcp_nodelay().unwrap(), nodelay);
    }
}

#[test]
fn what_a_socket_holds_is_inherited_too() {
    let accepted_of = |config: &Config| {
        let (listener, addr) = listening(config);
        let peer = std::net::TcpStream::connect(addr).unwrap();
        (listener.accept().unwrap().0, peer)
    };
    let (plain, _peer) = accepted_of(&Config::default());
    let (bounded, _other) = accepted_of(&Config::default().socket_send_bytes(20_000).socket_unsent_bytes(16_384));
    assert_eq!(bounded.send_buffer_size().unwrap(), 40_000, "socket(7): twice of it");
    assert!(plain.send_buffer_size().unwrap() > 40_000);
    assert_eq!(bounded.tcp_notsent_lowat().unwrap(), 16_384);
    assert_ne!(plain.tcp_notsent_lowat().unwrap(), 16_384);
}

/// listen(2): when nobody accepts, as many connections as the backlog and one more are made, and the next one waits.
#[test]
fn backlog_is_how_many_may_wait() {
    for backlog in [1, 5] {
        let (_listener, addr) = listening(&Config::default().backlog(backlog));
        let peers: Vec<Socket> = (0..backlog + 4)
            .map(|_| {
                let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                peer.set_nonblocking(true).unwrap();
                // Over loopback the handshake is over, or not, when this returns.
                assert_eq!(peer.connect(&addr.into()).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
                peer
            })
            .collect();
        let connected = peers.iter().filter(|peer| peer.peer_addr().is_ok()).count();
        assert_eq!(connected, backlog as usize + 1);
    }
}

#[test]
fn what_cannot_be_bound_is_named() {
    let told =
        |listener: Listener| listener.bind(&mut |_, _| None).expect_err("it is no place to listen at").to_string();
    let folder = std::env::temp_dir();
    assert!(told(Listener::unix(&folder)).starts_with(&format!("cannot listen on {}: ", folder.display())));
    assert!(told(Listener::tcp("192.0.2.1:1")).starts_with("cannot listen on 192.0.2.1:1: "));
    assert!(told(Listener::tcp(&[][..])).starts_with("cannot listen on the given HOST:PORT: "));
}
