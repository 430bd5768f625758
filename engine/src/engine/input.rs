//! Whether an open connection's messages are taken: who holds them up, whether its output is high, and whether that holds them
//! up too.
//!
//! Refuses to know the bytes that wait meanwhile, the receive that brings them, and how much output is much.

use super::planted::planted;
use crate::pressure::Pressure;

/// Three facts in one byte of an open connection: whether the handler has paused it, whether its output is high (it went over the
/// high-water mark and has not fallen to the low one), and what high output does. In an order in which each question that the path
/// of a message asks is one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// Nobody holds it up; high output would.
    Nobody,
    /// Nobody, and high output would not.
    ReadsOn,
    /// Nobody, and its output is high.
    HighReadsOn,
    /// Its output is high, and that holds it up.
    Pressed,
    /// The same, and the handler has paused it.
    PressedPaused,
    /// The handler has paused it; its output is high, which alone would not hold it up.
    HighPaused,
    /// The handler has paused it; high output would hold it up too.
    Paused,
    /// The handler has paused it; high output would not hold it up.
    ReadsOnPaused,
}

impl Hold {
    const fn of(paused: bool, high: bool, pressure: Pressure) -> Self {
        match (paused, high, pressure) {
            (false, false, Pressure::PauseReading) => Self::Nobody,
            (false, false, Pressure::ReadOn) => Self::ReadsOn,
            (false, true, Pressure::ReadOn) => Self::HighReadsOn,
            (false, true, Pressure::PauseReading) => Self::Pressed,
            (true, true, Pressure::PauseReading) => Self::PressedPaused,
            (true, true, Pressure::ReadOn) => Self::HighPaused,
            (true, false, Pressure::PauseReading) => Self::Paused,
            (true, false, Pressure::ReadOn) => Self::ReadsOnPaused,
        }
    }

    #[inline]
    fn is_paused(self) -> bool {
        self >= Self::PressedPaused
    }

    #[inline]
    fn is_high(self) -> bool {
        self >= Self::HighReadsOn && self <= Self::HighPaused
    }

    fn pressure(self) -> Pressure {
        match self {
            Self::Nobody | Self::Pressed | Self::PressedPaused | Self::Paused => Pressure::PauseReading,
            Self::ReadsOn | Self::HighReadsOn | Self::HighPaused | Self::ReadsOnPaused => Pressure::ReadOn,
        }
    }
}

/// The input of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    hold: Hold,
    /// The peer has sent its last byte.
    pub(crate) eof: bool,
}

impl Input {
    /// Of a connection that high output holds up, until [`Self::set_pressure`] says otherwise.
    pub(crate) const fn new(eof: bool) -> Self {
        Self { hold: Hold::Nobody, eof }
    }

    /// Of a connection from which nothing is taken any more.
    pub(crate) const fn shut(eof: bool) -> Self {
        Self { hold: Hold::Paused, eof }
    }

    /// The same, and the peer has sent its last byte.
    pub(crate) fn past_end(self) -> Self {
        Self { eof: true, ..self }
    }

    /// The decoder may go on.
    #[inline]
    pub(crate) fn takes_messages(self) -> bool {
        planted!(PauseIgnored, return self.hold != Hold::Pressed && self.hold != Hold::PressedPaused);
        planted!(PressureIgnored, return !self.hold.is_paused());
        planted!(ReadOnPressed, return self.hold <= Hold::ReadsOn);
        self.hold <= Hold::HighReadsOn
    }

    /// What the peer says is no sign that it will ever take what is queued for it: it is timed by what it takes.
    #[inline]
    pub(crate) fn is_timed_by_output(self) -> bool {
        self.hold >= Hold::HighReadsOn
    }

    /// Its output went over the high-water mark and has not fallen to the low one.
    #[inline]
    pub(crate) fn is_high(self) -> bool {
        self.hold.is_high()
    }

    /// The same, of one that is read on.
    #[inline]
    pub(crate) fn is_high_and_read(self) -> bool {
        self.hold == Hold::HighReadsOn
    }

    pub(crate) fn pause(&mut self) {
        self.hold = Hold::of(true, self.hold.is_high(), self.hold.pressure());
    }

    pub(crate) fn resume(&mut self) {
        self.hold = Hold::of(false, self.hold.is_high(), self.hold.pressure());
    }

    /// Its output went over the high-water mark.
    pub(crate) fn press(&mut self) {
        self.hold = Hold::of(self.hold.is_paused(), true, self.hold.pressure());
    }

    /// Its output fell to the low-water mark.
    pub(crate) fn relax(&mut self) {
        planted!(RelaxLost, return);
        self.hold = Hold::of(self.hold.is_paused(), false, self.hold.pressure());
    }

    pub(crate) fn set_pressure(&mut self, pressure: Pressure) {
        self.hold = Hold::of(self.hold.is_paused(), self.hold.is_high(), pressure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every hold, what each step makes of it, and what it answers.
    #[test]
    fn a_pause_and_high_output_come_and_go_apart() {
        use Hold::{HighPaused, HighReadsOn, Nobody, Paused, Pressed, PressedPaused, ReadsOn, ReadsOnPaused};
        let steps: [fn(&mut Input); 6] = [
            Input::pause,
            Input::resume,
            Input::press,
            Input::relax,
            |input| input.set_pressure(Pressure::PauseReading),
            |input| input.set_pressure(Pressure::ReadOn),
        ];
        // After each step; then whether messages are taken, the output is high, and the peer is timed by what it takes.
        let table = [
            (Nobody, [Paused, Nobody, Pressed, Nobody, Nobody, ReadsOn], [true, false, false]),
            (ReadsOn, [ReadsOnPaused, ReadsOn, HighReadsOn, ReadsOn, Nobody, ReadsOn], [true, false, false]),
            (HighReadsOn, [HighPaused, HighReadsOn, HighReadsOn, ReadsOn, Pressed, HighReadsOn], [true, true, true]),
            (Pressed, [PressedPaused, Pressed, Pressed, Nobody, Pressed, HighReadsOn], [false, true, true]),
            (
                PressedPaused,
                [PressedPaused, Pressed, PressedPaused, Paused, PressedPaused, HighPaused],
                [false, true, true],
            ),
            (
                HighPaused,
                [HighPaused, HighReadsOn, HighPaused, ReadsOnPaused, PressedPaused, HighPaused],
                [false, true, true],
            ),
            (Paused, [Paused, Nobody, PressedPaused, Paused, Paused, ReadsOnPaused], [false, false, true]),
            (
                ReadsOnPaused,
                [ReadsOnPaused, ReadsOn, HighPaused, ReadsOnPaused, Paused, ReadsOnPaused],
                [false, false, true],
            ),
        ];
        for (hold, after, answers) in table {
            let input = Input { hold, eof: false };
            assert_eq!([input.takes_messages(), input.is_high(), input.is_timed_by_output()], answers, "{hold:?}");
            assert_eq!(input.is_high_and_read(), hold == HighReadsOn);
            for (step, expected) in steps.into_iter().zip(after) {
                let mut input = input;
                step(&mut input);
                assert_eq!(input.hold, expected, "from {hold:?}");
            }
        }
    }
}
