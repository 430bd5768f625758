//! What other threads want of a core: entered when the ring was woken.
//!
//! Owns the order in which that is looked at, and how many letters a pass reads: the others wait for the next, so that connections have
//! their turn in between.

use super::core::Core;
use super::mailbox::Letter;
use super::planted::planted;
use super::tokens::WAKE;
use crate::handler::{Handler, OwnedMessage};
use crate::ring::{Op, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn on_woken(&mut self) {
        self.ring.submit(WAKE, Op::Wake);
        let question = self.control.question();
        if self.control.take_woken() {
            self.calls.woken(&mut self.out);
            self.ring.expect_more();
        }
        self.read_letters();
        for (lookup, found) in self.control.take_resolved() {
            self.on_resolved(lookup, found);
        }
        for drain in self.control.take_drains() {
            self.take_up_drain(&drain);
        }
        self.hear_shared();
        self.out.stop_accepting |= self.control.must_stop_accepting();
        if self.control.must_stop() && self.stopping.is_none() {
            self.begin_stop();
        }
        self.count_letters();
        if let Some(question) = question {
            self.control.answer(question, self.stats());
        }
    }

    /// At most a pass's share; if there are more, the ring comes back at once.
    fn read_letters(&mut self) {
        for read in 0..self.letters_max {
            // A handler that has failed is called no more: what is left is unread.
            if self.calls.has_failed() {
                return;
            }
            let Some(letter) = self.mailbox.take() else { return };
            if read == 0 {
                self.ring.expect_more();
            }
            planted!(
                MailReordered,
                if let Some(later) = self.mailbox.take() {
                    self.read(later)
                }
            );
            planted!(
                PublishOvertakes,
                if matches!(letter, Letter::Publish(..))
                    && let Some(later) = self.mailbox.take()
                {
                    self.read(later)
                }
            );
            planted!(
                MailLost,
                if read == 3 {
                    continue;
                }
            );
            self.read(letter);
            self.out.forgive(); // it is no connection's work
        }
        self.mailbox.go_on();
    }

    fn read(&mut self, letter: Letter<H::Mail>) {
        match letter {
            Letter::Mail(mail) => self.calls.mail(&mut self.out, mail),
            Letter::Send(id, OwnedMessage { opcode, bytes }) => match self.out.peers.find_open(id) {
                // What becomes of it is counted; nobody waits for an answer.
                Some(index) => _ = self.out.send_owned(index, opcode, bytes),
                None => self.out.stats.mail_gone += 1,
            },
            Letter::Publish(topic, how, OwnedMessage { opcode, bytes }) => {
                planted!(PublishLost, return);
                // The counters of the topic say what became of it.
                _ = self.out.publish(topic.index(), how, opcode, &bytes);
            }
            Letter::Admit(pending, found) => self.on_admit(pending, found),
            Letter::Respond(pending, response) => self.on_response(pending, &response),
            Letter::Close(id, code, reason) => match self.out.peers.find_open(id) {
                Some(index) => self.out.flush_and_close(index, code, &reason),
                None => self.out.stats.mail_gone += 1,
            },
            Letter::Retarget(id, target) => {
                let is_taken = self.out.dials.retarget(id, *target);
                self.out.stats.mail_gone += u64::from(!is_taken);
            }
        }
    }

    /// What senders have counted.
    pub(super) fn count_letters(&mut self) {
        self.out.stats.mail_refused = self.mailbox.refused();
        self.out.stats.mail_unread = self.mailbox.unread();
    }
}
