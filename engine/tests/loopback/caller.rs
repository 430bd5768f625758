//! A client that dials and tells its test everything, and a server of one connection to be dialled.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wsring::{
    Answered, CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, DialError, DialId, Dialled, Handler, Message, Stats,
    Target,
};
use wsring_proto::handshake::accept_key;

use crate::common::{Running, WAIT, bounded, finish, read_head, start_client};

/// What a dialling handler is told.
#[derive(Debug)]
pub enum Told {
    Answer {
        subprotocol: Option<String>,
        attempt: u32,
    },
    Open(ConnId),
    Text(String),
    Binary(Vec<u8>),
    /// Why, in words; and the bytes that no socket took.
    Closed(String, usize),
    Failed {
        why: DialError,
        retry: Option<Duration>,
        attempt: u32,
    },
    Again {
        attempt: u32,
    },
}

/// Dials at its start, says what it has to say, and tells the test everything.
pub struct Caller {
    targets: Vec<Target>,
    /// Sent at each opening.
    says: Vec<Vec<u8>>,
    /// Closes when it has got so many messages on a connection.
    closes_after: usize,
    /// Called in `on_open`.
    opened: fn(&mut Cx<'_, Caller>),
    tell: Sender<Told>,
    pub dials: Vec<DialId>,
}

impl Caller {
    fn tell(&self, what: Told) {
        let _ = self.tell.send(what); // a test that has seen enough has gone
    }
}

impl Handler for Caller {
    type Conn = usize;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.dials = self.targets.drain(..).map(|target| cx.connect(target)).collect();
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, dial: &Dialled, answered: &Answered<'_>) -> Option<usize> {
        self.tell(Told::Answer { subprotocol: answered.subprotocol.map(str::to_owned), attempt: dial.attempt });
        (answered.header("x-go-away").is_none()).then_some(0)
    }

    fn on_dial_failed(&mut self, _: &mut CoreCx<'_, Self>, dial: &Dialled, why: &DialError, retry: Option<Duration>) {
        // An error is not `Clone`, and its words are what people see; the kind is what tests match.
        let why = match why {
            DialError::Declined(declined) => DialError::Declined(declined.clone()),
            DialError::Answer(error) => DialError::Answer(*error),
            DialError::Compression(error) => DialError::Compression(*error),
            DialError::Lookup { host, source } => {
                DialError::Lookup { host: host.clone(), source: source.kind().into() }
            }
            DialError::Connect { addr, source } => DialError::Connect { addr: *addr, source: source.kind().into() },
            DialError::Reset(source) => DialError::Reset(source.kind().into()),
            DialError::HandshakeTimeout => DialError::HandshakeTimeout,
            DialError::Eof => DialError::Eof,
            DialError::Full => DialError::Full,
            DialError::Unwanted => DialError::Unwanted,
            DialError::Abandoned => DialError::Abandoned,
            DialError::Exhausted => DialError::Exhausted,
            DialError::Stopped => DialError::Stopped,
            DialError::TlsMissing => DialError::TlsMissing,
            DialError::NoAddress => DialError::NoAddress,
            DialError::Proxy(why) => DialError::Proxy(*why),
            #[cfg(feature = "tls")]
            DialError::Tls(error) => DialError::Tls(error.clone()),
            other => panic!("a new kind of error: {other}"),
        };
        self.tell(Told::Failed { why, retry, attempt: dial.attempt });
    }

    fn on_reconnect(&mut self, _: &mut CoreCx<'_, Self>, dial: &Dialled) {
        self.tell(Told::Again { attempt: dial.attempt });
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.dial().is_some_and(|dial| self.dials.contains(&dial)), "its dial is known");
        self.tell(Told::Open(cx.id()));
        for bytes in &self.says {
            assert!(cx.send(Message::Binary(bytes)).is_queued());
        }
        (self.opened)(cx);
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match message {
            Message::Text(text) => self.tell(Told::Text(text.to_owned())),
            Message::Binary(bytes) => self.tell(Told::Binary(bytes.to_vec())),
        }
        *cx.data() += 1;
        if *cx.data() == self.closes_after {
            cx.close(CloseCode::NORMAL, "that is all");
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, _: usize, why: &CloseReason<'_>) {
        self.tell(Told::Closed(format!("{why:?}"), cx.unsent(id)));
    }
}

/// A running client and what it tells.
pub struct Line {
    pub running: Running,
    pub told: Receiver<Told>,
}

impl Line {
    #[track_caller]
    pub fn next(&self) -> Told {
        self.told.recv_timeout(WAIT).expect("the client has something to tell")
    }

    #[track_caller]
    pub fn open(&self) -> ConnId {
        loop {
            match self.next() {
                Told::Answer { .. } | Told::Again { .. } => {}
                Told::Open(id) => return id,
                other => panic!("{other:?}"),
            }
        }
    }

    /// These come next, byte for byte.
    #[track_caller]
    pub fn gets(&self, messages: &[Vec<u8>]) {
        for bytes in messages {
            match self.next() {
                Told::Binary(got) => assert!(got == *bytes, "{} bytes came back changed", bytes.len()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next opening, after any number of failures.
    #[track_caller]
    pub fn open_at_last(&self) -> ConnId {
        loop {
            match self.next() {
                Told::Answer { .. } | Told::Again { .. } | Told::Failed { retry: Some(_), .. } => {}
                Told::Open(id) => return id,
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    pub fn failed(&self) -> DialError {
        match self.next() {
            Told::Failed { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn closed(&self) -> String {
        match self.next() {
            Told::Closed(why, _) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Stops it; nothing more may have been told.
    #[track_caller]
    pub fn finish(self) -> Stats {
        let stats = finish(self.running);
        let rest: Vec<Told> = self.told.into_iter().collect();
        assert!(rest.is_empty(), "{rest:?}");
        stats
    }
}

pub struct Setup {
    pub config: Config,
    pub says: Vec<Vec<u8>>,
    pub closes_after: usize,
    pub opened: fn(&mut Cx<'_, Caller>),
}

impl Default for Setup {
    fn default() -> Self {
        Self { config: Config::default(), says: Vec::new(), closes_after: usize::MAX, opened: |_| {} }
    }
}

impl Setup {
    pub fn dial(self, targets: impl IntoIterator<Item = Target>) -> Line {
        let (tell, told) = mpsc::channel();
        let targets: Vec<Target> = targets.into_iter().collect();
        let Setup { config, says, closes_after, opened } = self;
        let running = start_client(config, move |_| Caller {
            targets: targets.clone(),
            says: says.clone(),
            closes_after,
            opened,
            tell: tell.clone(),
            dials: Vec::new(),
        });
        Line { running, told }
    }
}

pub fn dial(target: Target) -> Line {
    Setup::default().dial([target])
}

pub fn target(addr: SocketAddr) -> Target {
    Target::new(&format!("ws://{addr}/")).expect("a URL")
}

/// A server of one connection: `serve` gets the stream and the request's head.
pub fn scripted(serve: impl FnOnce(TcpStream, String) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        bounded(&stream);
        let (head, rest) = read_head(&stream).expect("a request");
        assert!(rest.is_empty(), "nothing follows a request before its answer");
        serve(stream, head);
    });
    (addr, thread)
}

/// The value of a header of a request.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// The 101 for a request, with further headers.
pub fn switching(head: &str, more: &str) -> String {
    let key = header(head, "Sec-WebSocket-Key").expect("a key").as_bytes().first_chunk().expect("24 characters");
    let accept = String::from_utf8(accept_key(key).to_vec()).expect("base64");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}
