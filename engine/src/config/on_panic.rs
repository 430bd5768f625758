//! What may end with a panic: [`OnPanic`].

/// What a callback that panics ends: see [`Config::on_panic`](crate::Config::on_panic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnPanic {
    /// What it was about.
    #[default]
    Close,
    /// Its core, and with it the server.
    Stop,
}
