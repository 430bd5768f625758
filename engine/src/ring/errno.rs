//! The kernel's word for why it refused: [`Errno`].

use std::{fmt, io};

/// A positive errno(3) number: why the kernel refused, or how a socket failed. Its field is public, so that it can be matched:
/// `CloseReason::Reset(Errno(libc::ECONNRESET))`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "a number, and nothing beside it")]
pub struct Errno(pub i32);

/// Those that sockets, accepts and connects give (connect(2), accept(2), tcp(7)), by the names that manuals and logs search for.
const NAMES: [(i32, &str); 24] = [
    (libc::EPERM, "EPERM"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::EPIPE, "EPIPE"),
    (libc::EPROTO, "EPROTO"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::ECANCELED, "ECANCELED"),
];

impl Errno {
    /// The number, as `io::Error::raw_os_error` has it.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }
}

/// The name, if it is one that sockets give, and what strerror(3) says.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = io::Error::from(*self);
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "{name}: {said}"),
            None => fmt::Display::fmt(&said, f),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {} ({})", self.0, io::Error::from(*self))
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        io::Error::from_raw_os_error(errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_says_its_name_and_its_meaning() {
        let reset = Errno(libc::ECONNRESET);
        assert_eq!(reset.to_string(), "ECONNRESET: Connection reset by peer (os error 104)");
        assert_eq!(Errno(libc::ENOTTY).to_string(), "Inappropriate ioctl for device (os error 25)");
        let error = io::Error::from(reset);
        assert_eq!((error.kind(), error.raw_os_error()), (io::ErrorKind::ConnectionReset, Some(reset.raw())));
    }

    #[test]
    fn no_number_has_two_names() {
        for (at, (number, name)) in NAMES.iter().enumerate() {
            assert!(NAMES[..at].iter().all(|(other, _)| other != number), "{name}");
        }
    }
}
