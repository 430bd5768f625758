//! A server's address and the way to a connection that is ready for messages.
//!
//! Owns: URL reading, source addresses, the opening handshake. Promises: nothing but loopback unless asked, every wait has an
//! end, and a server that answers the handshake wrongly is refused. Refuses to know: messages.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};

use crate::deflate::{self, Context};
use crate::frames::Echo;
use crate::stream::Stream;

/// Connections per source address: well below the 28,000 ephemeral ports Linux keeps for each.
const CONNECTIONS_PER_SOURCE: usize = 8192;
/// The most connections: source addresses 127.0.0.2 to 127.0.0.129, all full.
pub const CONNECTIONS_MAX: usize = 1 << 20;
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A masked Close frame, code 1000 (RFC 6455 §5.5.1); the mask is `01 02 03 04`.
const CLOSE: [u8; 8] = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE8 ^ 2];
const CLOSE_WAIT: Duration = Duration::from_secs(1);

// The sample nonce of RFC 6455 §1.3 and its answer. §4.1 wants a random nonce for each connection; this client talks to
// servers under test, and a known pair lets it hold them to the exact answer without hashing.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where the load goes, and what it speaks there.
#[derive(Clone, Debug)]
pub struct Target {
    addr: SocketAddr,
    /// `Host` and request target of the handshake; none for a raw echo.
    web: Option<(String, String)>,
    /// How to speak TLS, and whose name the server's certificate must prove.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// `Sec-WebSocket-Extensions` of the handshake: compression, which the server must accept.
    offer: Option<(String, Context)>,
    /// The server sends messages as soon as it has answered the handshake.
    speaks_first: bool,
}

fn invalid(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

/// Resolves `host:port`; an address off this machine is an error unless `allow_remote`.
pub fn resolve(host: &str, allow_remote: bool) -> io::Result<SocketAddr> {
    let addr = host.to_socket_addrs()?.next().ok_or_else(|| invalid(format!("{host} has no address")))?;
    if !addr.ip().is_loopback() && !allow_remote {
        return Err(invalid(format!("{addr} is not on loopback; --allow-remote lifts this")));
    }
    Ok(addr)
}

impl Target {
    /// A WebSocket server named as `ws://HOST:PORT/PATH` (port 80 when none is given).
    pub fn web(url: &str, allow_remote: bool) -> io::Result<Target> {
        let not_ws = || invalid(format!("{url}: ws:// is spoken here, and wss:// with a certificate to trust"));
        Self::web_at(url, url.strip_prefix("ws://").ok_or_else(not_ws)?, 80, allow_remote)
    }

    /// The same, or a raw byte echo, over TLS: `wss://HOST:PORT/PATH` (port 443 when none is given) or `HOST:PORT`.
    pub fn over_tls(to: &str, config: Arc<ClientConfig>, allow_remote: bool) -> io::Result<Target> {
        let (mut target, host) = match to.strip_prefix("wss://") {
            Some(rest) => (Self::web_at(to, rest, 443, allow_remote)?, rest.split('/').next().unwrap_or(rest)),
            None => (Self::raw(to, allow_remote)?, to),
        };
        let has_port = host.rfind(':') > host.rfind(']');
        let name = if has_port { host.rsplit_once(':').map_or(host, |(name, _)| name) } else { host };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| invalid(format!("{to}: {error}")))?;
        target.tls = Some((config, name));
        Ok(target)
    }

    fn web_at(url: &str, rest: &str, port: u16, allow_remote: bool) -> io::Result<Target> {
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
            return Err(invalid(format!("{url:?}: a blank or control character")));
        }
        // A colon inside brackets belongs to an IPv6 address.
        let has_port = host.rfind(':') > host.rfind(']');
        let with_port = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let addr = resolve(&with_port, allow_remote)?;
        Ok(Target { addr, web: Some((host.to_owned(), path.to_owned())), tls: None, offer: None, speaks_first: false })
    }

    /// The same server, which must accept this offer of permessage-deflate (RFC 7692 §5).
    pub fn offering(self, offer: &str) -> io::Result<Target> {
        let context = deflate::context(offer).map_err(invalid)?;
        if self.web.is_none() {
            return Err(invalid("a raw echo compresses nothing".to_owned()));
        }
        Ok(Target { offer: Some((offer.to_owned(), context)), ..self })
    }

    /// The same server by another path; nothing of it for a raw echo, which has none.
    pub fn at_path(&self, path: &str) -> Target {
        let web = self.web.as_ref().map(|(host, _)| (host.clone(), path.to_owned()));
        Target { web, ..self.clone() }
    }

    /// The same server, which may send messages of its own accord: nothing behind the answer's head is taken with it.
    pub fn speaking_first(self) -> Target {
        Target { speaks_first: true, ..self }
    }

    /// How replies are compressed, if they are.
    pub fn context(&self) -> Option<Context> {
        self.offer.as_ref().map(|(_, context)| *context)
    }

    /// It speaks TLS.
    pub fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// A raw byte echo at `HOST:PORT`.
    pub fn raw(host: &str, allow_remote: bool) -> io::Result<Target> {
        Ok(Target { addr: resolve(host, allow_remote)?, web: None, tls: None, offer: None, speaks_first: false })
    }

    /// What comes back from there.
    pub fn echo(&self) -> Echo {
        if self.web.is_some() { Echo::WebSocket } else { Echo::Raw }
    }

    /// Opens the `nth` connection, handshake included; see [`Target::connect`]. Fails with `InvalidData` on a wrong handshake.
    pub fn dial(&self, nth: usize) -> io::Result<Stream> {
        let mut stream = self.connect(nth)?;
        self.ask(&mut stream)?;
        self.hear(&mut stream)?;
        Ok(stream)
    }

    /// Connects for the `nth` time; the socket is blocking, with TCP_NODELAY and timeouts of 5 s. To a loopback address it
    /// comes from 127.0.0.2 upwards, so that ports do not run out. Fails as connect(2) does.
    pub fn connect(&self, nth: usize) -> io::Result<Stream> {
        assert!(nth < CONNECTIONS_MAX, "connection {nth} has no source address");
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, Some(Protocol::TCP))?;
        if let IpAddr::V4(ip) = self.addr.ip()
            && ip.is_loopback()
        {
            let source = Ipv4Addr::new(127, 0, 0, 2 + (nth / CONNECTIONS_PER_SOURCE) as u8);
            socket.bind(&SocketAddr::new(source.into(), 0).into())?;
        }
        socket.connect_timeout(&self.addr.into(), ANSWER_WAIT)?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        match &self.tls {
            Some((config, name)) => Stream::over_tls(stream, config, name.clone()),
            None => Ok(stream.into()),
        }
    }

    /// Sends the opening handshake (RFC 6455 §4.1), after that of TLS; nothing more to a raw echo.
    pub fn ask(&self, stream: &mut Stream) -> io::Result<()> {
        let Some((host, path)) = &self.web else { return stream.shake() };
        let offer = self.offer.as_ref().map(|(offer, _)| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            offer.unwrap_or_default()
        );
        stream.write_all(request.as_bytes())
    }

    /// Reads the answer to [`Target::ask`] and checks it.
    pub fn hear(&self, stream: &mut Stream) -> io::Result<()> {
        let offer = self.offer.as_ref().map(|(offer, _)| &offer[..]);
        // What comes behind the head stays in the socket if the head is read byte by byte.
        let step = if self.speaks_first { 1 } else { HEAD_BYTES_MAX };
        if self.web.is_some() { read_answer(stream, offer, step) } else { Ok(()) }
    }
}

/// Says goodbye as RFC 6455 §7.1.1 wishes: Close, then the server ends the connection. Tells how many it did not end within a
/// second; all are dropped.
pub fn say_goodbye(mut streams: Vec<Stream>, echo: Echo) -> usize {
    if echo == Echo::Raw {
        return 0;
    }
    for stream in &mut streams {
        let _ = stream.tcp.set_nonblocking(false).and_then(|()| stream.write_all(&CLOSE));
    }
    let deadline = Instant::now() + CLOSE_WAIT;
    let mut left = 0;
    for stream in &mut streams {
        let wait = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let _ = stream.tcp.set_read_timeout(Some(wait));
        // The server's Close, then the end of stream or a reset: a few reads at most.
        let ended = (0..8).find_map(|_| match stream.read(&mut [0; 512]) {
            Ok(0) => Some(true),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => Some(error.kind() == ErrorKind::ConnectionReset),
        });
        left += usize::from(ended != Some(true));
    }
    left
}

fn read_answer(stream: &mut Stream, offer: Option<&str>, step: usize) -> io::Result<()> {
    let mut head = [0; HEAD_BYTES_MAX];
    let mut filled = 0;
    let deadline = Instant::now() + ANSWER_WAIT;
    while !head[..filled].ends_with(b"\r\n\r\n") {
        // Where nothing was asked yet, a server that sends on after its head is wrong, and ends in this error too.
        let fault = |why: &str| io::Error::new(ErrorKind::InvalidData, format!("opening handshake: {why}"));
        if filled == head.len() {
            return Err(fault("the answer's head does not end in 8 KiB"));
        }
        if Instant::now() > deadline {
            return Err(fault("the answer's head does not end in 5 s"));
        }
        let end = head.len().min(filled + step);
        match stream.read(&mut head[filled..end]) {
            Ok(0) => return Err(fault("the server closed the connection")),
            Ok(count) => filled += count,
            // A ring that has just ended in this process may interrupt its thread.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    check_answer(&String::from_utf8_lossy(&head[..filled]), offer)
}

fn check_answer(head: &str, offer: Option<&str>) -> io::Result<()> {
    let fault = |why: String| Err(io::Error::new(ErrorKind::InvalidData, format!("opening handshake: {why}")));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or("");
    if !status.starts_with("HTTP/1.1 101 ") {
        return fault(format!("the server answered {status:?}"));
    }
    let (mut accept, mut extensions) = (None, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("sec-websocket-accept") {
            accept = Some(value);
        } else if name.eq_ignore_ascii_case("sec-websocket-extensions") && offer.is_some() && extensions.is_none() {
            extensions = Some(value);
        } else if name.eq_ignore_ascii_case("sec-websocket-extensions")
            || name.eq_ignore_ascii_case("sec-websocket-protocol")
        {
            // RFC 6455 §4.1: what was not offered must not be accepted.
            return fault(format!("unasked {name}: {value}"));
        }
    }
    if accept != Some(ACCEPT) {
        return fault(format!("Sec-WebSocket-Accept is {accept:?}, not {ACCEPT}"));
    }
    match offer.map(|offer| deflate::check_answer(offer, extensions)) {
        Some(Err(why)) => fault(why),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo_tests::tls_configs;

    #[test]
    fn urls_are_read_and_kept_on_loopback() {
        let target = Target::web("ws://127.0.0.1:9001/bcast?x=1", false).expect("a good URL");
        assert_eq!(target.addr, "127.0.0.1:9001".parse().expect("address"));
        assert_eq!(target.web, Some(("127.0.0.1:9001".into(), "/bcast?x=1".into())));
        let target = Target::web("ws://[::1]", false).expect("no port, no path");
        assert_eq!((target.addr.port(), target.web), (80, Some(("[::1]".into(), "/".into()))));
        let (_, config) = tls_configs();
        let target = Target::over_tls("wss://127.0.0.1/x", config.clone(), false).expect("a good URL");
        assert_eq!((target.addr.port(), target.web), (443, Some(("127.0.0.1".into(), "/x".into()))));
        assert_eq!(target.tls.expect("TLS").1, ServerName::try_from("127.0.0.1").expect("a name"));
        let target = Target::over_tls("[::1]:9", config, false).expect("a raw echo");
        assert_eq!((target.web, target.tls.expect("TLS").1), (None, ServerName::try_from("::1").expect("a name")));
        for bad in ["wss://127.0.0.1/", "127.0.0.1:80", "ws://192.0.2.1:80/", "ws://127.0.0.1:80/a\r\nb: c"] {
            assert!(Target::web(bad, false).is_err(), "{bad}");
        }
        assert!(Target::web("ws://192.0.2.1:80/", true).is_ok());
        assert!(Target::raw("192.0.2.1:80", false).is_err());
    }

    #[test]
    fn answers_must_be_exact() {
        let good =
            format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        assert!(check_answer(&good, None).is_ok());
        for bad in [
            good.replace("101", "200"),
            good.replace("s3pP", "S3pP"),
            good.replace("sec-websocket-accept", "x"),
            good.replace("upgrade:", "Sec-WebSocket-Extensions:"),
        ] {
            assert!(check_answer(&bad, None).is_err(), "{bad}");
        }
        let offer = Some(deflate::OFFER);
        let accepted = format!("Sec-WebSocket-Extensions: {}\r\nupgrade:", deflate::OFFER);
        assert!(check_answer(&good.replace("upgrade:", &accepted), offer).is_ok());
        for bad in [good.replace("upgrade:", &format!("{accepted} x\r\n{accepted}")), good] {
            assert!(check_answer(&bad, offer).is_err(), "{bad}");
        }
    }
}
