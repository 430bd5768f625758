//! A server of one core that computes for as long as its test wants: nobody is accepted and nothing is read meanwhile.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Running, Server, Stats, Verdict};

use crate::client::{CLOSE, Client, TEXT, WAIT, cores, strict};

/// Says hello, echoes, and computes now and then, while others wait to be accepted; and when it is told to.
#[derive(Debug, Default)]
pub struct Hello {
    heard: u64,
    told: Option<Orders>,
}

/// It has begun to compute; it is to go on.
#[derive(Debug)]
struct Orders {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl Handler for Hello {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send("hello").is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.heard += 1;
        if self.heard.is_multiple_of(20) {
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(Orders { begun, go_on }) = &self.told
            && message == Message::Text("compute")
        {
            begun.send(()).expect("the test waits");
            go_on.recv().expect("the test goes on");
        }
        let _ = cx.forward(message); // its peer waits for it
    }
}

/// However busy the machine is, a Close is answered before its time is over.
pub fn unhurried() -> Config {
    strict(Config::default().closing_timeout(WAIT).stop_timeout(WAIT))
}

/// A server whose core computes when it is told to, and the client that tells it.
pub struct Stage {
    pub running: Running,
    pub addr: SocketAddr,
    pub client: Client,
    begun: Receiver<()>,
    go_on: Sender<()>,
}

impl Stage {
    /// Of this server, which listens at an address of the internet first; on one core.
    #[track_caller]
    pub fn of(server: Server, config: Config) -> Self {
        let ((begun, has_begun), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        let told = Mutex::new(Some(Orders { begun, go_on: goes_on }));
        let hello = move |_| Hello { heard: 0, told: told.lock().expect("no panic").take() };
        let running = server.cores(cores(1)).config(config).start(hello);
        let running = running.expect("it starts");
        let addr = running.local_addrs()[0];
        let mut client = Client::connect(addr);
        client.expect(TEXT, b"hello");
        Self { running, addr, client, begun: has_begun, go_on }
    }

    /// The core computes from here on.
    #[track_caller]
    pub fn compute(&mut self) {
        self.client.send(TEXT, b"compute");
        self.begun.recv_timeout(WAIT).expect("it computes");
    }

    #[track_caller]
    pub fn go_on(&mut self) {
        self.go_on.send(()).expect("the core waits");
        self.client.expect(TEXT, b"compute");
    }

    /// It stops: its client is told, and says goodbye.
    #[track_caller]
    pub fn part(&mut self) {
        assert_eq!(self.client.expect_close().0, 1001);
        self.client.send(CLOSE, &1001_u16.to_be_bytes());
    }

    /// What it has counted when it has come to its end, which is a good one. Its client has gone: nobody waits for its socket's end.
    #[track_caller]
    pub fn ends(self) -> Stats {
        drop(self.client);
        self.running.join().expect("a good end")[0]
    }
}
