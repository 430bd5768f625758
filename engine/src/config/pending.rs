//! The setting of requests whose answer is deferred.

use super::Config;

/// Requests that are answered later.
impl Config {
    /// Requests on a core whose answer may be deferred at a time, upgrades and others ([`CoreCx::defer`](crate::CoreCx::defer)); one more is told so
    /// to the handler, and counted ([`Stats::deferred_refused`](crate::Stats::deferred_refused)). Each keeps its head, at most
    /// [`HeadLimits::bytes_max`](crate::HeadLimits::bytes_max), and its place under [`connections_max`](Self::connections_max). At most 1,048,576; 0: nothing is
    /// deferred. Default 1,024.
    #[must_use]
    pub fn pending_max(mut self, requests: u32) -> Self {
        self.topics.pending_max = requests;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!([0, 1, 1 << 20].into_iter().all(|most| Config::default().pending_max(most).check().is_ok()));
        let error = Config::default().pending_max((1 << 20) + 1).check().expect_err("one too many").to_string();
        assert!(error.contains("pending_max"), "{error}");
    }
}
