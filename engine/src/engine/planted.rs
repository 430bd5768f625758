//! Bugs on purpose, one at a time, that the simulation must catch: see `tests/planted.rs` and `docs/simulation.md`.
//!
//! Outside of tests and of the feature `planted` this is nothing at all: [`planted!`] takes its honest branch at compile time.

/// `planted!(Bug, statement)` runs the statement if that bug is planted; `planted!(Bug, wrong; right)` chooses.
macro_rules! planted {
    ($bug:ident, $wrong:expr; $right:expr) => {{
        #[cfg(any(test, feature = "planted"))]
        let value =
            if $crate::engine::planted::is_planted($crate::engine::planted::Bug::$bug) { $wrong } else { $right };
        #[cfg(not(any(test, feature = "planted")))]
        let value = $right;
        value
    }};
    ($bug:ident, $wrong:expr) => {
        #[cfg(any(test, feature = "planted"))]
        #[allow(clippy::redundant_locals, clippy::semicolon_if_nothing_returned, reason = "one macro for all bugs")]
        if $crate::engine::planted::is_planted($crate::engine::planted::Bug::$bug) {
            $wrong;
        }
    };
}
pub(crate) use planted;

#[cfg(any(test, feature = "planted"))]
mod switch {
    use std::cell::Cell;

    /// A deliberate bug.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Bug {
        /// A multishot receive that ended is not submitted again.
        LostRearm,
        /// A receive that found no buffer is not submitted again.
        LostStarved,
        /// A receive buffer is never given back.
        LeaseKept,
        /// A second send is submitted while the first is with the kernel.
        TwoSends,
        /// The rest of a short send is dropped.
        ShortSendLost,
        /// A socket is closed while its receive is armed.
        CloseUnderRecv,
        /// A slot is free for reuse before its close has completed.
        SlotReusedEarly,
        /// `on_close` is not called.
        OnCloseLost,
        /// What is called late in a pass is not followed by `on_batch_end`.
        BatchEndLost,
        /// Bytes that arrive while paused are dropped.
        StashLost,
        /// Bytes that arrive while older ones are stashed overtake them.
        StashOvertaken,
        /// The simulated kernel is given a receive buffer back twice.
        LeaseTwice,
        /// The rest of a short send goes to the back of the output.
        ShortSendLast,
        /// The peer's end is acted on before the bytes that came ahead of it.
        EofFirst,
        /// A moved message takes the first place of the output instead of its own.
        PromiseMisplaced,
        /// Memory that the application shared is not let go when it has been sent.
        SharedKept,
        /// The header of a message in shared memory goes behind it.
        SharedHeadLate,
        /// A Close is answered by closing alone.
        CloseFrameLost,
        /// The next owner of a slot has the generation of the last.
        GenerationKept,
        /// A socket is closed, and its slot free for reuse, while a cancel has not completed.
        CancelForgotten,
        /// A connection that dies before its request is complete goes on reading it.
        HeadAfterDeath,
        /// Messages are handed out although the handler paused.
        PauseIgnored,
        /// Output over the high-water mark does not stop the input.
        PressureIgnored,
        /// Output over the high-water mark stops the input of a connection that is read on.
        ReadOnPressed,
        /// Output that has fallen to the low-water mark still counts as high.
        RelaxLost,
        /// Who takes nothing of high output, and is not read, has all the time in the world.
        OutputUntimed,
        /// Every ping is answered, however many pongs wait.
        PongsPiled,
        /// A ping is not answered.
        PongLost,
        /// `on_writable` is not called.
        WritableLost,
        /// A long send goes in parts also when it lies in a send block, and all behind the first part is dropped.
        BlockParted,
        /// A connect that succeeds after its dial was given up is forgotten.
        ConnectForgotten,
        /// A connect that takes too long is not cancelled.
        ConnectKept,
        /// When an address has won the others run on.
        RunnersKept,
        /// A timer of a dial that was replaced or cleared still counts.
        DialTimerKept,
        /// A connection that ended is still thought to be its dial's.
        DialTied,
        /// What a client sends has no mask.
        MaskLost,
        /// A heartbeat goes out behind a Close.
        BeatAfterClose,
        /// A stop leaves dials as they are.
        StopForgetsDials,
        /// A dial made while the core stops is never told that it failed.
        LateDialLost,
        /// All of a refusal's body is kept.
        BodyKept,
        /// A failed attempt is not counted.
        AttemptUncounted,
        /// A refusal whose body comes in chunks goes on when the last of them has come.
        ChunksUnended,
        /// An answer is read with its fields in several lines.
        FoldKept,
        /// A server that says when to come back is dialled as any other.
        RetryAfterIgnored,
        /// A wait that the application sets is passed over.
        WaitUnset,
        /// An attempt dials what the one before it did, whatever it was given.
        TargetStale,
        /// An attempt that waits for its target dials the first that it is given, whatever comes behind that.
        FirstTargetKept,
        /// A dial whose connection was the last takes waits and targets for an attempt that never comes.
        LastUntold,
        /// A server that declines is asked again when it says so, although nobody heeds that.
        DeafAskedAgain,
        /// A connection that the application cuts ends in order, behind all that is queued.
        AbortInOrder,
        /// The probe says that the kernel closes direct descriptors at once, and it does not.
        ProbeBelieves,
        /// What a short send left of a TLS record is dropped.
        RestLost,
        /// TLS says no goodbye.
        GoodbyeLost,
        /// What TLS answers in a handshake does not go out.
        FlightLost,
        /// A piece of output is not given back when all of it is encrypted.
        PlainKept,
        /// Frames in the same segment as the request are dropped.
        FramesBehindHead,
        /// Half of a request that comes in pieces is dropped.
        HeadPieceLost,
        /// Compressed messages are agreed on, and then not understood.
        DeflateUnread,
        /// A connection over the cap is told of a broken server.
        FullMisnamed,
        /// A compressor keeps its window although the peer keeps none.
        TakeoverUnasked,
        /// A prepared message is taken for the one before.
        PreparedStale,
        /// The next owner of a slot has the compressor of the last.
        PackerKept,
        /// A compressed message is not marked as one.
        CompressedUnmarked,
        /// An accept that ended is taken for one that goes on.
        AcceptLost,
        /// An accept that failed is never tried again.
        RetryLost,
        /// A slot keeps the address of its first peer.
        AddressOfEarlier,
        /// The client that a PROXY header tells of is not taken for the peer.
        ProxyUnheard,
        /// A PROXY header that comes in pieces loses some of its bytes.
        ProxyPieceLost,
        /// Who has gone is still counted among those of its network.
        CrowdKept,
        /// A network has as many connections as come from it.
        CrowdIgnored,
        /// Who was turned away is served.
        TurnedAwayServed,
        /// Nobody gives way to a newcomer.
        SilentStay,
        /// Who has given way counts against the cap until its socket is closed.
        DisplacedKept,
        /// A second accept is submitted while the first is with the kernel.
        TwoAccepts,
        /// Nobody who waits for a buffer is ever received from.
        ShortageStill,
        /// A deadline comes after half of its time.
        DeadlineEarly,
        /// Ticks are compared as if their counter did not wrap.
        TickUnwrapped,
        /// A deadline takes the place of another in the same tick.
        SlotOverwritten,
        /// Callbacks see no call of io_uring_enter(2) counted.
        EntersUnseen,
        /// Deadlines are looked at although not everything that had come has been read.
        UnreadCut,
        /// A compressed message is queued in memory of the length that it had before.
        PackedWide,
        /// Nobody is closed however much memory is in use.
        BudgetIgnored,
        /// Those who hold least are closed first.
        SmallestClosed,
        /// Who was not read while memory was tight is not read afterwards.
        HoldKept,
        /// Memory that several share counts for each.
        SharedTwice,
        /// A message that many are sent takes in what lies between it and those before.
        TrailUnbroken,
        /// Messages that many are sent are written to before they have gone.
        TrailReused,
        /// The memory of messages that many were sent does not come back.
        TrailKept,
        /// What is dialled in a pass is forgotten when a server's answer opens a connection.
        AnswerDialLost,
        /// A failed send ends a connection, whatever its peer has said.
        LastWordsLost,
        /// A connection over TLS is closed behind the two Closes, before the peer has said goodbye.
        GoodbyeUnawaited,
        /// A connection is closed in order whatever the kernel keeps for its peer.
        KeptAll,
        /// A peer whose time is over is cut although it takes what is sent to it.
        ProgressUnseen,
        /// A peer's time to answer begins before the kernel has what it is to answer.
        AnswerHurried,
        /// What is sent between two looks at a peer is taken for what it has not taken.
        SentUncounted,
        /// A peer that does not answer a ping is not told why it is cut.
        CutUntold,
        /// A peer that takes nothing is closed in order instead of reset.
        CutKept,
        /// A peer that takes what is sent to it is waited for without end.
        WholeUnbounded,
        /// The peer of a connection whose callback panicked is not told.
        PanicUntold,
        /// A panic is not counted.
        PanicUncounted,
        /// A message that a callback sent on before it panicked does not move to its place.
        PromiseForgotten,
        /// A handler whose panic ends the core is called on.
        PanicOutlived,
        /// What waits for subscribers does not count to the core's memory.
        WaitingUncounted,
        /// A walk over all connections misses the last.
        VisitMissed,
        /// A stale id finds the state of whoever has its slot now.
        StateOfStale,
        /// A listener is closed although connections wait there.
        QueueForgotten,
        /// A listener is closed although handshakes of TCP are under way.
        TripForgotten,
        /// A stop closes requests in progress without an answer.
        HeadForgotten,
        /// A message that has begun may take for ever.
        StallIgnored,
        /// A message must be whole in one round, however long it is.
        ProgressUncounted,
        /// A connection has as much of a pass as it likes.
        ShareIgnored,
        /// Connections that a long pass did not come to are forgotten.
        TurnLost,
        /// They let those who come after them go first.
        TurnTaken,
        /// A timer comes when half of its time is over.
        TimerEarly,
        /// A timer of the core that has come is not told.
        TimerLost,
        /// A timer that was cancelled comes nevertheless.
        TimerAfterCancel,
        /// A connection's timers outlive it.
        TimerOfDeadConnection,
        /// A timer that repeats comes a period behind when it was told, not behind when it was due.
        TimerDrift,
        /// Of timers of one time the one that was set last comes first.
        TimersBackwards,
        /// The loop does not wake for a timer.
        TimersSleptOver,
        /// A tick comes a period behind the last one, not behind when that was due.
        TickDrift,
        /// A tick is not told.
        TickUntold,
        /// The subscriber behind one that a publish drops a message of is passed over.
        SubscriberSkipped,
        /// A message of a topic goes at once although older ones wait.
        NewerOvertakes,
        /// A message takes the place of one with another key.
        ConflatedWithAny,
        /// A message that another took the place of is not counted.
        ConflatedUncounted,
        /// A message that stands for several says that it stands for one.
        MergedUncounted,
        /// A message that was dropped is not counted.
        DropUncounted,
        /// A key that was taken away is retained.
        GhostRetained,
        /// What is retained is the first message, not the last.
        RetainedStale,
        /// A message says that the one before it was given, whatever was dropped.
        GapUnseen,
        /// A message goes although one of its key went a moment ago.
        RateIgnored,
        /// A message that was held is forgotten when its time comes.
        HeldLost,
        /// A message that may not be conflated overtakes what waits for its topic.
        TradeOvertakes,
        /// What waits for a connection outlives it.
        LaneKept,
        /// The time that a lane has waited begins anew with what takes a place in it.
        LagOfNewest,
        /// The application is not told what a connection missed.
        LagUntold,
        /// Pieces that follow the newest message of a key are what that was first.
        FollowsStale,
        /// What was conflated while a publish did not come to a subscription is not counted.
        FollowedUncounted,
        /// A publish does not come to a subscription that follows and whose piece of the key has gone.
        BareForgotten,
        /// Pieces in front of a message that may not be conflated become what is newer than that.
        TradeFollowed,
        /// Topics give a connection more bytes a second than its rate.
        ByteRateIgnored,
        /// A letter is read before the one in front of it.
        MailReordered,
        /// A letter is taken and not read.
        MailLost,
        /// What was published from elsewhere comes behind the next letter.
        PublishOvertakes,
        /// What was published from elsewhere is not published.
        PublishLost,
        /// Letters that a pass has not read wait for somebody to wake the core.
        WakeLost,
        /// Letters that found no room are not counted.
        MailUncounted,
        /// Letters that were not read are not counted.
        UnreadUncounted,
        /// A pass has as many steps of TLS handshakes as there are.
        HandshakesFree,
        /// Those that must wait are forgotten.
        HandshakeLost,
        /// The answer to a request that waits is taken and not sent.
        AnswerForgotten,
        /// An answer goes to whichever request waits on the connection's slot now.
        AnswerOfAnother,
        /// What comes behind a request for an upgrade that waits is dropped.
        BehindLost,
        /// A request that waited, and whose connection has ended, still counts as one that waits.
        GonePending,
        /// However many requests wait, one more may.
        PendingUnbounded,
        /// A request that waits has all the time in the world.
        DeferredForEver,
        /// A stop leaves requests that wait as they are.
        StopForgetsDeferred,
        /// Answers for requests that wait no more are not counted.
        LateUncounted,
        /// Some connections of a core that is drained are never told to go.
        DrainForgets,
        /// All of them are told at once.
        DrainAtOnce,
        /// A core that is drained opens WebSockets.
        DrainOpens,
        /// A drain has no deadline.
        DrainWithoutEnd,
        /// A connection that broke while its core was drained is not counted.
        DrainMiscounts,
        /// The limits of a connection are those of the one in the slot beside its own.
        TermsOfAnother,
        /// The next owner of a slot has the limits of the last.
        TermsKept,
    }

    impl Bug {
        /// Every bug.
        pub const ALL: [Bug; 166] = [
            Bug::LostRearm,
            Bug::LostStarved,
            Bug::LeaseKept,
            Bug::TwoSends,
            Bug::ShortSendLost,
            Bug::CloseUnderRecv,
            Bug::SlotReusedEarly,
            Bug::OnCloseLost,
            Bug::BatchEndLost,
            Bug::StashLost,
            Bug::StashOvertaken,
            Bug::LeaseTwice,
            Bug::ShortSendLast,
            Bug::EofFirst,
            Bug::PromiseMisplaced,
            Bug::SharedKept,
            Bug::SharedHeadLate,
            Bug::CloseFrameLost,
            Bug::GenerationKept,
            Bug::CancelForgotten,
            Bug::HeadAfterDeath,
            Bug::PauseIgnored,
            Bug::PressureIgnored,
            Bug::ReadOnPressed,
            Bug::RelaxLost,
            Bug::OutputUntimed,
            Bug::PongsPiled,
            Bug::PongLost,
            Bug::WritableLost,
            Bug::BlockParted,
            Bug::ConnectForgotten,
            Bug::ConnectKept,
            Bug::RunnersKept,
            Bug::DialTimerKept,
            Bug::DialTied,
            Bug::MaskLost,
            Bug::BeatAfterClose,
            Bug::StopForgetsDials,
            Bug::LateDialLost,
            Bug::BodyKept,
            Bug::AttemptUncounted,
            Bug::ChunksUnended,
            Bug::FoldKept,
            Bug::RetryAfterIgnored,
            Bug::WaitUnset,
            Bug::TargetStale,
            Bug::FirstTargetKept,
            Bug::LastUntold,
            Bug::DeafAskedAgain,
            Bug::AbortInOrder,
            Bug::ProbeBelieves,
            Bug::RestLost,
            Bug::GoodbyeLost,
            Bug::FlightLost,
            Bug::PlainKept,
            Bug::FramesBehindHead,
            Bug::HeadPieceLost,
            Bug::DeflateUnread,
            Bug::FullMisnamed,
            Bug::TakeoverUnasked,
            Bug::PreparedStale,
            Bug::PackerKept,
            Bug::CompressedUnmarked,
            Bug::AcceptLost,
            Bug::RetryLost,
            Bug::AddressOfEarlier,
            Bug::ProxyUnheard,
            Bug::ProxyPieceLost,
            Bug::CrowdKept,
            Bug::CrowdIgnored,
            Bug::TurnedAwayServed,
            Bug::SilentStay,
            Bug::DisplacedKept,
            Bug::TwoAccepts,
            Bug::ShortageStill,
            Bug::DeadlineEarly,
            Bug::TickUnwrapped,
            Bug::SlotOverwritten,
            Bug::EntersUnseen,
            Bug::UnreadCut,
            Bug::AnswerDialLost,
            Bug::PackedWide,
            Bug::LastWordsLost,
            Bug::GoodbyeUnawaited,
            Bug::KeptAll,
            Bug::ProgressUnseen,
            Bug::AnswerHurried,
            Bug::SentUncounted,
            Bug::CutUntold,
            Bug::CutKept,
            Bug::WholeUnbounded,
            Bug::PanicUntold,
            Bug::PanicUncounted,
            Bug::PromiseForgotten,
            Bug::PanicOutlived,
            Bug::WaitingUncounted,
            Bug::VisitMissed,
            Bug::StateOfStale,
            Bug::QueueForgotten,
            Bug::TripForgotten,
            Bug::HeadForgotten,
            Bug::StallIgnored,
            Bug::ProgressUncounted,
            Bug::BudgetIgnored,
            Bug::SmallestClosed,
            Bug::HoldKept,
            Bug::SharedTwice,
            Bug::TrailUnbroken,
            Bug::TrailReused,
            Bug::TrailKept,
            Bug::ShareIgnored,
            Bug::TurnLost,
            Bug::TurnTaken,
            Bug::TimerEarly,
            Bug::TimerLost,
            Bug::TimerAfterCancel,
            Bug::TimerOfDeadConnection,
            Bug::TimerDrift,
            Bug::TimersBackwards,
            Bug::TimersSleptOver,
            Bug::TickDrift,
            Bug::TickUntold,
            Bug::SubscriberSkipped,
            Bug::NewerOvertakes,
            Bug::ConflatedWithAny,
            Bug::ConflatedUncounted,
            Bug::MergedUncounted,
            Bug::DropUncounted,
            Bug::GhostRetained,
            Bug::RetainedStale,
            Bug::GapUnseen,
            Bug::RateIgnored,
            Bug::HeldLost,
            Bug::TradeOvertakes,
            Bug::LaneKept,
            Bug::LagOfNewest,
            Bug::LagUntold,
            Bug::FollowsStale,
            Bug::FollowedUncounted,
            Bug::BareForgotten,
            Bug::TradeFollowed,
            Bug::ByteRateIgnored,
            Bug::MailReordered,
            Bug::MailLost,
            Bug::PublishOvertakes,
            Bug::PublishLost,
            Bug::WakeLost,
            Bug::MailUncounted,
            Bug::UnreadUncounted,
            Bug::HandshakesFree,
            Bug::HandshakeLost,
            Bug::AnswerForgotten,
            Bug::AnswerOfAnother,
            Bug::BehindLost,
            Bug::GonePending,
            Bug::PendingUnbounded,
            Bug::DeferredForEver,
            Bug::StopForgetsDeferred,
            Bug::LateUncounted,
            Bug::DrainForgets,
            Bug::DrainAtOnce,
            Bug::DrainOpens,
            Bug::DrainWithoutEnd,
            Bug::DrainMiscounts,
            Bug::TermsOfAnother,
            Bug::TermsKept,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants one bug in all engines of this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
#[cfg(any(test, feature = "planted"))]
pub(crate) use switch::is_planted;
#[cfg(any(test, feature = "planted"))]
pub use switch::{Bug, plant};
