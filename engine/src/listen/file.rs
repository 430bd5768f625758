//! The file of a Unix-domain socket: made with it, and removed when its server ends.
//!
//! Promises that a file which somebody listens at is never taken away, that one which nobody does is no hindrance, and that of servers that come and go at the
//! same path at the same time each knows whose the file is. So whoever makes or removes one has a lock on its folder meanwhile (flock(2)), which leaves nothing
//! behind; and a file is known by its inode, which is held open for as long as it is compared with: the number of one that is gone may be another's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Config;

/// How often and how soon a lock is tried again that another server has, which needs it for less than a millisecond.
const TRIES: u32 = 400;
const BETWEEN: Duration = Duration::from_millis(5);

/// A socket that listens at this path. At once: one that is bound and does not listen looks like one that nobody has any more.
pub(crate) fn bind_unix(path: &Path, kind: Type, mode: Option<u32>) -> io::Result<(Socket, SocketFile)> {
    let addr = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    let _lock = lock(path)?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_nobodys(path, kind, &addr)? => {
            fs::remove_file(path)?;
            socket.bind(&addr)?;
        }
        bound => bound?,
    }
    let file = SocketFile::at(path)?;
    mode.map_or(Ok(()), |mode| file.set_mode(mode))?;
    socket.listen(Config::default().backlog as i32)?;
    Ok((socket, file))
}

/// Whether the file at this path is a socket's at which nobody listens.
fn is_nobodys(path: &Path, kind: Type, addr: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let asks = Socket::new(Domain::UNIX, kind, None)?;
    asks.set_nonblocking(true)?; // a full queue is somebody's
    Ok(asks.connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// The lock of the folder that this path is in, until it is dropped. None of a folder that may not be read, or of which somebody keeps the lock: there servers cannot
/// take turns.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = match File::open(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        folder => folder?,
    };
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => thread::sleep(BETWEEN),
            // A file system that knows no locks: nobody can have one.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK | rustix::io::Errno::BADF) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    // A server needs it for less than a millisecond. Whoever may read the folder can have it, for as long as he likes: he is to keep nobody from starting.
    let path = path.display();
    tracing::warn!(%path, "another process keeps the lock on the folder (flock(2)): going on without it");
    Ok(None)
}

/// The file of a Unix-domain socket, removed with this if it is still there and still this server's.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Holds the inode (O_PATH, open(2)), and nothing of the socket.
    pin: File,
    is_ours: AtomicBool,
}

impl SocketFile {
    /// Of a socket that was bound there.
    fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let pin = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(&path)?;
        Ok(Self { path, pin, is_ours: AtomicBool::new(true) })
    }

    /// Of another process, which has handed it over with its pin. None if it is not there any more, or not the same.
    pub(crate) fn taken(path: PathBuf, pin: OwnedFd) -> Option<Self> {
        let file = Self { path, pin: pin.into(), is_ours: AtomicBool::new(false) };
        file.is_there().then_some(file)
    }

    /// What holds its inode.
    pub(crate) fn pin(&self) -> BorrowedFd<'_> {
        self.pin.as_fd()
    }

    /// Whether it is this server's to remove.
    pub(crate) fn set_ours(&self, ours: bool) {
        self.is_ours.store(ours, Ordering::Release);
    }

    /// Finds out whether its mode can be set, and leaves it as it is.
    pub(crate) fn try_mode(&self) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::symlink_metadata(&self.path)?.permissions())
    }

    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    fn is_there(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::symlink_metadata(&self.path).map(identity);
        let ours = self.pin.metadata().map(identity);
        matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.is_ours.get_mut() {
            return;
        }
        let Ok(_lock) = lock(&self.path) else { return };
        if self.is_there() {
            let _ = fs::remove_file(&self.path); // whoever listens here next replaces it
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Barrier;

    use super::*;

    fn path(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("wsring-file-{}-{test}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// A server that ends removes the file that it made, and no other: not that of a server that came to the same path when its own had been
    /// removed and its socket was closed already, whatever number that inode has.
    #[test]
    fn nobody_removes_the_file_of_another() {
        let path = path("another");
        let bind = || bind_unix(&path, Type::STREAM, None).expect("nobody is there");
        let (socket, file) = bind();
        drop(socket);
        fs::remove_file(&path).expect("it is there");
        let inode = file.pin.metadata().expect("it is held").ino();
        // As many as it takes to have a number come again, where numbers do.
        for _ in 0..100 {
            let (other, its) = bind();
            assert_ne!(
                its.pin.metadata().expect("it is held").ino(),
                inode,
                "the number of a file that is compared with"
            );
            drop((other, its));
        }
        let (_other, its) = bind();
        drop(file);
        UnixStream::connect(&path).expect("the other's file is there");
        drop(its);
        assert!(!path.exists(), "it removes its own");
    }

    /// Of servers that start at one stale file at the same time one gets it, and keeps it.
    #[test]
    fn a_stale_file_is_taken_by_one() {
        let path = path("stale");
        for _ in 0..50 {
            drop(UnixListener::bind(&path).expect("the file is made, and stays"));
            let start = Barrier::new(4);
            let got = thread::scope(|scope| {
                let bind = || {
                    start.wait();
                    bind_unix(&path, Type::STREAM, None)
                };
                let all: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
                all.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<_>>()
            });
            let mut winners = Vec::new();
            for one in got {
                match one {
                    Ok(won) => winners.push(won),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
                }
            }
            assert_eq!(winners.len(), 1);
            UnixStream::connect(&path).expect("who has it listens there");
            let (socket, file) = winners.pop().expect("one");
            socket.set_nonblocking(true).expect("a socket");
            socket.accept().expect("and nobody else");
            drop((socket, file));
            assert!(!path.exists());
        }
    }

    /// Handed over, it is the other's: neither removes it twice, and one that was replaced is not taken.
    #[test]
    fn a_file_changes_its_owner() {
        let path = path("owner");
        let (socket, file) = bind_unix(&path, Type::STREAM, Some(0o600)).expect("nobody is there");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        let pin = file.pin().try_clone_to_owned().expect("a descriptor");
        let taken = SocketFile::taken(path.clone(), pin.try_clone().expect("a descriptor")).expect("it is there");
        file.set_ours(false);
        drop(file);
        assert!(path.exists());
        taken.set_ours(true);
        drop(taken);
        assert!(!path.exists());
        let (_other, _its) = bind_unix(&path, Type::STREAM, None).expect("nobody is there");
        assert!(SocketFile::taken(path, pin).is_none(), "another's");
        drop(socket);
    }

    #[test]
    fn a_folder_that_is_locked_for_long_keeps_nobody_from_starting() {
        let folder = path("folder");
        fs::create_dir_all(&folder).expect("a folder");
        let locked = lock(&folder.join("x")).expect("nobody has it").expect("a lock");
        let bound = bind_unix(&folder.join("x"), Type::STREAM, None).expect("it is waited for, and not for ever");
        UnixStream::connect(folder.join("x")).expect("it listens");
        drop(bound);
        assert!(!folder.join("x").exists(), "it is removed as well");
        drop(locked);
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
