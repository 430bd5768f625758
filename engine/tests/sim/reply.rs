//! What simulated servers read of the handshake of a dial, and how they answer it, well and badly.

use std::net::SocketAddr;

use wsring::AnswerError;
use wsring::ring::sim::Random;
use wsring_proto::handshake::accept_key;

use super::Manners;

/// What a request says.
pub struct Asked<'h> {
    pub tag: u64,
    /// Which of the targets that the dial was given.
    pub version: u32,
    /// The answer to its key.
    pub accept: String,
    pub offered: Vec<&'h str>,
}

impl<'h> Asked<'h> {
    /// RFC 6455 §4.2.1: what a server at this address checks before it opens.
    pub fn read(head: &'h str, addr: SocketAddr) -> Self {
        let value = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let path = head.strip_prefix("GET /dial/").and_then(|rest| rest.split_once(" HTTP/1.1\r\n"));
        let names = path.and_then(|(path, _)| path.split_once("?v="));
        let numbers = names.and_then(|(tag, version)| Some((tag.parse().ok()?, version.parse().ok()?)));
        let (tag, version): (u64, u32) = numbers.unwrap_or_else(|| panic!("no path: {head}"));
        assert_eq!(u64::from(addr.port()), 1000 + tag, "a request for another server: {head}");
        assert!(value("Host").is_some_and(|host| host.ends_with(&format!(":{}", addr.port()))), "{head}");
        assert_eq!((value("Upgrade"), value("Connection")), (Some("websocket"), Some("Upgrade")), "{head}");
        assert_eq!(value("Sec-WebSocket-Version"), Some("13"), "{head}");
        let key = value("Sec-WebSocket-Key").expect("a key");
        let accept = accept_key(key.as_bytes().first_chunk().expect("24 characters"));
        let accept = String::from_utf8(accept.to_vec()).expect("base64");
        let offered = value("Sec-WebSocket-Protocol").into_iter().flat_map(|list| list.split(", ")).collect();
        Self { tag, version, accept, offered }
    }
}

/// How a simulated server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 101, behind so many interim answers, choosing a subprotocol if one was offered.
    Valid {
        interims: usize,
    },
    /// Another status, and this body: with a length, in chunks, or to the end. `retry`: the seconds after which it wants to be asked again, as
    /// a number or as a date. `long`: behind a head beyond the limits.
    Declined {
        status: u16,
        body: Vec<u8>,
        framing: u8,
        retry: Option<(u32, bool)>,
        long: bool,
    },
    Wrong(AnswerError),
    /// Nothing.
    Never,
    /// A part of a valid answer, then the end of the stream.
    Cut,
    Reset,
}

/// Says what Retry-After says, in seconds whatever its form.
pub const ASKED: &str = "x-asked";
/// The longest head that is read of an answer.
pub const HEAD_MAX: usize = 8192;

const WRONG: [AnswerError; 10] = [
    AnswerError::AcceptWrong,
    AnswerError::AcceptMissing,
    AnswerError::UpgradeMissing,
    AnswerError::ConnectionMissing,
    AnswerError::SubprotocolUnoffered,
    AnswerError::ExtensionUnoffered,
    AnswerError::StatusLine,
    AnswerError::HeadTooLarge,
    AnswerError::Http10,
    AnswerError::Body,
];

impl Reply {
    pub fn new(random: &mut Random, manners: Manners) -> Self {
        let interims = if random.chance(200) { random.below(4) as usize } else { 0 };
        match random.below(20) {
            _ if manners == Manners::Quiet => Reply::Valid { interims },
            0..=2 => {
                let len = if random.chance(600) { random.range(4_000, 9_000) } else { random.below(200) };
                let status = random.pick(&[200, 204, 301, 401, 403, 404, 429, 500, 503]);
                let body = vec![b'b'; if status == 204 { 0 } else { len as usize }];
                let framing = random.below(3) as u8;
                let retry = random.chance(400).then(|| (random.below(3) as u32, random.chance(500)));
                Reply::Declined { status, body, framing, retry, long: random.chance(100) }
            }
            3..=4 => Reply::Wrong(random.pick(&WRONG)),
            5 => Reply::Never,
            6 => Reply::Cut,
            7 => Reply::Reset,
            _ => Reply::Valid { interims },
        }
    }

    /// What it says to a request with this key, which `accept` answers; `peer` is who says it.
    pub fn write(&self, accept: &str, subprotocol: Option<&str>, peer: usize, random: &mut Random) -> Vec<u8> {
        use AnswerError as E;
        let chosen = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let valid = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nX-Peer: {peer}\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
        );
        let with = |line: &str| valid.replacen("X-Peer", &format!("{line}\r\nX-Peer"), 1);
        let without = |line: &str| valid.replacen(line, "X-Not", 1);
        let text = match self {
            Reply::Valid { interims } => {
                let interim = ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"];
                // RFC 9112 §5.2: in one line, or in two.
                let folded = random.chance(200).then(|| valid.replacen("keep-alive, ", "keep-alive,\r\n\t ", 1));
                (0..*interims).map(|_| random.pick(&interim)).collect::<String>() + &folded.unwrap_or(valid)
            }
            Reply::Declined { status, body, framing, retry, long } => {
                let mut head = format!("HTTP/1.1 {status} So\r\nServer: sim\r\n");
                if let Some((seconds, is_date)) = retry {
                    let at = format!("Sun, 06 Nov 1994 08:49:{} GMT", 37 + seconds);
                    let said = if *is_date { at } else { seconds.to_string() };
                    head += &format!(
                        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: {said}\r\n{ASKED}: {seconds}\r\n"
                    );
                }
                if *long {
                    head += &format!("X-Long: {}\r\n", "l".repeat(9_000));
                }
                let mut rest = String::from_utf8(body.clone()).expect("text");
                match framing {
                    0 => head += &format!("Content-Length: {}\r\n", body.len()),
                    1 => {
                        head += "Transfer-Encoding: chunked\r\n";
                        rest = chunks(&rest, random);
                    }
                    _ => {}
                }
                format!("{head}\r\n{rest}")
            }
            Reply::Wrong(error) => match error {
                E::AcceptWrong => valid.replace(accept, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                E::AcceptMissing => without("Sec-WebSocket-Accept"),
                E::UpgradeMissing => without("Upgrade:").replacen("X-Not", "X-Not:", 1),
                E::ConnectionMissing => without("Connection"),
                E::SubprotocolUnoffered => with("Sec-WebSocket-Protocol: chat").replace(&chosen, ""),
                E::ExtensionUnoffered => with("Sec-WebSocket-Extensions: x-unheard-of"),
                E::Http10 => valid.replace("HTTP/1.1", "HTTP/1.0"),
                E::Body => with("Content-Length: 5"),
                E::HeadTooLarge if random.chance(500) => "HTTP/1.1 100 Continue\r\n\r\n".repeat(9),
                E::HeadTooLarge => with(&format!("X-Long: {}", "l".repeat(9_000))),
                _ => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            },
            Reply::Cut => valid[..random.below(valid.len() as u64) as usize].to_owned(),
            Reply::Never | Reply::Reset => String::new(),
        };
        text.into_bytes()
    }
}

/// RFC 9112 §7.1.
fn chunks(body: &str, random: &mut Random) -> String {
    let (mut rest, mut text) = (body, String::new());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((random.range(1, 3_000) as usize).min(rest.len()));
        text += &format!("{:x}\r\n{piece}\r\n", piece.len());
        rest = behind;
    }
    text + random.pick(&["0\r\n\r\n", "000;last\r\nX-Trailer: x\r\n\r\n"])
}
