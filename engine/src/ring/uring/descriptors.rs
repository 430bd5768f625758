//! The sockets of a ring that has no use for direct descriptors: ordinary descriptors of the process, which this ring owns.
//!
//! Promises that a descriptor which came to the ring is closed: by its [`Op::Close`](crate::ring::Op::Close), by [`Descriptors::add`]
//! if there are too many, or when the ring goes. (Closes that a broken ring was never handed are the process's end to make.) Stands where
//! the fixed-file table stands otherwise, and like that table has no room beyond its size (ENFILE).
//!
//! Descriptor numbers are small and dense (open(2): the lowest that is free), so a bit each tells which are ours.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::ring::{Errno, Socket};

/// Descriptors of this ring's sockets.
pub(super) struct Descriptors {
    /// Bit `n % 64` of word `n / 64`: descriptor `n` is open, and ours to close.
    ours: Vec<u64>,
    count: u32,
    max: u32,
}

impl Descriptors {
    pub(super) fn new(max: u32) -> Self {
        Self { ours: Vec::new(), count: 0, max }
    }

    /// How many sockets more there is room for.
    pub(super) fn room(&self) -> u32 {
        self.max - self.count
    }

    /// Takes a socket in. One too many is closed at once.
    pub(super) fn add(&mut self, fd: OwnedFd) -> Result<Socket, Errno> {
        if self.count == self.max {
            return Err(Errno(libc::ENFILE));
        }
        let number = fd.into_raw_fd() as u32;
        let (word, bit) = place(number);
        if self.ours.len() <= word {
            self.ours.resize(word + 1, 0);
        }
        assert!(self.ours[word] & bit == 0, "descriptor {number} was given to this ring twice");
        self.ours[word] |= bit;
        self.count += 1;
        Ok(Socket(number))
    }

    /// As [`reset_on_close`], of a socket of ours.
    pub(super) fn reset_on_close(&self, socket: Socket) {
        reset_on_close(&self.number(socket));
    }

    /// As [`unacked`], of a socket of ours.
    pub(super) fn unacked(&self, socket: Socket) -> Result<u32, Errno> {
        unacked(&self.number(socket))
    }

    fn number(&self, socket: Socket) -> RawFd {
        let (word, bit) = place(socket.0);
        assert!(self.ours.get(word).is_some_and(|ours| ours & bit != 0), "{socket:?} is not open here");
        socket.0 as RawFd
    }

    /// Gives a socket up to whoever closes it: the kernel, by IORING_OP_CLOSE.
    pub(super) fn give_up(&mut self, socket: Socket) -> RawFd {
        let number = self.number(socket);
        let (word, bit) = place(socket.0);
        self.ours[word] &= !bit;
        self.count -= 1;
        number
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        for (word, &ours) in self.ours.iter().enumerate() {
            for bit in (0..64).filter(|bit| ours & 1 << bit != 0) {
                // SAFETY: `add` took this descriptor out of an `OwnedFd`, and `give_up` has not handed it on: nobody else closes it.
                // Fails without it: tests/loopback/driver, a_ring_that_goes_closes_its_sockets.
                drop(unsafe { OwnedFd::from_raw_fd((word * 64 + bit) as RawFd) });
            }
        }
    }
}

/// Has the close of a socket reset its connection: lingering on, and for no time (SO_LINGER, socket(7)).
pub fn reset_on_close(socket: &impl AsRawFd) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, len) = (&raw const at_once, size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: setsockopt(2) reads so many bytes through a valid pointer. It fails for what is no socket, and then nothing changes.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value.cast(), len) };
}

/// How many bytes that a socket took its peer has not acknowledged (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// ioctl(2)'s: it is no TCP socket, or not connected.
pub fn unacked(socket: &impl AsRawFd) -> Result<u32, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: ioctl(2) writes one int through a valid pointer.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) } < 0 {
        return Err(Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)));
    }
    Ok(count.max(0) as u32)
}

fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> (OwnedFd, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("two sockets");
        theirs.set_nonblocking(true).expect("a socket option");
        (ours.into(), theirs)
    }

    fn is_closed(mut theirs: &std::os::unix::net::UnixStream) -> bool {
        matches!(std::io::Read::read(&mut theirs, &mut [0]), Ok(0))
    }

    #[test]
    fn one_too_many_is_closed_and_one_given_up_makes_room() {
        let mut descriptors = Descriptors::new(2);
        let (first, first_peer) = some();
        let (second, second_peer) = some();
        let (third, third_peer) = some();
        let socket = descriptors.add(first).expect("room for two");
        descriptors.add(second).expect("room for two");
        assert_eq!(descriptors.add(third), Err(Errno(libc::ENFILE)));
        assert!(is_closed(&third_peer) && !is_closed(&first_peer) && !is_closed(&second_peer));
        let number = descriptors.give_up(socket);
        // SAFETY: `give_up` says that closing it is the caller's.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        assert!(is_closed(&first_peer) && !is_closed(&second_peer));
        let (fourth, fourth_peer) = some();
        descriptors.add(fourth).expect("room again");
        drop(descriptors);
        assert!(is_closed(&second_peer) && is_closed(&fourth_peer), "what is left goes with the table");
    }

    #[test]
    #[should_panic(expected = "is not open here")]
    fn what_is_not_ours_is_not_closed() {
        Descriptors::new(1).give_up(Socket(0));
    }
}
