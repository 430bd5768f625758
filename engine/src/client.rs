//! Runs cores without a listener: [`Client`].

use crate::affinity;
use crate::config::Config;
use crate::cores::{Cpu, InvalidCpu, cpus_of};
use crate::error::Error;
use crate::handle::CoreInfo;
use crate::handler::Handler;
use crate::server::{self, Running};
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
#[derive(Clone, Debug, Default)]
pub struct Client {
    cores: Option<Result<Vec<Cpu>, InvalidCpu>>,
    config: Config,
}

impl Client {
    /// On the first core that the process may use, with default settings.
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
        self.cores = Some(cpus_of(cores));
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
        let cores = self.cores.unwrap_or_else(|| Ok(affinity::allowed().into_iter().take(1).collect()))?;
        server::check(&self.config, &cores)?;
        let sockets = cores.iter().map(|_| Vec::new()).collect();
        server::start_cores(self.config, cores, Vec::new(), sockets, factory)
    }
}
