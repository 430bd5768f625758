//! Owns the counters of one core: what came, what went, and what was not delivered. Nothing is lost silently: every
//! message that is not sent is counted here and reported to the caller.

use std::fmt;
use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one core, or their sum; all since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Each counter with its name, in this order: for whoever shows all of them in a form of its own, such as a page of metrics.
            ///
            /// ```
            /// let text: String = wsring::Stats::default().pairs().map(|(name, value)| format!("wsring_{name} {value}\n")).collect();
            /// assert!(text.contains("wsring_messages 0\n"));
            /// ```
            pub fn pairs(self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        impl AddAssign for Stats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        /// `name=value` pairs on one line.
        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut pairs = self.pairs();
                if let Some((name, value)) = pairs.next() {
                    write!(f, "{name}={value}")?;
                }
                pairs.try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
        }
    };
}

counters! {
    /// Calls of io_uring_enter(2); on epoll, all of the ring's system calls.
    enters,
    /// Passes of the loop.
    passes,
    /// Messages handed to `on_message`.
    messages,
    /// Messages taken by `send`.
    sent,
    /// Of those, messages that were compressed.
    compressed,
    /// Messages refused because the connection's output was at its cap.
    refused,
    /// Messages for connections that were closing.
    gone,
    /// Messages that were published to a topic.
    published,
    /// Those encoded for a subscriber, once for each. They are not in `sent`.
    delivered,
    /// Messages of topics that waited for a subscriber and another took the place of.
    conflated,
    /// Messages of topics that were dropped or refused for a subscriber.
    dropped,
    /// Pings that were not answered, because a later one was before their pong could have gone (RFC 6455 §5.5.3 allows that): see
    /// [`Pressure::ReadOn`](crate::Pressure::ReadOn).
    pings_passed_over,
    /// Messages of peers that came behind our Close and are not handed out (RFC 6455 §1.4): see
    /// [`Conn::close`](crate::Conn::close).
    discarded,
    /// Connections accepted by the kernel.
    accepted,
    /// Connections made by dials, whatever the server then answered.
    connected,
    /// Attempts of dials that failed.
    dials_failed,
    /// Connections that became WebSockets.
    opened,
    /// WebSockets that are open: `on_open` has been called for them, `on_close` has not. It goes down as well.
    open,
    /// Connections that ended, of any kind: also those that never opened, such as plain requests and refused handshakes.
    closed,
    /// Connections that [`on_accept`](crate::Handler::on_accept) did not take.
    turned_away,
    /// Connections that were not served because as many came from their network as may: closed at once, or answered 429
    /// ([`Config::crowd_max`](crate::Config::crowd_max)).
    crowded,
    /// Connections to a listener that requires a PROXY header ([`ProxyProtocol`](crate::ProxyProtocol)) that began with something else, or ended in the
    /// middle of one, whoever ended them: a deadline, a stop and a core that is full as well. One that ended before its first byte is none of these.
    proxy_failed,
    /// Connections answered 503 because the core was at its connection cap.
    full,
    /// Connections that were accepted, had not asked for anything yet when the core was at its connection cap, and gave way to others: the one that
    /// has been silent for longest, which is closed; or, if all have begun, one whose request, which is answered 503, or TLS handshake has
    /// not become whole for a second.
    displaced,
    /// Connections answered 503 because the core's memory was tight.
    memory_refused,
    /// Connections ended because the core's memory was used up and they held most of it: see
    /// [`Config::memory_max_bytes`](crate::Config::memory_max_bytes).
    memory_closed,
    /// Bytes that peers have the core keep in this moment, by that setting's count. It goes down as well.
    memory_bytes,
    /// Handshakes and plain requests answered with a status other than 101 and 2xx.
    declined,
    /// Requests whose answer was deferred ([`CoreCx::defer`](crate::CoreCx::defer)): each comes to one of the next four.
    deferred,
    /// Of those, the ones that wait in this moment. It goes down as well.
    pending,
    /// Those that the application answered, whatever its answer.
    deferred_answered,
    /// Those that were told 503, because the handshake timeout, the core's stop or a drain came before an answer.
    deferred_expired,
    /// Those whose connection ended before: the peer had gone, or the core's memory was used up.
    deferred_gone,
    /// Requests that could not be deferred, because as many were as [`Config::pending_max`](crate::Config::pending_max) allows.
    deferred_refused,
    /// Answers for requests that waited no more.
    answers_late,
    /// Connections failed for what the peer sent (RFC 6455 §7.1.7).
    violations,
    /// Connections ended by a deadline.
    timeouts,
    /// Connections that the application cut: see [`Conn::abort`](crate::Conn::abort).
    aborted,
    /// Connections ended by an error of the socket.
    resets,
    /// Connections whose TLS failed: in the handshake, or later by a broken record or a fatal alert.
    tls_failed,
    /// Callbacks that panicked.
    panics,
    /// Timers that came: calls of `on_timer` and `on_conn_timer`.
    timers,
    /// Times at which timers that repeat were to come as well, but for a pass that was late: see [`Fired::missed`](crate::Fired::missed).
    timers_missed,
    /// Ticks: calls of `on_tick`.
    ticks,
    /// Ticks for which the core was too late: see [`Tick::missed`](crate::Tick::missed).
    ticks_missed,
    /// Microseconds by which ticks were late, all together.
    ticks_late_us,
    /// Calls of [`on_mail`](crate::Handler::on_mail).
    mails,
    /// Letters that a full mailbox did not take: mail, and what a [`Handle`](crate::Handle) would have sent, published or closed. As of the last time that
    /// the core looked.
    mail_refused,
    /// What a [`Handle`](crate::Handle) sent to, or closed, when that connection was over.
    mail_gone,
    /// Letters that were taken and not read, because the core ended.
    mail_unread,
    /// Drains that began: of one core, at most 1. What came of it is in the next six ([`Stats::drain_report`]).
    drains,
    /// Accepted connections that were open when it began. Each comes to one of the next four.
    drain_open,
    /// Those that were told to go, and answered.
    drain_closed,
    /// Those that were told to go, and ended without an answer.
    drain_unanswered,
    /// Those that ended by themselves before their turn.
    drain_left,
    /// Those whose turn had not come when the core was stopped, or came to the deadline.
    drain_stopped,
    /// Requests for a WebSocket that were answered 503 because the core was being drained. They are in `declined` as well.
    drain_refused,
    /// Receives that found no free buffer and were submitted again.
    starved,
    /// Accepts that failed for want of sockets, descriptors or memory, or for a reason that has nothing to do with one connection.
    accept_errors,
    /// Bytes received.
    bytes_in,
    /// Bytes taken by sockets.
    bytes_out,
}
