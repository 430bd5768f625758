//! The listener of the peers that run on tokio.
//!
//! Owns the runtime: one thread, so that a peer is measured on the core it is pinned to. Promises TCP_NODELAY on every
//! connection. Knows nothing of what is spoken there.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

/// Accepts for ever, one task for each connection. `ready` is called once connections are accepted.
pub fn serve<F, Fut>(address: SocketAddr, ready: impl FnOnce(), on_connection: F) -> std::io::Result<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(4096)?;
        ready();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    tokio::spawn(on_connection(stream));
                }
                Err(error) => {
                    // Out of descriptors, most likely: connections that end will give some back.
                    eprintln!("accept: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        }
    })
}
