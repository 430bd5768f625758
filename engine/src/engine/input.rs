//! Whether an open connection's messages are taken: who holds them up, and whether more can come.
//!
//! Refuses to know the bytes that wait meanwhile, and the receive that brings them.

use super::planted::planted;

/// Who holds up the messages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nobody,
    /// The handler paused it.
    Paused,
    /// Its output went over the high-water mark and has not fallen below the low one.
    Pressed,
    Both,
}

/// The input of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    hold: Hold,
    /// The peer has sent its last byte.
    pub(crate) eof: bool,
}

impl Input {
    pub(crate) const fn new(eof: bool) -> Self {
        Self { hold: Hold::Nobody, eof }
    }

    /// The same, and the peer has sent its last byte.
    pub(crate) fn past_end(self) -> Self {
        Self { eof: true, ..self }
    }

    /// The decoder may go on.
    #[inline]
    pub(crate) fn takes_messages(self) -> bool {
        planted!(PauseIgnored, return !self.is_pressed());
        planted!(PressureIgnored, return !self.is_paused());
        self.hold == Hold::Nobody
    }

    fn is_paused(self) -> bool {
        matches!(self.hold, Hold::Paused | Hold::Both)
    }

    #[inline]
    pub(crate) fn is_pressed(self) -> bool {
        matches!(self.hold, Hold::Pressed | Hold::Both)
    }

    pub(crate) fn pause(&mut self) {
        self.hold = if self.is_pressed() { Hold::Both } else { Hold::Paused };
    }

    pub(crate) fn resume(&mut self) {
        self.hold = if self.is_pressed() { Hold::Pressed } else { Hold::Nobody };
    }

    pub(crate) fn press(&mut self) {
        self.hold = if self.is_paused() { Hold::Both } else { Hold::Pressed };
    }

    pub(crate) fn relax(&mut self) {
        self.hold = if self.is_paused() { Hold::Paused } else { Hold::Nobody };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every hold, and what each of pause, resume, press and relax makes of it.
    #[test]
    fn a_pause_and_pressure_come_and_go_apart() {
        use Hold::{Both, Nobody, Paused, Pressed};
        let table = [
            (Nobody, [Paused, Nobody, Pressed, Nobody]),
            (Paused, [Paused, Nobody, Both, Paused]),
            (Pressed, [Both, Pressed, Pressed, Nobody]),
            (Both, [Both, Pressed, Both, Paused]),
        ];
        for (hold, after) in table {
            let steps: [fn(&mut Input); 4] = [Input::pause, Input::resume, Input::press, Input::relax];
            for (step, expected) in steps.into_iter().zip(after) {
                let mut input = Input { hold, eof: false };
                step(&mut input);
                assert_eq!(input.hold, expected, "from {hold:?}");
                assert_eq!(input.takes_messages(), expected == Nobody);
            }
        }
    }
}
