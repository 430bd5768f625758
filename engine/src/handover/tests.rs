//! A hand-over in which one of the two does what no server does: it is gone between two words.

use std::path::PathBuf;
use std::thread;

use super::*;
use crate::running::Running;
use crate::{Config, Cx, Handler, Listener, Message, Server};

struct Nothing;

impl Handler for Nothing {
    type Conn = ();
    type Mail = ();
    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// A path in a folder of its own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wsring-word-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("handover")
    }

    fn start(&self) -> Running {
        let server = Server::take_over(Handover::at(self.path())).expect("it takes over, or has the path");
        let server = server.and_listen(Listener::tcp("127.0.0.1:0")).expect("a port").cores_max(1);
        server.config(Config::default().pinned(false)).start(|_| Nothing).expect("it starts")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The one that comes said that it is ready, and is gone before it is told that all is its own: the other one goes on, and hands over to the next.
#[test]
fn who_cannot_be_told_has_not_taken_over() {
    let folder = Folder::new("yours");
    let running = folder.start();
    let taking = Taking::begin(Handover::at(folder.path())).expect("what it has");
    let Some(Before { conn, .. }) = &taking.from else { panic!("there is one before it") };
    conn.shutdown(Shutdown::Read).expect("nothing reaches it from here on");
    say(conn, &Say::Ready(vec![0]), &[]).expect("it goes out");
    drop(taking);
    let next = folder.start();
    assert_eq!(next.predecessor(), Some(std::process::id()), "the first one is there");
    running.join().expect("it has left in order");
    next.handle().stop();
    next.join().expect("a good end");
}

/// A server that comes to its end has somebody in the queue of its path, or has begun with him: he looks again, and nobody is there.
#[test]
fn who_comes_at_the_end_of_another_finds_nobody() {
    for hears in [false, true] {
        let folder = Folder::new(if hears { "hears" } else { "queue" });
        let (control, file) = bind_unix(&folder.path(), Type::SEQPACKET, Some(0o600)).expect("nobody is there");
        let ends = thread::spawn(move || {
            let (conn, _) = control.accept().expect("one comes");
            if hears {
                assert_eq!(hear(&conn).expect("it speaks").0, Say::Hello);
            }
            drop((conn, control, file));
        });
        let taking = Taking::begin(Handover::at(folder.path())).expect("nobody is there any more");
        assert_eq!(taking.pid(), None);
        ends.join().expect("no panic");
    }
}

/// Who gives up hears what was said by then, and from then on nothing more can be said to it: so the two agree on whose the sockets are.
#[test]
fn who_gives_up_cannot_be_told_afterwards() {
    let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("two sockets");
    say(&one, &Say::Yours, &[]).expect("it goes out");
    assert_eq!(last_word(&other).expect("it was there"), Say::Yours);
    assert!(say(&one, &Say::Yours, &[]).is_err());
    let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("two sockets");
    assert_eq!(last_word(&other).expect_err("nothing was said").kind(), ErrorKind::TimedOut);
    assert!(say(&one, &Say::Yours, &[]).is_err());
}
