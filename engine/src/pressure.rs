//! What becomes of a connection's input while its output waits: [`Pressure`].

/// What the engine does while more than [`Config::output_high_bytes`](crate::Config::output_high_bytes) are queued for a
/// connection. The application is told either way: by [`SendOutcome::High`](crate::SendOutcome::High), and by
/// [`Handler::on_writable`](crate::Handler::on_writable) once no more than
/// [`output_low_bytes`](crate::Config::output_low_bytes) are left.
///
/// | | memory is bounded by | two ends that both have a backlog |
/// |---|---|---|
/// | `PauseReading` | what the peer asks for is not read, so it cannot make us queue more | stand still if the other does so too, until the [`send_timeout`](crate::Config::send_timeout) of one of them |
/// | `ReadOn` | [`output_max_bytes`](crate::Config::output_max_bytes), beyond which `send` refuses | always move |
///
/// [`Config::pressure_accepted`](crate::Config::pressure_accepted) and
/// [`pressure_dialled`](crate::Config::pressure_dialled) are the defaults of both roles,
/// [`Verdict::pressure`](crate::Verdict::pressure), [`Target::pressure`](crate::Target::pressure) and [`Terms::pressure`](crate::Terms::pressure) are for one
/// connection, and [`Conn::set_pressure`](crate::Conn::set_pressure) changes it while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pressure {
    /// Nothing more is taken from the peer until the output has drained; it feels TCP's back-pressure. For whoever answers:
    /// an echo loses nothing and never grows. Default of connections that were accepted.
    PauseReading,
    /// Messages are taken on. For output that the application queues on its own account: it stops at `High`, and goes on
    /// at `on_writable`. Of the pings that come meanwhile the last is answered, as RFC 6455 §5.5.3 allows; the others are
    /// counted ([`Stats::pings_passed_over`](crate::Stats::pings_passed_over)). Default of connections that were dialled.
    ReadOn,
}
