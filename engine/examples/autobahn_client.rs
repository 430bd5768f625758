//! The client that the Autobahn testsuite's fuzzing server examines: asks how many cases there are, echoes in each, waits for the
//! last one's result, and has the report written.
//!
//! `autobahn/run client` starts it as `autobahn_client ws://127.0.0.1:9001 AGENT [RING]`. It ends with 0 when every case was run, whatever
//! came of it: the suite's report says that.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wsring::{
    Answered, Client, CloseReason, Config, ConnId, CoreCx, Cx, Deflate, DialError, Dialled, Handler, Message, RingKind,
    Target, TargetError,
};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Count,
    Case(u32),
    /// The suite has a case's result only when it has seen the end of its connection, which may be after a later one's
    /// beginning; asked for one, it answers when it has it.
    LastResult,
    Reports,
}

struct Examinee {
    server: String,
    agent: String,
    next: Purpose,
    cases: u32,
    done: Arc<AtomicBool>,
}

impl Examinee {
    fn dial(&mut self, cx: &mut CoreCx<'_, Self>) {
        match self.target() {
            Ok(target) => {
                cx.connect(target);
            }
            Err(error) => {
                eprintln!("autobahn_client: {error}");
                cx.stop_core();
            }
        }
    }

    fn target(&self) -> Result<Target, TargetError> {
        let Self { server, agent, .. } = self;
        let url = match self.next {
            Purpose::Count => format!("{server}/getCaseCount"),
            Purpose::Case(case) => format!("{server}/runCase?case={case}&agent={agent}"),
            Purpose::LastResult => format!("{server}/getCaseStatus?case={}&agent={agent}", self.cases),
            Purpose::Reports => format!("{server}/updateReports?agent={agent}"),
        };
        Target::new(&url)
    }
}

impl Handler for Examinee {
    type Conn = Purpose;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.dial(cx);
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<Purpose> {
        Some(self.next)
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, _: Option<Duration>) {
        eprintln!("autobahn_client: {why}");
        cx.stop_core();
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match (*cx.data(), message) {
            (Purpose::Count, Message::Text(count)) => self.cases = count.parse().unwrap_or(0),
            (Purpose::Case(_), message) => {
                let _ = cx.forward(message); // bounded: a server that does not read is not read from
            }
            (Purpose::Count | Purpose::LastResult | Purpose::Reports, _) => {}
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, purpose: Purpose, why: &CloseReason<'_>) {
        if matches!(why, CloseReason::Stopped) {
            return;
        }
        self.next = match purpose {
            Purpose::Count if self.cases == 0 => return cx.stop_core(),
            Purpose::Count => Purpose::Case(1),
            Purpose::Case(case) if case < self.cases => Purpose::Case(case + 1),
            Purpose::Case(_) => Purpose::LastResult,
            Purpose::LastResult => Purpose::Reports,
            Purpose::Reports => {
                self.done.store(true, Ordering::Relaxed);
                return cx.stop_core();
            }
        };
        self.dial(cx);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (server, agent, ring) = (arguments.next(), arguments.next(), arguments.next());
    let ring = ring.map(|name| name.parse::<RingKind>()).transpose();
    let (Some(server), Some(agent), Ok(ring), None) = (server, agent, ring, arguments.next()) else {
        eprintln!("usage: autobahn_client ws://HOST:PORT AGENT [uring|epoll]");
        return ExitCode::from(2);
    };
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let config = Config::default().output_max_bytes(40 << 20).deflate(Deflate::shared()).ring(ring);
    let ran = Client::new().config(config).run(move |_| Examinee {
        server: server.trim_end_matches('/').to_owned(),
        agent: agent.clone(),
        next: Purpose::Count,
        cases: 0,
        done: Arc::clone(&told),
    });
    match ran {
        Ok(_) if done.load(Ordering::Relaxed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("autobahn_client: {error}");
            ExitCode::FAILURE
        }
    }
}
