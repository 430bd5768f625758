//! What holds for one connection where that differs from the settings of its core: [`Terms`].
//!
//! Everything that can be wrong with it is found while it is made, so that a handshake never fails for it. Refuses to know what comes of it: `engine/norms` does.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Deflate, InvalidConfig};
use crate::pressure::Pressure;

/// Limits and timeouts of one connection, where they differ from those of its [`Config`](crate::Config): of one that is accepted by
/// [`Verdict::terms`](crate::Verdict::terms), for example by its path or subprotocol, and of one that is dialled by [`Target::terms`](crate::Target::terms).
/// What is not set here is as the `Config` says. Each may be tighter than there or wider.
///
/// ```
/// use std::time::Duration;
/// use wsring::{CoreCx, Cx, Deflate, Handler, Message, Opening, Terms, Verdict};
///
/// struct Gate {
///     uploads: Terms,
/// }
///
/// impl Handler for Gate {
///     type Conn = ();
///     type Mail = ();
///
///     fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
///         match opening.request.path() {
///             "/upload" => Verdict::accept(()).terms(&self.uploads),
///             _ => Verdict::accept(()),
///         }
///     }
///
///     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
/// }
///
/// let uploads = Terms::default()
///     .message_max_bytes(256 << 20)
///     .frame_max_bytes(256 << 20)
///     .deflate(Deflate::off())?
///     .data_timeout(Duration::from_secs(120))?;
/// let gate = Gate { uploads };
/// # Ok::<(), wsring::InvalidConfig>(())
/// ```
///
/// Make them once and keep them: a clone shares its memory, and connections with equal terms share what their core keeps of them, some 600 bytes, as long as one of
/// them is open. It is in the memory budget ([`Config::memory_max_bytes`](crate::Config::memory_max_bytes)), which bounds what all connections of a core keep, whatever
/// their terms allow each of them. A connection without terms costs nothing more for the terms of others.
///
/// # Errors
/// A value out of its range, or one that contradicts another that is set here: [`InvalidConfig`] names the setting, as in `Config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms(Option<Arc<Values>>);

/// `None`: as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Values {
    pub(crate) message_max_bytes: Option<u64>,
    pub(crate) frame_max_bytes: Option<u64>,
    pub(crate) fragments_max: Option<u32>,
    pub(crate) inflate_ratio_max: Option<u32>,
    pub(crate) output_high_bytes: Option<u32>,
    pub(crate) output_low_bytes: Option<u32>,
    pub(crate) output_max_bytes: Option<u32>,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) pong_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) message_timeout: Option<Option<Duration>>,
    pub(crate) data_timeout: Option<Option<Duration>>,
    pub(crate) lifetime_max: Option<Option<Duration>>,
    pub(crate) closing_timeout: Option<Duration>,
    pub(crate) closing_max: Option<Duration>,
    pub(crate) subscriptions_max: Option<u32>,
    pub(crate) topics_bytes_per_second: Option<Option<u32>>,
}

/// The most that can be queued for a connection.
const OUTPUT_MAX: u32 = 1 << 30;

/// What a peer may send.
impl Terms {
    /// Payload bytes of one message: see [`Limits::message_max_bytes`](crate::Limits#structfield.message_max_bytes). A message of one frame must keep
    /// [`frame_max_bytes`](Self::frame_max_bytes) as well: where this is raised, raise that too; to lower it, this alone is enough.
    #[must_use]
    pub fn message_max_bytes(mut self, bytes: u64) -> Self {
        self.values().message_max_bytes = Some(bytes);
        self
    }

    /// Payload bytes of one data frame: see [`Limits::frame_max_bytes`](crate::Limits#structfield.frame_max_bytes).
    #[must_use]
    pub fn frame_max_bytes(mut self, bytes: u64) -> Self {
        self.values().frame_max_bytes = Some(bytes);
        self
    }

    /// Frames of one message: see [`Limits::fragments_max`](crate::Limits#structfield.fragments_max).
    #[must_use]
    pub fn fragments_max(mut self, frames: u32) -> Self {
        self.values().fragments_max = Some(frames);
        self
    }

    /// How many times their payload compressed messages may inflate to: see [`Limits::inflate_ratio_max`](crate::Limits#structfield.inflate_ratio_max).
    #[must_use]
    pub fn inflate_ratio_max(mut self, ratio: u32) -> Self {
        self.values().inflate_ratio_max = Some(ratio);
        self
    }

    /// Compression of this connection, instead of [`Config::deflate`](crate::Config::deflate): what is answered to a client's offer, or offered to a server.
    /// [`Deflate::off`] allows none. It may be on where the `Config` has it off, and the other way round. With [`Deflate::shared`] all connections of a core with the
    /// same [level](field@wsring_proto::deflate::Settings::level) share a compressor, of 0.3 MiB for each window that is in use;
    /// [`peer_windows_max`](field@wsring_proto::deflate::Settings::peer_windows_max) is compared with the windows of all peers of the core.
    ///
    /// # Errors
    /// [`InvalidConfig`]: `deflate.` and the setting that is out of its range.
    pub fn deflate(mut self, settings: Deflate) -> Result<Self, InvalidConfig> {
        self.values().deflate = Some(settings);
        self.checked()
    }
}

/// What may be queued for it.
impl Terms {
    /// Bytes queued above which the application is told so: see [`Config::output_high_bytes`](crate::Config::output_high_bytes). At most 1 GiB.
    ///
    /// Of the three marks those that are not set are the `Config`'s, or as near to them as those allow that are set: setting this one alone above
    /// [`Config::output_max_bytes`](crate::Config::output_max_bytes) raises that to it, and below [`Config::output_low_bytes`](crate::Config::output_low_bytes) lowers that.
    ///
    /// # Errors
    /// [`InvalidConfig`]: above 1 GiB, or on the wrong side of another mark that is set here.
    pub fn output_high_bytes(mut self, bytes: u32) -> Result<Self, InvalidConfig> {
        self.values().output_high_bytes = Some(bytes);
        self.checked()
    }

    /// Bytes queued from which down [`on_writable`](crate::Handler::on_writable) is called: see
    /// [`Config::output_low_bytes`](crate::Config::output_low_bytes). At most 1 GiB.
    ///
    /// # Errors
    /// As [`output_high_bytes`](Self::output_high_bytes).
    pub fn output_low_bytes(mut self, bytes: u32) -> Result<Self, InvalidConfig> {
        self.values().output_low_bytes = Some(bytes);
        self.checked()
    }

    /// Bytes queued beyond which `send` refuses, and what waits of topics with them: see
    /// [`Config::output_max_bytes`](crate::Config::output_max_bytes). At most 1 GiB.
    ///
    /// # Errors
    /// As [`output_high_bytes`](Self::output_high_bytes).
    pub fn output_max_bytes(mut self, bytes: u32) -> Result<Self, InvalidConfig> {
        self.values().output_max_bytes = Some(bytes);
        self.checked()
    }

    /// Whether messages of its peer are taken while its output is high, in either role: see [`Config::pressure_accepted`](crate::Config::pressure_accepted).
    /// [`Verdict::pressure`](crate::Verdict::pressure) and [`Target::pressure`](crate::Target::pressure) come before it.
    #[must_use]
    pub fn pressure(mut self, pressure: Pressure) -> Self {
        self.values().pressure = Some(pressure);
        self
    }

    /// Subscriptions that it may have, at least 1: see [`Config::subscriptions_max`](crate::Config::subscriptions_max).
    ///
    /// # Errors
    /// [`InvalidConfig`]: none.
    pub fn subscriptions_max(mut self, subscriptions: u32) -> Result<Self, InvalidConfig> {
        self.values().subscriptions_max = Some(subscriptions);
        self.checked()
    }

    /// Bytes a second that topics give to it from its opening on, at least 1: see
    /// [`Config::topics_bytes_per_second`](crate::Config::topics_bytes_per_second). `None`: as many as its socket takes.
    ///
    /// # Errors
    /// [`InvalidConfig`]: 0.
    pub fn topics_bytes_per_second(mut self, bytes: impl Into<Option<u32>>) -> Result<Self, InvalidConfig> {
        self.values().topics_bytes_per_second = Some(bytes.into());
        self.checked()
    }
}

/// Its deadlines, all of them longer than nothing.
impl Terms {
    /// Silence after which its peer is pinged: see [`Config::idle_timeout`](crate::Config::idle_timeout). `None` never: a peer that has vanished is
    /// then found by the send timeout, [`data_timeout`](Self::data_timeout) or [`lifetime_max`](Self::lifetime_max) alone.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Result<Self, InvalidConfig> {
        self.values().idle_timeout = Some(timeout.into());
        self.checked()
    }

    /// How long its peer may stay silent once it was pinged: see [`Config::pong_timeout`](crate::Config::pong_timeout).
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn pong_timeout(mut self, timeout: Duration) -> Result<Self, InvalidConfig> {
        self.values().pong_timeout = Some(timeout);
        self.checked()
    }

    /// How long its peer may take nothing of what is queued: see [`Config::send_timeout`](crate::Config::send_timeout). Where neither sets it, it is the
    /// idle timeout of this connection, and 60 s if that has none.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn send_timeout(mut self, timeout: Duration) -> Result<Self, InvalidConfig> {
        self.values().send_timeout = Some(timeout);
        self.checked()
    }

    /// How long a message that has begun to come may take: see [`Config::message_timeout`](crate::Config::message_timeout). `None` for ever.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Result<Self, InvalidConfig> {
        self.values().message_timeout = Some(timeout.into());
        self.checked()
    }

    /// How long it may bring no message: see [`Config::data_timeout`](crate::Config::data_timeout). `None` for ever.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn data_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Result<Self, InvalidConfig> {
        self.values().data_timeout = Some(timeout.into());
        self.checked()
    }

    /// How long it may last: see [`Config::lifetime_max`](crate::Config::lifetime_max). `None` for ever.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn lifetime_max(mut self, time: impl Into<Option<Duration>>) -> Result<Self, InvalidConfig> {
        self.values().lifetime_max = Some(time.into());
        self.checked()
    }

    /// How long its peer has to answer a Close, and may take nothing before it is reset: see [`Config::closing_timeout`](crate::Config::closing_timeout). At a stop
    /// not longer than [`Config::stop_timeout`](crate::Config::stop_timeout).
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn closing_timeout(mut self, timeout: Duration) -> Result<Self, InvalidConfig> {
        self.values().closing_timeout = Some(timeout);
        self.checked()
    }

    /// How long it may be closing altogether: see [`Config::closing_max`](crate::Config::closing_max). Never less than the closing timeout.
    ///
    /// # Errors
    /// [`InvalidConfig`]: zero.
    pub fn closing_max(mut self, time: Duration) -> Result<Self, InvalidConfig> {
        self.values().closing_max = Some(time);
        self.checked()
    }
}

impl Terms {
    /// What is set, if anything is.
    pub(crate) fn set(&self) -> Option<&Values> {
        self.0.as_deref()
    }

    /// How messages are compressed, where the core's settings are these.
    pub(crate) fn deflate_or(&self, configured: Deflate) -> Deflate {
        self.set().and_then(|values| values.deflate).unwrap_or(configured)
    }

    /// To set something.
    fn values(&mut self) -> &mut Values {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    fn checked(self) -> Result<Self, InvalidConfig> {
        self.set().map_or(Ok(()), Values::check)?;
        Ok(self)
    }
}

impl Values {
    fn check(&self) -> Result<(), InvalidConfig> {
        let no_time = Some(Duration::ZERO);
        let fits = |bytes: Option<u32>| bytes.is_none_or(|bytes| bytes <= OUTPUT_MAX);
        let ordered = |less: Option<u32>, more: Option<u32>| less.zip(more).is_none_or(|(less, more)| less <= more);
        let (low, high, max) = (self.output_low_bytes, self.output_high_bytes, self.output_max_bytes);
        let rules = [
            (self.idle_timeout != Some(no_time), "idle_timeout", "must be longer than nothing; None never pings"),
            (self.pong_timeout != no_time, "pong_timeout", "must be longer than nothing"),
            (self.send_timeout != no_time, "send_timeout", "must be longer than nothing"),
            (
                self.message_timeout != Some(no_time),
                "message_timeout",
                "must be longer than nothing; None waits for ever",
            ),
            (self.data_timeout != Some(no_time), "data_timeout", "must be longer than nothing; None waits for ever"),
            (self.lifetime_max != Some(no_time), "lifetime_max", "must be longer than nothing; None is for ever"),
            (self.closing_timeout != no_time, "closing_timeout", "must be longer than nothing"),
            (self.closing_max != no_time, "closing_max", "must be longer than nothing"),
            (fits(low), "output_low_bytes", "must be at most 1 GiB"),
            (fits(high), "output_high_bytes", "must be at most 1 GiB"),
            (fits(max), "output_max_bytes", "must be at most 1 GiB"),
            (ordered(low, high), "output_low_bytes", "must not be above output_high_bytes"),
            (ordered(low, max), "output_low_bytes", "must not be above output_max_bytes"),
            (ordered(high, max), "output_high_bytes", "must not be above output_max_bytes"),
            (self.subscriptions_max != Some(0), "subscriptions_max", "must be at least 1"),
            (
                self.topics_bytes_per_second != Some(Some(0)),
                "topics_bytes_per_second",
                "must be at least 1; None bounds nothing",
            ),
        ];
        if let Some((_, setting, rule)) = rules.into_iter().find(|(holds, ..)| !holds) {
            return Err(InvalidConfig { setting, rule });
        }
        self.deflate.map_or(Ok(()), |deflate| Ok(deflate.check()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_makes_no_sense_is_named() {
        type Set = fn(Terms) -> Result<Terms, InvalidConfig>;
        // One step past each limit.
        let wrong: [(&str, Set); 17] = [
            ("idle_timeout", |terms| terms.idle_timeout(Duration::ZERO)),
            ("pong_timeout", |terms| terms.pong_timeout(Duration::ZERO)),
            ("send_timeout", |terms| terms.send_timeout(Duration::ZERO)),
            ("message_timeout", |terms| terms.message_timeout(Duration::ZERO)),
            ("data_timeout", |terms| terms.data_timeout(Duration::ZERO)),
            ("lifetime_max", |terms| terms.lifetime_max(Duration::ZERO)),
            ("closing_timeout", |terms| terms.closing_timeout(Duration::ZERO)),
            ("closing_max", |terms| terms.closing_max(Duration::ZERO)),
            ("output_max_bytes", |terms| terms.output_max_bytes(OUTPUT_MAX + 1)),
            ("output_high_bytes", |terms| terms.output_high_bytes(OUTPUT_MAX + 1)),
            ("output_low_bytes", |terms| terms.output_low_bytes(OUTPUT_MAX + 1)),
            ("output_high_bytes", |terms| terms.output_max_bytes(99)?.output_high_bytes(100)),
            ("output_low_bytes", |terms| terms.output_low_bytes(100)?.output_high_bytes(99)),
            ("output_low_bytes", |terms| terms.output_low_bytes(100)?.output_max_bytes(99)),
            ("subscriptions_max", |terms| terms.subscriptions_max(0)),
            ("topics_bytes_per_second", |terms| terms.topics_bytes_per_second(0)),
            ("deflate.window_bits", |terms| terms.deflate(Deflate::shared().window_bits(8))),
        ];
        for (setting, set) in wrong {
            assert_eq!(set(Terms::default()).expect_err(setting).setting(), setting);
        }
        // The last that passes.
        let right: [Set; 12] = [
            |terms| terms.idle_timeout(MS)?.idle_timeout(None),
            |terms| terms.pong_timeout(MS),
            |terms| terms.send_timeout(MS),
            |terms| terms.message_timeout(MS)?.message_timeout(None),
            |terms| terms.data_timeout(MS)?.data_timeout(None),
            |terms| terms.lifetime_max(MS)?.lifetime_max(None),
            |terms| terms.closing_timeout(MS)?.closing_max(MS),
            |terms| terms.output_max_bytes(OUTPUT_MAX)?.output_high_bytes(OUTPUT_MAX)?.output_low_bytes(OUTPUT_MAX),
            |terms| terms.output_max_bytes(0)?.output_high_bytes(0)?.output_low_bytes(0),
            |terms| terms.subscriptions_max(1),
            |terms| terms.topics_bytes_per_second(1)?.topics_bytes_per_second(None),
            |terms| terms.deflate(Deflate::shared().window_bits(9)),
        ];
        for set in right {
            assert!(set(Terms::default()).is_ok());
        }
    }

    #[test]
    fn a_clone_is_apart_once_it_is_changed() {
        let one = Terms::default().message_max_bytes(100);
        let other = one.clone().message_max_bytes(200);
        let bytes = |terms: &Terms| terms.set().and_then(|values| values.message_max_bytes);
        assert_eq!((bytes(&one), bytes(&other)), (Some(100), Some(200)));
        assert_eq!(one, Terms::default().message_max_bytes(100), "equal by what they say");
        assert_ne!(one, Terms::default());
    }
}
