//! What a new attempt of a dial connects to: [`Redial`].

use crate::target::Target;

/// What a new attempt dials, as [`Handler::on_redial`](crate::Handler::on_redial) says.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums)] // the engine must handle each
pub enum Redial {
    /// What the attempt before it dialled, or what [`CoreCx::retarget`](crate::CoreCx::retarget) has given since.
    Same,
    /// This, from now on: with a token that is fresh, at another address.
    To(Box<Target>),
    /// What is not known yet: another thread asks for a token, say. The attempt waits for [`CoreCx::retarget`](crate::CoreCx::retarget) or
    /// [`Handle::retarget`](crate::Handle::retarget), as long as the [`connect_timeout`](Target::connect_timeout) of the target before it, and
    /// fails with [`DialError::NoTarget`](crate::DialError::NoTarget) then.
    Later,
}

impl From<Target> for Redial {
    fn from(target: Target) -> Self {
        Self::To(Box::new(target))
    }
}
