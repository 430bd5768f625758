//! What operators and service managers say to a server that runs, and are told of it: SIGHUP reads its certificate again, SIGINT and SIGTERM end it, and systemd
//! is told how far it is (sd_notify(3)).

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wsring::{ServerTls, Successor};

use crate::tls;

/// A certificate and the files that it came from.
pub(crate) struct Certificate {
    pub(crate) tls: ServerTls,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, String> {
        let tls = ServerTls::from(Arc::new(tls::server(&certificate, &key)?));
        Ok(Self { tls, certificate, key })
    }

    /// Reads the files again. What cannot be used replaces nothing.
    fn reload(&self) -> Result<(), String> {
        let config = tls::server(&self.certificate, &self.key)?;
        self.tls.set(Arc::new(config)).map_err(|error| error.to_string())
    }
}

/// What SIGINT and SIGTERM do, and who has taken over from the server by then.
type Ends = (Box<dyn FnMut(i32) + Send>, Successor);

/// Signals that are heard, and wait for a server.
pub(crate) struct Signalled(SyncSender<Ends>);

impl Signalled {
    /// A server is there, which these end.
    pub(crate) fn end_by(self, ends: impl FnMut(i32) + Send + 'static, successor: Successor) {
        assert!(self.0.send((Box::new(ends), successor)).is_ok(), "the thread waits for that");
    }
}

/// Hears signals from here on, on a thread of its own: before there is a server, because one that has taken over from another may not fail for want of a thread.
/// Without a certificate SIGHUP does what it does to every process: it ends it.
pub(crate) fn hear(certificate: Option<Certificate>) -> io::Result<Signalled> {
    let mut signals = match certificate {
        Some(_) => Signals::new([SIGHUP, SIGINT, SIGTERM])?,
        None => Signals::new([SIGINT, SIGTERM])?,
    };
    let (tell_of, told_of) = sync_channel::<Ends>(1);
    let hear = move || {
        let Ok((mut ends, successor)) = told_of.recv() else { return };
        for signal in signals.forever() {
            match (signal, &certificate) {
                (SIGHUP, Some(certificate)) => {
                    tell(&[Some(NotifyState::Reloading), NotifyState::monotonic_usec_now().ok()]);
                    match certificate.reload() {
                        Ok(()) => say("the certificate was read again"),
                        Err(error) => eprintln!("wsring: the certificate stays as it is: {error}"),
                    }
                    tell(&[Some(NotifyState::Ready)]);
                }
                (SIGHUP, None) => {}
                _ => {
                    // Of a service that has another process by now, that is not for this one to say (NotifyAccess=all).
                    if successor.pid().is_none() {
                        tell(&[Some(NotifyState::Stopping)]);
                    }
                    ends(signal);
                }
            }
        }
    };
    std::thread::Builder::new().name("wsring-operator".to_owned()).spawn(hear)?;
    Ok(Signalled(tell_of))
}

/// The server listens; of several processes of a service it is the one that matters from here on.
pub(crate) fn tell_ready() {
    tell(&[Some(NotifyState::Ready), Some(NotifyState::MainPid(std::process::id()))]);
}

/// Tells the service manager, if there is one that wants to know (NOTIFY_SOCKET).
fn tell(states: &[Option<NotifyState<'_>>]) {
    let states: Vec<NotifyState<'_>> = states.iter().flatten().cloned().collect();
    if let Err(error) = sd_notify::notify(&states) {
        eprintln!("wsring: the service manager could not be told (NOTIFY_SOCKET): {error}");
    }
}

/// One line to standard output. Nobody may be there to read it (`wsring serve | head -1`): that is no reason to end.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "wsring: {line}");
}
