//! Runs cores without a listener: [`Client`].

use crate::affinity;
use crate::config::Config;
use crate::handler::Handler;
use crate::server::{self, Error, Running};

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
/// Client::new().run(move |_core| Feed(target.clone()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client {
    cores: Option<Vec<usize>>,
    config: Config,
}

impl Client {
    /// On the first core that the process may use, with default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs on these cores (numbers as in taskset(1)), one thread each.
    #[must_use]
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = Some(cores.into_iter().collect());
        self
    }

    /// Replaces the settings. Those of listeners and of opening handshakes that we answer have no effect.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Runs until SIGINT or SIGTERM, or until every core was told to [`stop`](crate::CoreCx::stop).
    ///
    /// `factory` makes each core's handler, on that core's thread; it is given the core's place in the list of cores.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Running::join`].
    pub fn run<H: Handler>(self, factory: impl Fn(usize) -> H + Send + Sync + 'static) -> Result<(), Error> {
        server::run_until_signal(|| self.start(factory))
    }

    /// Starts the threads and returns when all of them run.
    ///
    /// # Errors
    /// As [`Server::start`](crate::Server::start), but for [`Error::Bind`].
    pub fn start<H: Handler>(self, factory: impl Fn(usize) -> H + Send + Sync + 'static) -> Result<Running, Error> {
        let cores = self.cores.unwrap_or_else(|| affinity::allowed().into_iter().take(1).collect());
        server::check(&self.config, &cores)?;
        let sockets = cores.iter().map(|_| Vec::new()).collect();
        server::start_cores(self.config, cores, Vec::new(), sockets, factory)
    }
}
