//! What the command's own tests cannot force from outside: an inbox that is full.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::{Message as Sent, WebSocket};
use wsring::{Config, Running, Server};
use wsring_testkit::Patient;

use super::*;

/// Two rings, on one core so that any machine will do, with one place for a connection each.
fn two_rings(room: &Arc<Room>) -> Running {
    let core = std::fs::read_to_string("/proc/self/status").unwrap();
    let core = core.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let core: u16 = core.split(['-', ',']).next().unwrap().parse().unwrap();
    let config = Config::default().connections_max(1);
    let server = Server::bind("127.0.0.1:0").unwrap().config(config).cores([core, core]);
    let room = Arc::clone(room);
    server.start(move |core| Echo::new(core, Arc::clone(&room))).unwrap()
}

#[test]
fn an_inbox_is_full_one_byte_past_its_mark_and_empty_once_taken() {
    let running = two_rings(&Arc::new(Room::new(0)));
    let (handle, [zero, one]) = (running.handle(), [0, 1].map(Place::new));
    let room = Room::new(2 * (10 + POST_COST));
    assert!(room.post(&handle, zero, Message::Binary(&[0; 10])));
    assert!(room.post(&handle, zero, Message::Binary(&[0; 10])), "exactly at the mark");
    assert!(!room.holds_back(&handle, zero));
    assert!(!room.post(&handle, zero, Message::Text("")), "an empty message counts too");
    assert!(room.holds_back(&handle, zero) && !room.holds_back(&handle, one));
    assert!(room.post(&handle, one, Message::Binary(&[0; 10])), "the other direction has room");
    let taken = std::mem::take(&mut *room.inbox(one));
    assert!(taken.waiting.contains(&zero) && !room.holds_back(&handle, zero));
    let kinds: Vec<(bool, usize)> = taken.posts.iter().map(|post| (post.text, post.bytes.len())).collect();
    assert_eq!(kinds, [(false, 10), (false, 10), (true, 0)]);
    assert_eq!(room.inbox(zero).posts.len(), 1);
    running.handle().stop();
    running.join().unwrap();
}

fn join_room(running: &Running) -> WebSocket<Patient<TcpStream>> {
    let (addr, since) = (running.local_addrs()[0], Instant::now());
    loop {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        match tungstenite::client(format!("ws://{addr}/bcast"), Patient(stream)) {
            Ok((socket, _)) => return socket,
            // 503: the kernel chose the ring that is full.
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
    }
}

/// With a mark of zero every message makes its sender wait for the other ring: all arrive, in order, on both sides.
#[test]
fn a_sender_that_waits_for_the_other_core_goes_on() {
    const COUNT: u32 = 200;
    let running = two_rings(&Arc::new(Room::new(0)));
    let mut members = [join_room(&running), join_room(&running)];
    for (member, name) in members.iter_mut().zip(["a", "b"]) {
        (0..COUNT).for_each(|number| member.write(Sent::text(format!("{name}{number}"))).unwrap());
        member.flush().unwrap();
    }
    for member in &mut members {
        let mut next = [("a", 0), ("b", 0)];
        for _ in 0..2 * COUNT {
            let text = member.read().unwrap().into_text().unwrap();
            let (name, number) = next.iter_mut().find(|(name, _)| text.starts_with(name)).unwrap();
            assert_eq!(text.as_str(), format!("{name}{number}"));
            *number += 1;
        }
        assert_eq!(next, [("a", COUNT), ("b", COUNT)]);
    }
    drop(members);
    running.handle().stop();
    let stats = running.join().unwrap();
    assert_eq!(stats.iter().map(|core| core.messages).collect::<Vec<_>>(), [u64::from(COUNT); 2]);
}
