//! What `wsring connect` says, and by which exit status, when something was lost or may have been: 0 only if nothing is known to be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wsring_testkit::{WAIT, patiently, read_head, reset};

use crate::connect::{Talk, scripted, switching, url};
use crate::process::start;

/// The next frame of a client: its first byte and its payload, as it lies on the wire.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut long = [0; 8];
    let len = match head[1] & 0x7f {
        126 => {
            stream.read_exact(&mut long[6..]).expect("its length");
            u64::from_be_bytes(long)
        }
        127 => {
            stream.read_exact(&mut long).expect("its length");
            u64::from_be_bytes(long)
        }
        short => short.into(),
    };
    let mut rest = vec![0; 4 + len as usize];
    stream.read_exact(&mut rest).expect("its payload");
    (head[0], rest.split_off(4))
}

const CLOSE_1000: [u8; 4] = [0x88, 2, 0x03, 0xe8];

/// Lines that no two sockets hold, typed by a thread of their own.
fn type_lines(talk: &mut Talk, count: usize, len: usize) -> thread::JoinHandle<()> {
    let mut input = talk.take_input();
    thread::spawn(move || {
        let line = [vec![b'q'; len], b"\n".to_vec()].concat();
        // The other side may be gone before all of it is read.
        let _ = (0..count).try_for_each(|_| input.write_all(&line));
    })
}

/// Once both ends waited for each other to read, and `connect` closed with exit status 0, and its answers discarded.
#[test]
fn more_lines_than_sockets_hold_all_come_back() {
    let serve = start(&[]);
    let mut talk = Talk::start(&url(serve.addr()), &[]);
    let typing = type_lines(&mut talk, 24, 1 << 20);
    let (code, output, errors) = talk.ended();
    typing.join().unwrap();
    assert_eq!((code, output.lines().count(), output.len(), &*errors), (Some(0), 24, 24 * ((1 << 20) + 1), ""));
    assert_eq!(serve.stop()["timeouts"], 0);
}

/// The answer comes when `connect` has said goodbye: it is not printed, which is told, and no good end. With `--wait 0` nobody wanted it.
#[test]
fn an_answer_behind_our_close_is_a_loss() {
    for (wait, code, told) in [("0.2", 1, "1 messages came after our close"), ("0", 0, "")] {
        let (url, server) = scripted(|mut stream, head| {
            stream.write_all(switching(head, "").as_bytes()).unwrap();
            assert_eq!(frame(&mut stream).0, 0x81);
            assert_eq!(frame(&mut stream).0, 0x88, "it closes");
            stream.write_all(&[&b"\x81\x04late"[..], &CLOSE_1000].concat()).unwrap();
            let _ = patiently(|| stream.read(&mut [0; 100]));
        });
        let mut talk = Talk::start(&url, &["--wait", wait]);
        talk.say(b"question\n");
        let (status, output, errors) = talk.end();
        server.join().unwrap();
        assert_eq!((status, &*output), (Some(code), ""), "--wait {wait}: {errors}");
        assert!(errors.contains(told) && errors.is_empty() == told.is_empty(), "--wait {wait}: {errors}");
    }
}

/// It closes, as politely as can be, in the middle of what was to be sent.
#[test]
fn what_a_server_that_closes_early_did_not_take_is_a_loss() {
    let (url, server) = scripted(|mut stream, head| {
        stream.write_all(switching(head, "").as_bytes()).unwrap();
        // A message is queued as a whole: with its first byte here, most of it is still with the client.
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first, [0x81]);
        stream.write_all(&CLOSE_1000).unwrap();
        let _ = patiently(|| stream.read_to_end(&mut Vec::new()));
    });
    let mut talk = Talk::start(&url, &[]);
    let typing = type_lines(&mut talk, 2, 64 << 20);
    let (code, output, errors) = talk.ended();
    server.join().unwrap();
    typing.join().unwrap();
    assert_eq!((code, &*output), (Some(1), ""), "{errors}");
    assert!(errors.contains("closed by the server: 1000") && errors.contains(" not sent"), "{errors}");
}

/// It closes, as politely as can be, when half a line has been read behind those that it was sent: that half was to be sent too.
#[test]
fn half_a_line_is_a_loss() {
    for (typed, code, told) in
        [("question\n", 0, ""), ("question\nand ano", 1, "1 lines of the input were read and not sent")]
    {
        let (url, server) = scripted(|mut stream, head| {
            stream.write_all(switching(head, "").as_bytes()).unwrap();
            // With its last byte here, what was written together with it has been read as well.
            assert_eq!(frame(&mut stream).0, 0x81);
            stream.write_all(&CLOSE_1000).unwrap();
            let _ = patiently(|| stream.read_to_end(&mut Vec::new()));
        });
        let mut talk = Talk::start(&url, &[]);
        talk.say(typed.as_bytes());
        let input = talk.take_input(); // which does not end
        let (status, output, errors) = talk.ended();
        drop(input);
        server.join().unwrap();
        assert_eq!((status, &*output), (Some(code), ""), "{typed:?}: {errors}");
        assert!(errors.contains("closed by the server: 1000") && errors.contains(told), "{typed:?}: {errors}");
    }
}

/// It resets, with everything taken or not: answers may be lost, and the exit status says so also if a later connection ends well.
#[test]
fn a_reset_is_a_loss_even_if_a_later_connection_ends_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = url(listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        for round in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            let (head, _) = read_head(&stream).expect("a request");
            stream.write_all(switching(&head, "").as_bytes()).unwrap();
            if round == 0 {
                assert_eq!(frame(&mut stream).0, 0x81);
                reset(stream);
                continue;
            }
            stream.write_all(b"\x81\x05hello").unwrap();
            assert_eq!(frame(&mut stream).0, 0x88);
            stream.write_all(&CLOSE_1000).unwrap();
            let _ = patiently(|| stream.read(&mut [0; 100]));
        }
    });
    let mut talk = Talk::start(&url, &["--reconnect", "--wait", "0.3"]);
    talk.say(b"question\n");
    assert_eq!(talk.line(), "hello");
    let (code, output, errors) = talk.end();
    server.join().unwrap();
    assert_eq!((code, &*output), (Some(1), ""), "{errors}");
    assert!(errors.contains("the connection broke"), "{errors}");
}

/// Who takes bytes is not left, however long that takes: `--wait` is counted from the last that came or went.
#[test]
fn a_server_that_takes_its_time_is_waited_for() {
    const LINE: usize = 16 << 20;
    let (url, server) = scripted(|mut stream, head| {
        socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
        stream.write_all(switching(head, "").as_bytes()).unwrap();
        let mut left = 10 + 4 + LINE;
        // Together longer than two waits; and each leaves a busy machine seconds.
        for _ in 0..7 {
            thread::sleep(Duration::from_secs(1));
            let mut piece = vec![0; left.min(3 << 19)];
            stream.read_exact(&mut piece).expect("what was sent");
            left -= piece.len();
        }
        stream.read_exact(&mut vec![0; left]).expect("the rest");
        stream.write_all(b"\x81\x08I got it").unwrap();
        assert_eq!(frame(&mut stream).0, 0x88);
        stream.write_all(&CLOSE_1000).unwrap();
        let _ = patiently(|| stream.read(&mut [0; 100]));
    });
    let mut talk = Talk::start(&url, &["--wait", "3"]);
    let typing = type_lines(&mut talk, 1, LINE);
    assert_eq!(talk.ended(), (Some(0), "I got it\n".to_owned(), String::new()));
    typing.join().unwrap();
    server.join().unwrap();
}
