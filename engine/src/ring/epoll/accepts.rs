//! Connections that come: from a listener where somebody waits to a socket that is watched.
//!
//! Promises that an accept goes on until it fails or is cancelled, that it brings a bounded number of connections in a pass, and that who finds
//! no room goes on to wait.

use std::io::{self, ErrorKind};

use socket2::SockRef;

use super::watch::TO_READ;
use super::{Epoll, Lease, Turn, errno_of};
use crate::ring::{Done, Socket, Token};

impl Epoll {
    pub(super) fn accept_from(&mut self, token: Token, number: u32) {
        let listening = &mut self.listeners[number as usize];
        assert!(listening.listener.is_some(), "accepting on a closed listener");
        assert!(listening.token.is_none(), "two accepts of listener {number}");
        listening.token = Some(token);
        self.offer_accept(number);
    }

    /// Somebody has come to a listener.
    pub(super) fn on_waiting(&mut self, number: u32) {
        self.listeners[number as usize].ready = true;
        self.offer_accept(number);
    }

    /// Has an accept have a turn, if somebody may wait there.
    fn offer_accept(&mut self, number: u32) {
        let listening = &mut self.listeners[number as usize];
        if listening.ready && listening.token.is_some() && !listening.has_turn {
            listening.has_turn = true;
            self.turns.push_back(Turn::Accept(number));
        }
    }

    /// One connection of one listener, in its turn.
    #[cold]
    pub(super) fn accept(&mut self, number: u32) -> Option<(Token, Done<Lease>)> {
        let listening = &mut self.listeners[number as usize];
        listening.has_turn = false;
        let (Some(listener), Some(token)) = (&listening.listener, listening.token) else { return None };
        let accepted = match self.sockets.has_room() {
            // Who waits there goes on to wait.
            false => Err(io::Error::from_raw_os_error(libc::ENFILE)),
            true => {
                self.calls += 1;
                SockRef::from(listener).accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            }
        };
        let error = match accepted {
            Ok((socket, from)) => {
                let (key, name) = self.sockets.add(socket);
                match self.watch.add(&self.sockets.get(key).socket, name, TO_READ) {
                    Ok(()) => {
                        self.go_on_accepting(number);
                        return Some((
                            token,
                            Done::Accepted { result: Ok(Socket(key)), peer: from.as_socket(), more: true },
                        ));
                    }
                    Err(error) => {
                        self.sockets.remove(key);
                        error
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                listening.ready = false;
                self.calls += 1;
                let _ = listener.set_nonblocking(true); // see `new`; if it fails the next one waits a little
                return None;
            }
            Err(error) => error,
        };
        self.listeners[number as usize].token = None;
        Some((token, Done::Accepted { result: Err(errno_of(&error)), peer: None, more: false }))
    }

    /// A listener that has brought one may bring more: in this pass, until it has brought many.
    fn go_on_accepting(&mut self, number: u32) {
        let listening = &mut self.listeners[number as usize];
        listening.has_turn = true;
        listening.left = listening.left.saturating_sub(1);
        if listening.left > 0 {
            self.turns.push_front(Turn::Accept(number));
            self.left += 1;
        } else {
            self.turns.push_back(Turn::Accept(number));
        }
    }
}
