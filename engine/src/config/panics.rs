//! The setting of what the application may do wrong. Refuses to know who catches a panic.

use super::{Config, OnPanic};

/// What the application may do wrong.
impl Config {
    /// What a callback that panics ends. Default [`OnPanic::Close`]: what it was about. Where that is a connection, a request or an attempt, everybody else lives on.
    ///
    /// | a panic in | ends |
    /// |---|---|
    /// | `on_open`, `on_message`, `on_writable`, `on_lagged`, `on_pong`, `on_conn_timer` | its connection: what was queued goes out, then a Close with 1011; `on_close` is told [`CloseReason::Panicked`](crate::CloseReason::Panicked) |
    /// | what a topic [writes](crate::Topic::write) or [merges](crate::Topic::merge) with | each subscriber that it was called for, in the same way; of a message that is retained, every later subscriber too |
    /// | `on_upgrade`, `on_admit`, `on_request` | its request, which is answered 500 |
    /// | `on_answer`, `on_redial`, `on_reconnect`, `on_resolved` | its attempt, with [`DialError::Panicked`](crate::DialError::Panicked); the target's policy may dial again |
    /// | `on_close`, `on_dial_failed` | nothing more than what it was told of |
    /// | `on_start`, `on_wake`, `on_mail`, `on_timer`, `on_tick`, `on_batch_end` | its core |
    ///
    /// The last line is a peer's to reach as well, if what it sent goes unchecked into mail, or into state that a tick works on: check it in
    /// `on_message`, where a panic costs one connection.
    ///
    /// Each is counted ([`Stats::panics`](crate::Stats::panics)) and told to the log. The handler goes on being called, so what one callback has half done is seen by
    /// the next. With [`OnPanic::Stop`] each ends its core: for tests, whose failed assertions nobody may swallow, and where a
    /// restart is better than a handler in doubt.
    ///
    /// A core that ends so calls its handler no more but for messages of the same pass: its peers are told 1011 and have
    /// [`stop_timeout`](Self::stop_timeout) to answer, then the panic goes on, [`Running::join`](crate::Running::join) stops the other cores and
    /// returns [`Error::Panicked`](crate::Error::Panicked). [`Handle::state`](crate::Handle::state) says at once that it has failed.
    ///
    /// A failed assertion of the engine's own, also inside of a callback, is not of the application's making and ends its core at once: its sockets
    /// are closed by the kernel. So does a panic while what the application gave away or left behind is dropped outside of
    /// callbacks. In a program that is built with `panic = "abort"` any panic ends the process.
    #[must_use]
    pub fn on_panic(mut self, what: OnPanic) -> Self {
        self.on_panic = what;
        self
    }
}
