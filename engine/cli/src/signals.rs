//! What signals do to `wsring serve`, and the options that say so: each stops it, or the first SIGTERM drains it.

use std::time::Duration;

use signal_hook::consts::SIGTERM;
use wsring::{CloseCode, Drain, Handle};

use crate::seconds::{seconds, seconds_above_zero};

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Seconds over which connections are closed, one after another, when SIGTERM comes, or another process has taken over (--handover). At SIGTERM health checks and who asks for a WebSocket are answered 503
    /// meanwhile. SIGINT, or a second signal, stops at once [default: so does the first].
    #[arg(long, value_name = "SECS", value_parser = seconds_above_zero)]
    drain: Option<f64>,
    /// What those connections are told: 1001 says that the server goes, 1012 that it will be back [default: 1001].
    #[arg(long, value_name = "CODE", requires = "drain", value_parser = drain_code)]
    drain_code: Option<CloseCode>,
    /// Seconds for which health checks are answered at least when SIGTERM comes, also if no connection is left [default: 0].
    #[arg(long, value_name = "SECS", requires = "drain", value_parser = seconds)]
    drain_at_least: Option<f64>,
}

fn drain_code(text: &str) -> Result<CloseCode, String> {
    let known = [CloseCode::GOING_AWAY, CloseCode::SERVICE_RESTART];
    known.into_iter().find(|code| code.to_string() == text).ok_or_else(|| "1001 or 1012".to_owned())
}

impl Args {
    /// What is done when SIGTERM comes, if that is not to stop.
    fn drain(&self) -> Option<Drain> {
        let least = Duration::from_secs_f64(self.drain_at_least.unwrap_or(0.0));
        Some(self.drain_after_handover()?.at_least(least))
    }

    /// The same when another process has taken over: nobody asks this one for its health any more.
    pub(crate) fn drain_after_handover(&self) -> Option<Drain> {
        let drain = Drain::over(Duration::from_secs_f64(self.drain?));
        Some(self.drain_code.into_iter().fold(drain, Drain::code))
    }

    /// What signals do to a server.
    pub(crate) fn on<M: Send + 'static>(&self, handle: Handle<M>) -> impl FnMut(i32) + Send + 'static {
        let mut drain = self.drain();
        move |signal| match drain.take().filter(|_| signal == SIGTERM) {
            Some(drain) => handle.drain(drain),
            None => handle.stop(),
        }
    }
}
