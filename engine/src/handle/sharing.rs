//! What a core is told of other processes that have its listeners too.

use std::sync::Arc;

use super::Member;

impl<M> Member<M> {
    /// Which of its listeners another process has too.
    pub(crate) fn share(&self, shared: Arc<[bool]>) {
        self.control.share(shared);
        self.ring();
    }

    /// Has its accepts begin anew.
    pub(crate) fn accept_again(&self) {
        self.control.accept_again();
        self.ring();
    }
}
