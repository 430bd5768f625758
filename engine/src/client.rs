//! Runs cores without a listener: [`Client`].

use crate::config::Config;
use crate::cores::{Cpu, InvalidCpu, cpus_of};
use crate::error::Error;
use crate::handle::CoreInfo;
use crate::handler::Handler;
use crate::listening::Listening;
use crate::placing::{Wanted, place};
use crate::running::Running;
use crate::server;
use crate::stats::Stats;

/// Cores that only dial out. (A server's handler dials in the same way, on the cores that it has.)
///
/// ```no_run
/// use wsring::{Answered, Client, CoreCx, Cx, Dialled, Handler, Message, Reconnect, Target, Verdict};
///
/// struct Feed(Target);
///
/// impl Handler for Feed {
///     type Conn = ();
///     type Mail = ();
///     fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
///         cx.connect(self.0.clone());
///     }
///     fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
///         Some(())
///     }
///     fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
///         let _ = cx.send(r#"{"subscribe":"trades"}"#);
///     }
///     fn on_message(&mut self, _: &mut Cx<'_, Self>, message: Message<'_>) {
///         println!("{message:?}");
///     }
/// }
///
/// let target = Target::new("ws://127.0.0.1:9001/feed")?.reconnect(Reconnect::default());
/// Client::new().run(move |_| Feed(target.clone()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    cores: Wanted,
    config: Config,
}

impl Default for Client {
    fn default() -> Self {
        Self { cores: Wanted::AtMost(1), config: Config::default() }
    }
}

impl Client {
    /// On one core, with default settings. Its CPU is the one of the process's affinity mask to which the fewest cores of this process are pinned when
    /// it starts, so that several clients do not share one while others are free.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs on these CPUs (numbers as in taskset(1)), one thread each: see [`Server::cores`](crate::Server::cores).
    #[must_use]
    pub fn cores<C>(mut self, cores: impl IntoIterator<Item = C>) -> Self
    where
        C: TryInto<Cpu, Error: Into<InvalidCpu>>,
    {
        self.cores = Wanted::Named(cpus_of(cores));
        self
    }

    /// Replaces the settings. Those of listeners and of opening handshakes that we answer have no effect.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Runs until SIGINT or SIGTERM, or until every core was told to [`stop_core`](crate::CoreCx::stop_core).
    ///
    /// `factory` makes each core's handler, on that core's thread. Returns the counters of each core, by place.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Running::join`].
    pub fn run<H: Handler>(
        self,
        factory: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
    ) -> Result<Vec<Stats>, Error> {
        server::run_until_signal(|| self.start(factory))
    }

    /// Starts the threads and returns when all of them run.
    ///
    /// # Errors
    /// As [`Server::start`](crate::Server::start), but for [`Error::Bind`].
    pub fn start<H: Handler>(
        self,
        factory: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
    ) -> Result<Running<H::Mail>, Error> {
        let places = place(self.cores, self.config.pinned)?;
        server::check(&self.config, &places.cpus)?;
        let listening = Listening::nowhere(places.cpus.len());
        server::start_cores(self.config, places, listening, None, factory)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc;

    use super::*;
    use crate::affinity;

    struct Idle;

    impl Handler for Idle {
        type Conn = ();
        type Mail = ();

        fn on_message(&mut self, _: &mut crate::Cx<'_, Self>, _: crate::Message<'_>) {}
    }

    /// A client, and the CPUs that its thread may run on.
    fn start(pinned: bool) -> (Running, Vec<Cpu>) {
        let (told, tells) = mpsc::channel();
        let client = Client::new().config(Config::default().pinned(pinned));
        let running = client.start(move |_| {
            told.send(affinity::allowed()).expect("the test waits");
            Idle
        });
        (running.expect("it starts"), tells.recv().expect("it was made"))
    }

    fn stop(running: Running) {
        running.handle().stop();
        running.join().expect("a good end");
    }

    /// No other test of this program pins a core.
    #[test]
    fn clients_share_a_cpu_only_if_none_is_free() {
        let all = affinity::allowed();
        for _ in 0..2 {
            let started: Vec<_> = (0..3).map(|_| start(true)).collect();
            let used: BTreeSet<Vec<Cpu>> = started.iter().map(|(_, cpus)| cpus.clone()).collect();
            let free: Vec<Vec<Cpu>> = all.iter().take(3).map(|&cpu| vec![cpu]).collect();
            assert_eq!(used.into_iter().collect::<Vec<_>>(), free, "of {all:?}");
            for (running, cpus) in started {
                assert!(running.is_pinned() && running.cores() == cpus);
                stop(running); // and its CPU is free again
            }
        }
    }

    #[test]
    fn a_client_that_is_not_pinned_may_run_anywhere() {
        let (running, cpus) = start(false);
        assert!(!running.is_pinned() && cpus == affinity::allowed());
        stop(running);
    }
}
