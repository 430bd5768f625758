//! A hand-over in which one of the two does what no server does: it is gone between two words, or hangs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use super::accord::{Goes, Step};
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

/// What a child process is told by: at which path it is to take over, and behind which word it dies.
const DIES: &str = "WSRING_HANDOVER_DIES";

/// Not a test of its own: what the child process runs.
#[test]
#[ignore = "started by the test below"]
fn dies_behind_a_word() {
    let Ok(how) = std::env::var(DIES) else { return };
    let (word, path) = how.split_once(' ').expect("a word and a path");
    let taking = Taking::begin(Handover::at(path)).expect("what the other one has");
    let Some(Before { conn, .. }) = &taking.from else { panic!("there is one before it") };
    if word != "all" {
        say(conn, &Say::Ready(vec![0]), &[]).expect("it goes out");
    }
    if word == "yours" {
        assert_eq!(hear_within(conn, ANSWER).expect("it is told").0, Say::Yours);
    }
    std::process::exit(7); // and nothing is put in order
}

/// A process that is gone before it has said that all is its own, whatever it was told: the other one accepts all the time, and hands over to the next.
#[test]
fn who_dies_before_it_has_taken_over_leaves_the_other_as_it_was() {
    let folder = Folder::new("dies");
    let running = folder.start();
    let addr = running.local_addrs()[0];
    for word in ["all", "ready", "yours"] {
        let mut child = Command::new(std::env::current_exe().expect("it runs"));
        child.args(["--exact", "handover::tests::dies_behind_a_word", "--ignored"]).stdout(Stdio::null());
        let died = child.env(DIES, format!("{word} {}", folder.path().display())).status().expect("it is started");
        assert_eq!(died.code(), Some(7), "{word}");
        let mut peer = TcpStream::connect(addr).expect("nobody is refused");
        peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it goes out");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).expect("nobody is reset");
        assert!(answer.starts_with("HTTP/1.1 "), "{word}: {answer}");
    }
    let next = folder.start();
    assert_eq!(next.predecessor(), Some(std::process::id()), "the first one is there");
    running.join().expect("it has left in order");
    next.handle().stop();
    next.join().expect("a good end");
}

fn pair() -> (Socket, Socket) {
    Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("two sockets")
}

/// One that was told that it may have all, and hangs: when its time is over the other one goes on, says so, and cannot be told the contrary any more.
#[test]
fn who_hangs_before_it_has_taken_over_leaves_the_other_as_it_was() {
    let (one, other) = pair();
    let (alive, _ending) = UnixStream::pair().expect("two sockets");
    say(&other, &Say::Ready(vec![0]), &[]).expect("it goes out");
    let mut line = Line::new(&one, Some(&alive), vec![]);
    assert_eq!(giving::agree(&mut line, ANSWER, Duration::ZERO), Goes::Stays);
    assert_eq!((line.taken.clone(), line.why().kind()), (vec![0], ErrorKind::TimedOut));
    assert_eq!(hear(&other).expect("it was said").0, Say::Yours);
    assert!(say(&other, &Say::Mine, &[]).is_err(), "too late");
    assert!(matches!(hear(&other).expect("it was said").0, Say::No(why) if why.contains("took longer")));
}

/// The log is told what became of one that is gone.
#[test]
fn who_is_gone_is_told_of_in_words() {
    for is_told in [false, true] {
        let (one, other) = pair();
        if is_told {
            say(&other, &Say::Ready(vec![0]), &[]).expect("it goes out");
        }
        drop(other);
        let mut line = Line::new(&one, None, vec![]);
        assert_eq!(giving::agree(&mut line, ANSWER, ANSWER), Goes::Stays);
        assert_eq!(line.why().to_string(), "it has gone before it had taken over");
    }
}

/// One that answers late, by as much as it happens to be: both know the same, whichever that is.
#[test]
fn both_know_the_same_however_late_the_answer_is() {
    let mut ends = [0, 0];
    for round in 0..500 {
        let (one, other) = pair();
        let comes = thread::spawn(move || {
            (0..round % 50).for_each(|_| std::hint::spin_loop());
            let owns = agree(&other, vec![0]).is_ok();
            (owns, other) // it stays there
        });
        let mut line = Line::new(&one, None, vec![]);
        let goes = giving::agree(&mut line, ANSWER, Duration::from_micros(round % 7));
        drop(one);
        let (owns, _other) = comes.join().expect("no panic");
        assert_eq!(goes, if owns { Goes::Leaves } else { Goes::Stays });
        ends[usize::from(owns)] += 1;
    }
    println!("{ends:?}");
}

/// One that does not read what it is sent hears that nothing came of it when it does: it would take the other one for dead.
#[test]
fn who_is_refused_hears_it_behind_all_else() {
    let (one, other) = pair();
    one.set_nonblocking(true).expect("a socket");
    while say(&one, &Say::More(1), &[]).is_ok() {}
    let mut line = Line::new(&one, None, vec![]);
    assert_eq!(line.take(Step::Say(Word::No), ANSWER), Event::Said);
    drop(one);
    let heard = std::iter::from_fn(|| hear(&other).ok());
    assert!(matches!(heard.last(), Some((Say::No(_), _))));
}

/// As long as the other one accepts too, nothing of it is this one's to remove.
#[test]
fn what_is_shared_is_left_alone() {
    let folder = Folder::new("shared");
    let running = folder.start();
    let took = Taking::begin(Handover::at(folder.path())).and_then(Taking::end).expect("it takes over");
    assert!(took.is_shared());
    drop(took);
    assert!(
        folder.path().exists(),
        "whether the other one has left by now, or goes on because this one has ended so soon"
    );
    running.handle().stop();
    running.join().expect("a good end");
}
