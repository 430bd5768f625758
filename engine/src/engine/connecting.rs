//! From the addresses of a dial to a connection: they are raced (RFC 8305), and the first that connects is the attempt's.
//!
//! Promises that every connect that was submitted is accounted for until it completes, whoever waits for it still, and that whatever it brings that nobody
//! wants is closed. Whose turn it is and who has failed is `race`'s; what a connection is asked is `dialling`'s.

use std::net::SocketAddr;
use std::time::Duration;

use super::conns::Phase;
use super::core::Core;
use super::dial_error::DialError;
use super::dials::State;
use super::planted::planted;
use super::race::{Grade, Next, Race, few};
use super::tokens::CANCEL_CONNECT;
use crate::handler::Handler;
use crate::ring::{Errno, Op, Ring, Socket, Token};

impl<R: Ring, H: Handler> Core<R, H> {
    /// The addresses of an attempt are known: the application may take some away, and the rest are raced.
    pub(super) fn race(&mut self, index: u32, addrs: Vec<SocketAddr>) {
        let dial = self.out.dials.dial(index);
        let mut addrs = dial.bad.order(addrs);
        if let Some(local) = dial.target.local {
            addrs.retain(|addr| addr.is_ipv4() == local.is_ipv4());
        }
        few(&mut addrs);
        let dialled = self.out.dials.dialled(index);
        let said = self.calls.resolved(&mut self.out, &dialled, &mut addrs);
        few(&mut addrs);
        let dial = self.out.dials.dial(index);
        if dial.is_leaving() {
            return; // since that callback: it is listed, and fails in the next pass
        }
        if said.is_err() {
            return self.dial_failed(index, DialError::Panicked);
        }
        if addrs.is_empty() {
            return self.dial_failed(index, DialError::NoAddress);
        }
        dial.state = State::Connecting;
        dial.race = Race::new(addrs);
        self.go_on_racing(index);
    }

    /// Begins whatever address may begin, gives up those that have had their time, and looks again when that may change.
    pub(super) fn go_on_racing(&mut self, index: u32) {
        let now = self.ring.now();
        while let Some(late) = self.out.dials.dial(index).race.pop_expired(now) {
            self.out.dials.dial(index).bad.note(late.addr, Grade::Failed);
            self.give_up_connect(late.token);
        }
        loop {
            let dial = self.out.dials.dial(index);
            let (timeout, delay) = (dial.target.connect_timeout, dial.target.race_delay);
            match dial.race.next(now) {
                Next::Begin(remote) => {
                    if self.has_place(self.connects) {
                        let token = self.out.dials.begin_connect(index);
                        self.out.dials.dial(index).race.begin(token, now.plus(timeout), now, delay);
                        self.connects += 1;
                        let local = self.out.dials.dial(index).target.local.map(Box::new);
                        self.ring.submit(token, Op::Connect { remote, nodelay: self.config.nodelay, local });
                    } else if self.out.dials.dial(index).race.is_idle() {
                        return self.dial_failed(index, DialError::Full);
                    } else {
                        self.out.dials.dial(index).race.put_off(now.plus(delay.max(AGAIN)));
                    }
                }
                Next::Wait(until) => return self.out.dials.set_timer(index, until),
                Next::Over => {
                    let (addr, source) = dial.race.why().expect("every address has failed");
                    return self.dial_failed(index, DialError::Connect { addr, source });
                }
            }
        }
    }

    pub(super) fn on_connected(&mut self, token: Token, result: Result<Socket, Errno>) {
        self.connects -= 1;
        self.out.stats.connected += u64::from(result.is_ok());
        let index = self.out.dials.end_connect(token).filter(|_| self.stopping.is_none());
        match (index, result) {
            // Peers may have filled the core meanwhile.
            (Some(index), Ok(socket)) if self.has_place(0) => self.win_race(index, token, socket),
            (Some(index), Ok(socket)) => {
                self.close_unwanted(socket);
                self.find_no_place(index, token, Errno(libc::ENFILE));
            }
            (Some(index), Err(errno @ Errno(libc::ENFILE | libc::EMFILE))) => self.find_no_place(index, token, errno),
            (Some(index), Err(errno)) => {
                let (now, dial) = (self.ring.now(), self.out.dials.dial(index));
                if let Some(addr) = dial.race.on_failed(token, errno.into(), now) {
                    tracing::debug!(%addr, %errno, "an address could not be connected to");
                    dial.bad.note(addr, Grade::Failed);
                }
                self.go_on_racing(index);
            }
            (None, Ok(socket)) => {
                planted!(ConnectForgotten, return);
                self.close_unwanted(socket);
            }
            (None, Err(_)) => {}
        }
    }

    /// There is no place here for the socket of this connect, in the ring (ENFILE) or among the descriptors of the process (EMFILE). Another address that
    /// is under way may do without one more, or leave its own: then it is tried again.
    fn find_no_place(&mut self, index: u32, token: Token, errno: Errno) {
        let now = self.ring.now();
        let dial = self.out.dials.dial(index);
        let addr = dial.race.put_back(token).expect("its dial waits for it");
        if dial.race.is_idle() {
            let source = errno.into();
            let full = errno.0 == libc::ENFILE;
            return self.dial_failed(index, if full { DialError::Full } else { DialError::Connect { addr, source } });
        }
        dial.race.put_off(now.plus(dial.target.race_delay.max(AGAIN)));
        self.go_on_racing(index);
    }

    /// The first address has connected. Those that began before it have been overtaken: next time they begin behind it.
    fn win_race(&mut self, index: u32, token: Token, socket: Socket) {
        let dial = self.out.dials.dial(index);
        let (addr, mut overtaken) = dial.race.win(token).expect("its dial waits for it");
        while let Some(runner) = self.out.dials.dial(index).race.pop() {
            if overtaken > 0 {
                overtaken -= 1;
                self.out.dials.dial(index).bad.note(runner.addr, Grade::Failed);
            }
            planted!(RunnersKept, continue);
            self.give_up_connect(runner.token);
        }
        self.out.dials.clear_timer(index);
        self.await_answer(index, socket, addr);
    }

    /// Nobody of this attempt's connects is waited for any more.
    pub(super) fn end_race(&mut self, index: u32) {
        self.out.dials.dial(index).unask();
        while let Some(runner) = self.out.dials.dial(index).race.pop() {
            self.give_up_connect(runner.token);
        }
    }

    fn give_up_connect(&mut self, token: Token) {
        self.out.dials.disown(token);
        self.ring.submit(CANCEL_CONNECT, Op::Cancel { target: token });
    }

    /// Closes a socket that has come for nobody.
    pub(super) fn close_unwanted(&mut self, socket: Socket) {
        let conn = self.take_slot(socket, Phase::Ended, Duration::ZERO);
        self.die(conn);
    }
}

/// How long an address waits that finds no place, at least.
const AGAIN: Duration = Duration::from_millis(10);
