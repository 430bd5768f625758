//! Servers and clients in a tokio-uring runtime on a thread of their own, with the face of those in `wsring_testkit`.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use wsring::{Config, Error, Handler, Place, Stats};
use wsring_testkit::strict;
use wsring_tokio_uring::{Handle, Server};

/// A running server or client.
pub struct Running {
    handle: Handle,
    thread: JoinHandle<Result<Stats, Error>>,
}

impl Running {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn join(self) -> Result<Vec<Stats>, Error> {
        self.thread.join().unwrap_or(Err(Error::Panicked { place: Place::new(0) })).map(|stats| vec![stats])
    }
}

/// Runs a server in a runtime of its own.
pub fn start<H: Handler<Mail = ()>>(server: Server, factory: impl FnOnce(usize) -> H + Send + 'static) -> Running {
    let handle = server.handle();
    let thread = std::thread::spawn(move || tokio_uring::start(server.run(factory(0))));
    Running { handle, thread }
}

/// See `wsring_testkit::serve_at`; a runtime has one thread.
pub fn serve_at<H: Handler<Mail = ()>>(
    addr: SocketAddr,
    config: Config,
    core_count: usize,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> Result<(Running, SocketAddr), Error> {
    assert_eq!(core_count, 1, "a runtime has one thread");
    let listener = TcpListener::bind(addr).map_err(Error::Start)?;
    let addr = listener.local_addr().map_err(Error::Start)?;
    Ok((start(Server::new().listen(listener).config(strict(config)), factory), addr))
}

/// See `wsring_testkit::serve`.
pub fn serve<H: Handler<Mail = ()>>(
    config: Config,
    core_count: usize,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> (Running, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    serve_at(any, config, core_count, factory).expect("a free port")
}

/// See `wsring_testkit::start_client`.
pub fn start_client<H: Handler<Mail = ()>>(
    config: Config,
    factory: impl Fn(usize) -> H + Send + Sync + 'static,
) -> Running {
    start(Server::new().config(strict(config)), factory)
}

/// See `wsring_testkit::finish`.
#[track_caller]
pub fn finish(running: Running) -> Stats {
    running.handle().stop();
    running.join().expect("a clean end")[0]
}
