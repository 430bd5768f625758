//! What the application does beside what a callback is for: whatever a handler may, to any connection, from anywhere.

use wsring::{ConnId, Message};

use super::super::oracle::Digest;
use super::{App, Core};

impl App {
    /// Whatever a handler may do although the connection that it is asked about is not open yet.
    pub(super) fn act_early(&mut self, cx: &mut Core<'_>) {
        self.check_stats(cx);
        let Some(early) = self.early.take() else { return };
        let random = std::mem::replace(&mut self.random, early);
        self.act(cx, None, None);
        self.early = Some(std::mem::replace(&mut self.random, random));
    }

    /// Whatever a handler may do, from any callback.
    pub(super) fn act(&mut self, cx: &mut Core<'_>, own: Option<ConnId>, message: Option<Message<'_>>) {
        self.check_stats(cx);
        self.act_on_dials(cx);
        self.mail_itself(cx);
        self.act_on_topics(cx);
        self.act_on_timers(cx, own);
        self.cut_somebody(cx, own);
        while self.random.chance(self.wild) {
            let other = if self.random.chance(300) { own } else { self.somebody() };
            let Some(id) = other else { return };
            match self.random.below(17) {
                0 => self.close(cx, id),
                1..=3 => self.pause(cx, id),
                4 => self.resume_one(cx),
                5..=7 => self.forward_to(cx, id, message.unwrap_or(Message::Text("nothing in particular"))),
                8 => self.send_to(cx, id, message.unwrap_or(Message::Text("nothing in particular"))),
                9 => {
                    // The same message to several: only one of them can be given its memory.
                    let message = message.unwrap_or(Message::Binary(&[9; 300]));
                    let many = self.world.packs || message.as_bytes().len().is_multiple_of(2);
                    let prepared = many.then(|| cx.prepare(message));
                    for _ in 0..3 {
                        let id = self.somebody().unwrap_or(id);
                        match &prepared {
                            None => self.forward_to(cx, id, message),
                            Some(prepared) => {
                                let Some(mut conn) = self.conn(cx, id) else { continue };
                                let outcome = conn.send_prepared(prepared);
                                let digest = Digest::of(matches!(message, Message::Text(_)), message.as_bytes());
                                self.sent(id, digest, outcome);
                            }
                        }
                    }
                }
                10 => self.send_to(cx, id, Message::Binary(&[])),
                11 => {
                    let len = self.random.below(3_000) as usize;
                    self.send_to(cx, id, Message::Binary(&vec![5; len]));
                }
                12 => {
                    let part = message.map_or(&[][..], |message| message.as_bytes());
                    let half = &part[part.len() / 2..];
                    self.send_to(cx, id, Message::Binary(half));
                }
                13 => self.give(cx, id, message.unwrap_or(Message::Binary(&[7; 2_000]))),
                14 => self.write(cx, id, message.unwrap_or(Message::Text("written in place"))),
                15 => self.set_pressure(cx, id),
                _ => assert!(cx.unsent(id) < 1 << 30),
            }
        }
    }
}
