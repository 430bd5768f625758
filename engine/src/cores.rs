//! The two numbers that a core has: [`Cpu`], which the kernel gave, and [`Place`], which the list of cores gives; and how far its life
//! has come ([`CoreState`]).

use std::convert::Infallible;
use std::fmt;

/// A CPU, by the kernel's number as in taskset(1): what [`Server::cores`](crate::Server::cores) lists.
///
/// It is made of any integer, `Cpu::try_from(3)`, and need not be the number of a CPU that exists: starting on one that does
/// not is [`Error::Pin`](crate::Error::Pin).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpu(u16);

impl Cpu {
    /// The CPU of this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// Its number.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<u8> for Cpu {
    fn from(number: u8) -> Self {
        Self(number.into())
    }
}

impl From<u16> for Cpu {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

macro_rules! cpu_from {
    ($($integer:ty),*) => {$(
        impl TryFrom<$integer> for Cpu {
            type Error = InvalidCpu;

            fn try_from(number: $integer) -> Result<Self, InvalidCpu> {
                u16::try_from(number).map(Self).map_err(|_| InvalidCpu(number as i128))
            }
        }
    )*};
}

cpu_from!(i8, i16, i32, u32, i64, u64, isize, usize);

/// A number that no CPU can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the number of a CPU: those are 0 to 65535")]
pub struct InvalidCpu(i128);

impl InvalidCpu {
    /// The number.
    pub fn number(&self) -> i128 {
        self.0
    }
}

/// So that a list of [`Cpu`]s will do where one of integers does.
impl From<Infallible> for InvalidCpu {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A core's place in the list of cores that a server or client runs on, from 0 to 255. It numbers what the cores have: their
/// counters in [`Running::join`](crate::Running::join), their handlers, their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u8);

impl Place {
    /// How many there are at most.
    pub const COUNT_MAX: usize = 256;

    /// The place of this number, from 0.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number, from 0: an index into what there is one of for each core.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// The first `count` places, at most all of them.
    pub(crate) fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..=u8::MAX).take(count).map(Self)
    }
}

/// Its number.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// CPUs of integers, or the first number that is none of a CPU.
pub(crate) fn cpus_of<C>(cpus: impl IntoIterator<Item = C>) -> Result<Vec<Cpu>, InvalidCpu>
where
    C: TryInto<Cpu, Error: Into<InvalidCpu>>,
{
    cpus.into_iter().map(|cpu| cpu.try_into().map_err(Into::into)).collect()
}

/// How far the life of a core has come: see [`Handle::state`](crate::Handle::state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreState {
    /// It is being made.
    Starting,
    /// It serves.
    Running,
    /// It is being drained: it takes no more WebSockets, and parts with those that it has.
    Draining,
    /// It was told to stop, and gives its peers their time.
    Stopping,
    /// It has stopped.
    Ended,
    /// A panic ends it, a panic or its ring's failure ended it, or it could not be made. Peers that it still has are being told 1011.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_integer_names_a_cpu_if_it_fits() {
        assert_eq!(cpus_of([0, 65_535]), Ok(vec![Cpu::new(0), Cpu::new(65_535)]));
        assert_eq!(cpus_of([3_usize]), cpus_of([Cpu::new(3)]));
        assert_eq!(cpus_of([1, 65_536, -1]), Err(InvalidCpu(65_536)), "the first that does not fit");
        assert_eq!(
            cpus_of([-1]).expect_err("no CPU").to_string(),
            "-1 is not the number of a CPU: those are 0 to 65535"
        );
        assert_eq!(cpus_of([u64::MAX]).expect_err("no CPU").number(), u64::MAX.into());
    }

    #[test]
    fn there_is_a_place_for_each_of_256_cores_and_no_more() {
        assert_eq!(Place::first(2).collect::<Vec<_>>(), [Place::new(0), Place::new(1)]);
        assert_eq!(Place::first(usize::MAX).count(), Place::COUNT_MAX);
        assert_eq!(Place::first(Place::COUNT_MAX).last().map(Place::index), Some(255));
    }
}
