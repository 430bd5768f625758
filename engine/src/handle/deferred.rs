//! Answers to requests that were deferred: how they go to the core on which a request waits.

use super::{Handle, Member};
use crate::engine::{Letter, MailError, Pending};
use crate::handler::Response;

impl<M> Member<M> {
    pub(crate) fn admit(&self, pending: Pending, found: M) -> Result<(), MailError<M>> {
        self.mailbox.post(Letter::Admit(pending, found)).map_err(|error| {
            error.map(|letter| match letter {
                Letter::Admit(_, found) => found,
                _ => unreachable!("what was posted comes back"),
            })
        })
    }

    #[allow(clippy::result_large_err, reason = "a response that could not be left is given back as it is")]
    pub(crate) fn respond(&self, pending: Pending, response: Response) -> Result<(), MailError<Response>> {
        self.mailbox.post(Letter::Respond(pending, Box::new(response))).map_err(|error| {
            error.map(|letter| match letter {
                Letter::Respond(_, response) => *response,
                _ => unreachable!("what was posted comes back"),
            })
        })
    }
}

impl<M> Handle<M> {
    /// Says what was found out about a request that [waits](crate::CoreCx::defer): [`on_admit`](crate::Handler::on_admit) is called on its core with that and the
    /// request, and accepts or rejects it. Does not wait. `Ok` says that it is in the mailbox of that core. If the request waits no more by then, because its peer has
    /// gone, its time was over, the core has begun to stop, or it has been answered, what was found is dropped and counted ([`Stats::answers_late`](crate::Stats::answers_late)).
    ///
    /// # Errors
    /// [`MailError`], with what was found: a mailbox that is full has room again after a pass, and who gives up leaves the request to its deadline.
    /// [`MailError::Gone`] also for a request on another server's core that this one does not have.
    pub fn admit(&self, pending: Pending, found: M) -> Result<(), MailError<M>> {
        match self.find(pending.place()) {
            Some(member) => member.admit(pending, found),
            None => Err(MailError::Gone(found)),
        }
    }

    /// Answers a request that [waits](crate::CoreCx::defer), without asking the handler again: a plain one, or one for an upgrade that gets none, as
    /// [`Verdict::reject`](crate::Verdict::reject) would. Else as [`Self::admit`].
    ///
    /// # Errors
    /// [`MailError`], with the response.
    #[allow(clippy::result_large_err, reason = "a response that could not be left is given back as it is")]
    pub fn respond(&self, pending: Pending, response: Response) -> Result<(), MailError<Response>> {
        match self.find(pending.place()) {
            Some(member) => member.respond(pending, response),
            None => Err(MailError::Gone(response)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cores::Place;
    use crate::engine::{Bell, Deferrals, Names};

    /// Room for two letters; what does not fit comes back, and so does what is for a core of somebody else.
    #[test]
    fn an_answer_that_is_not_taken_comes_back() {
        let member = Member::new(Bell::new(|| ()), 2);
        let handle: Handle<u8> = Handle::new(Place::new(3), [member], Arc::new(Names::new(1)));
        let of = |place| Deferrals::new(Place::new(place), 1).give(5, 0).expect("there is room for one");
        assert_eq!(handle.admit(of(2), 7), Err(MailError::Gone(7)));
        assert!(
            matches!(handle.respond(of(4), Response::new(b"no".to_vec())), Err(MailError::Gone(response)) if response.body() == b"no")
        );
        assert_eq!(handle.admit(of(3), 7), Ok(()));
        assert!(handle.respond(of(3), Response::new(Vec::new())).is_ok());
        assert_eq!(handle.admit(of(3), 8), Err(MailError::Full(8)));
        assert!(
            matches!(handle.respond(of(3), Response::new(b"no".to_vec())), Err(MailError::Full(response)) if response.body() == b"no")
        );
        let reader = handle.member(Place::new(3)).reader();
        assert!(matches!(reader.take(), Some(Letter::Admit(pending, 7)) if pending == of(3)));
        assert!(matches!(reader.take(), Some(Letter::Respond(pending, _)) if pending == of(3)));
    }
}
