//! The sockets of a core: what each has in flight, and what is known of it since the last look.
//!
//! Owns them: a socket goes with its place here, or with the table. Promises that there are no more than so many, and that what is told of
//! a socket that had this place before is told apart ([`Sockets::find`]). Refuses to read, write and watch.

use slab::Slab;

use crate::ring::{Kind, Payload, Token};

/// A receive that has not ended.
#[derive(Clone, Copy)]
pub(super) struct Receiving {
    pub(super) token: Token,
    pub(super) once: bool,
}

/// One socket.
pub(super) struct Sock {
    pub(super) socket: socket2::Socket,
    generation: u32,
    /// Of the connect that has not ended.
    pub(super) connecting: Option<Token>,
    pub(super) receiving: Option<Receiving>,
    /// A send that waits for room.
    pub(super) sending: Option<(Token, Payload)>,
    /// There may be something to receive: it has not been all taken since it was told.
    pub(super) readable: bool,
    /// It is told when there is room to send.
    pub(super) watches_room: bool,
    /// A receive that brought less than it could has not brought all: an end or an error is behind, or urgent bytes were among them, at which
    /// a receive stops (tcp(7)).
    pub(super) has_marks: bool,
    /// It has a turn already.
    pub(super) has_turn: bool,
}

impl Sock {
    /// Whether a receive would find something, and is wanted.
    pub(super) fn is_due(&self) -> bool {
        self.readable && self.receiving.is_some()
    }
}

/// The sockets of one core.
pub(super) struct Sockets {
    slab: Slab<Sock>,
    max: usize,
    generation: u32,
}

impl Sockets {
    pub(super) fn new(max: u32) -> Self {
        Self { slab: Slab::new(), max: max as usize, generation: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.slab.len() < self.max
    }

    /// Takes a socket in, with the token by which it is watched.
    ///
    /// # Panics
    /// If there is no room.
    pub(super) fn add(&mut self, socket: socket2::Socket) -> (u32, Token) {
        assert!(self.has_room(), "{} sockets and one more", self.max);
        self.generation = (self.generation + 1) & Token::GENERATION_MASK;
        let key = self.slab.insert(Sock {
            socket,
            generation: self.generation,
            connecting: None,
            receiving: None,
            sending: None,
            readable: false,
            watches_room: false,
            has_marks: false,
            has_turn: false,
        }) as u32;
        (key, self.name(key))
    }

    /// The token by which a socket is watched.
    pub(super) fn name(&self, key: u32) -> Token {
        Token::new(Kind::Recv, self.slab[key as usize].generation, key)
    }

    /// The socket that is watched by this token, unless it is closed: a copy of its descriptor may live on for a moment, in a process that is
    /// being started.
    #[inline]
    pub(super) fn find(&mut self, name: Token) -> Option<&mut Sock> {
        self.slab.get_mut(name.index() as usize).filter(|sock| sock.generation == name.generation())
    }

    /// The socket at this place, if there is one.
    pub(super) fn at(&mut self, key: u32) -> Option<&mut Sock> {
        self.slab.get_mut(key as usize)
    }

    /// The socket that has this name.
    ///
    /// # Panics
    /// If it is not open.
    #[inline]
    pub(super) fn get(&mut self, key: u32) -> &mut Sock {
        self.slab.get_mut(key as usize).unwrap_or_else(|| panic!("socket {key} is not open here"))
    }

    pub(super) fn remove(&mut self, key: u32) -> Sock {
        self.slab.try_remove(key as usize).unwrap_or_else(|| panic!("socket {key} is not open here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> socket2::Socket {
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket")
    }

    #[test]
    fn there_is_room_for_so_many_and_who_had_a_place_before_is_told_apart() {
        let mut sockets = Sockets::new(2);
        let (first, name) = sockets.add(socket());
        sockets.add(socket());
        assert!(!sockets.has_room() && sockets.find(name).is_some());
        drop(sockets.remove(first));
        assert!(sockets.has_room() && sockets.find(name).is_none());
        let (again, other) = sockets.add(socket());
        assert_eq!(again, first);
        assert!(sockets.find(name).is_none() && sockets.find(other).is_some());
    }

    #[test]
    #[should_panic(expected = "1 sockets and one more")]
    fn one_too_many_is_a_fault_of_ours() {
        let mut sockets = Sockets::new(1);
        sockets.add(socket());
        sockets.add(socket());
    }

    #[test]
    #[should_panic(expected = "socket 0 is not open here")]
    fn what_is_not_open_is_not_closed() {
        Sockets::new(1).remove(0);
    }
}
