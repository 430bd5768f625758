//! Answers that come later: how a callback has a request wait.

use super::callbacks::{CoreCx, Handler};
use super::opening::Opening;
use super::verdict::Response;
use crate::engine::panics::ours;
use crate::engine::{Pending, PendingFull};

impl<H: Handler> CoreCx<'_, H> {
    /// Has the request wait that this callback is asked about, [`on_upgrade`](crate::Handler::on_upgrade), [`on_request`](crate::Handler::on_request) or
    /// [`on_admit`](crate::Handler::on_admit): its answer comes later, by a [`Handle`](crate::Handle) and from any thread, while the core goes on. Return the name
    /// from `on_upgrade` and `on_admit` as [`Verdict::defer`](crate::Verdict::defer), from `on_request` as `Response::from(pending)`; anything else that these
    /// return is the answer, and the name is stale.
    ///
    /// [`Handle::admit`](crate::Handle::admit) has `on_admit` called on this core, with the request and whatever was found. [`Handle::respond`](crate::Handle::respond)
    /// answers without that. Of several answers the first counts.
    ///
    /// The time of a request that waits is what is left of [`Config::handshake_timeout`](crate::Config::handshake_timeout), from its accept on: then its client is told
    /// 503, and so it is when the core stops. A client that goes before is forgotten; one that has sent more than its request, against RFC 6455 §4.1, may be noticed only when it is answered, and what it
    /// has sent by then is handled behind `on_open`, in order. What becomes of all of them is counted, from [`Stats::deferred`](crate::Stats::deferred) on.
    ///
    /// ```
    /// use std::sync::mpsc::SyncSender;
    /// use wsring::http::StatusCode;
    /// use wsring::{CoreCx, Cx, Handler, Message, Opening, Pending, Verdict};
    ///
    /// /// Tokens that another thread looks up, and answers by `handle.admit(pending, user)`.
    /// struct Door(SyncSender<(Pending, String)>);
    ///
    /// impl Handler for Door {
    ///     type Conn = String;
    ///     type Mail = Option<String>;
    ///     fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
    ///         let Some(token) = opening.request.header_str("authorization") else {
    ///             return Verdict::reject_status(StatusCode::UNAUTHORIZED);
    ///         };
    ///         match cx.defer(opening) {
    ///             Ok(pending) if self.0.try_send((pending, token.to_owned())).is_ok() => Verdict::defer(pending),
    ///             _ => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
    ///         }
    ///     }
    ///     fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, user: Option<String>) -> Verdict<String> {
    ///         user.map_or(Verdict::reject_status(StatusCode::UNAUTHORIZED), Verdict::accept)
    ///     }
    ///     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// }
    /// ```
    ///
    /// # Errors
    /// If as many wait on this core as [`Config::pending_max`](crate::Config::pending_max) allows. Answer 503 then, which says that one may try again.
    pub fn defer(&mut self, opening: &Opening<'_>) -> Result<Pending, PendingFull> {
        ours(|| {
            let given = self.out.pending.give(opening.index, self.out.stats.pending);
            self.out.stats.deferred_refused += u64::from(given.is_err());
            given
        })
    }
}

/// What [`on_request`](crate::Handler::on_request) returns when the answer comes later: see [`CoreCx::defer`](crate::CoreCx::defer). It is sent to nobody: where something
/// else than `on_request` gives it for an answer, by [`Verdict::reject`](crate::Verdict::reject) or [`Handle::respond`](crate::Handle::respond), that is a fault of the application, its client
/// gets 500, and the log a line.
impl From<Pending> for Response {
    fn from(pending: Pending) -> Self {
        let mut response = Response::new(Vec::new());
        response.extensions_mut().insert(pending);
        response
    }
}
