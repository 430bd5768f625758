//! Calls and streams that go on after their process was stopped and continued.
//!
//! A call on a socket with a timeout ends with EINTR when the process is stopped and continued, handler or not (signal(7)): a
//! debugger, a job control shell and the freezer of a cgroup all do that. `read_exact`, `read_to_end` and `write_all` of
//! std call again; `read`, `write` and `peek` do not, and those who are given a stream may not either.

use std::io::{self, ErrorKind, Read, Write};

/// Makes a call, again for as long as it is interrupted. A timeout of the call begins anew each time.
pub fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A stream whose reads and writes are never interrupted; all else is the stream's own.
#[derive(Debug)]
pub struct Patient<S>(pub S);

impl<S: Read> Read for Patient<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        patiently(|| self.0.read(bytes))
    }
}

impl<S: Write> Write for Patient<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        patiently(|| self.0.flush())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    /// A stream that counts how often it was interrupted.
    struct Counting<'a>(&'a TcpStream, &'a AtomicUsize);

    impl Counting<'_> {
        fn count<T>(&self, done: io::Result<T>) -> io::Result<T> {
            done.inspect_err(|error| {
                let interrupted = error.kind() == ErrorKind::Interrupted;
                self.1.fetch_add(interrupted.into(), Ordering::SeqCst);
            })
        }
    }

    impl Read for Counting<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let done = self.0.read(bytes);
            self.count(done)
        }
    }

    impl Write for Counting<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let done = self.0.write(bytes);
            self.count(done)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (far, _) = listener.accept().expect("a peer");
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(WAIT)).expect("a timeout");
            stream.set_write_timeout(Some(WAIT)).expect("a timeout");
        }
        (near, far)
    }

    /// Has this process stopped until every thread of it stands still, and continued, until that has interrupted a call.
    fn freeze_until_interrupted(interrupted: &AtomicUsize) {
        let id = std::process::id();
        // Asked again each time: the other test may have it continued meanwhile.
        let stops = format!("kill -STOP {id}; grep -q '^State:.[^T]' /proc/{id}/task/*/status");
        let freeze = format!("while {stops}; do :; done; kill -CONT {id}");
        let deadline = Instant::now() + WAIT;
        while interrupted.load(Ordering::SeqCst) == 0 {
            let ended = Command::new("sh").args(["-c", &freeze]).status().expect("a shell");
            assert!(ended.success(), "{ended}");
            assert!(Instant::now() < deadline, "no call was interrupted");
        }
    }

    #[test]
    fn a_read_goes_on_when_the_process_was_frozen() {
        let ((near, mut far), interrupted) = (pair(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bytes = [0; 10];
                Patient(Counting(&near, &interrupted)).read(&mut bytes).map(|len| bytes[..len].to_vec())
            });
            freeze_until_interrupted(&interrupted);
            far.write_all(b"at last").expect("it goes out");
            assert_eq!(reader.join().expect("no panic").expect("not interrupted"), b"at last");
        });
    }

    #[test]
    fn a_write_goes_on_when_the_process_was_frozen() {
        // More than the sockets hold, so that a write waits in which nothing has gone out yet.
        const LEN: usize = 64 << 20;
        let ((near, mut far), interrupted) = (pair(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (bytes, mut at) = (vec![1; LEN], 0);
                let mut patient = Patient(Counting(&near, &interrupted));
                while at < LEN {
                    at += patient.write(&bytes[at..])?;
                }
                near.shutdown(std::net::Shutdown::Write)
            });
            freeze_until_interrupted(&interrupted);
            let mut bytes = Vec::new();
            far.read_to_end(&mut bytes).expect("all of it");
            writer.join().expect("no panic").expect("not interrupted");
            assert_eq!(bytes.len(), LEN);
        });
    }
}
