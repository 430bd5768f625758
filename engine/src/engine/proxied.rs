//! What proxies tell of their clients: in a PROXY header, with which connections begin at a listener that requires one, in front of TLS and of the
//! request; or in the request. It is noted, and whoever comes in a PROXY header the application is asked whether it takes.
//!
//! A header is read where it lies if it comes whole, and else gathered in a pooled buffer, under the deadline for the handshake; how long one may be
//! [`wsring_proto::proxy`] says.

use wsring_proto::handshake::{Refusal, Request};
use wsring_proto::proxy::{self, Header, Parsed};

use super::conns::Phase;
use super::core::Core;
use super::planted::planted;
use crate::handler::Handler;
use crate::peer::Peer;
use crate::ring::Ring;

/// Told to a client of a proxy whose network has as many connections as it may have (RFC 6585 §4).
const CROWDED: Refusal = Refusal::new(429, "too many connections from this network");

impl<R: Ring, H: Handler> Core<R, H> {
    /// Bytes of a connection whose PROXY header is awaited.
    pub(super) fn feed_proxy(&mut self, index: u32, bytes: &mut [u8]) {
        let Phase::Proxy(gathered, gate) = &mut self.conns[index as usize].phase else { return };
        let (mut gathered, gate) = (gathered.take(), *gate);
        if let Some(gathered) = &mut gathered {
            // Bounded: no header is longer than what `parse` takes, and a segment is at most one receive buffer.
            planted!(ProxyPieceLost, gathered.truncate(gathered.len() / 2));
            self.out.stores.pool.append(bytes, gathered);
        }
        let whole = gathered.as_deref_mut().map_or(&mut *bytes, Vec::as_mut_slice);
        match proxy::parse(whole) {
            Ok(Parsed::Whole(header)) => {
                let len = header.len;
                if self.on_proxied(index, gate, &header) && len < whole.len() {
                    self.feed(index, &mut whole[len..]);
                }
            }
            Ok(Parsed::Partial) => {
                let gathered = gathered.unwrap_or_else(|| {
                    let mut gathered = self.out.stores.pool.take(bytes.len(), bytes.len());
                    gathered.extend_from_slice(bytes);
                    Box::new(gathered)
                });
                self.conns[index as usize].phase = Phase::Proxy(Some(gathered), gate);
                return;
            }
            Err(error) => {
                tracing::debug!(conn = %self.out.peers.id_of(index), %error, "a connection ends");
                self.out.stats.proxy_failed += 1;
                self.die(index);
            }
        }
        if let Some(gathered) = gathered {
            self.out.stores.pool.put(*gathered);
        }
    }

    /// The header is there: who comes through the proxy, if it is not for itself. False: it is not served.
    fn on_proxied(&mut self, index: u32, gate: u32, header: &Header<'_>) -> bool {
        // An address of nobody tells nobody, and would be taken for the proxy's own later.
        let told = header.source.filter(|source| !source.ip().is_unspecified());
        // What follows is a client's, of whom nobody knows anything: it is not the word of the proxy that it comes through.
        if told.is_none() && !header.is_local && self.gates[gate as usize].forwarders.is_some() {
            self.out.note(index, |more| more.is_unnamed = true);
        }
        if let Some(client) = told.map(Peer::from) {
            let proxy = self.out.addresses.set_client(index, client);
            self.out.note(index, |more| {
                more.via = Some(proxy);
                more.set_tls_of_proxy(header.authority, header.alpn);
            });
            let is_counted = !self.gates[gate as usize].trusts(client);
            if is_counted && !self.has_room_for(client) || !self.takes(client) {
                self.die(index);
                return false;
            }
            if is_counted {
                self.crowd.enter(index, client);
            }
        }
        self.conns[index as usize].phase = Phase::Head(Default::default(), None, gate);
        #[cfg(feature = "tls")]
        if !self.secure(index, gate) {
            self.die(index);
            return false;
        }
        true
    }

    /// What a proxy tells of its client in a request, if the listener takes its word. Returns why that client is not served, if it is not.
    #[inline]
    pub(super) fn hear_forwarder(&mut self, index: u32, request: &Request<'_>) -> Option<Refusal> {
        let Phase::Head(_, _, gate) = self.conns[index as usize].phase else { return None };
        self.gates[gate as usize].forwarders.is_some().then(|| self.on_forwarded(index, gate, request))?
    }

    #[cold]
    fn on_forwarded(&mut self, index: u32, gate: u32, request: &Request<'_>) -> Option<Refusal> {
        if self.out.addresses.more(index).is_some_and(|more| more.is_unnamed) {
            return None;
        }
        let peer = self.out.addresses.get(index);
        let client = self.gates[gate as usize].forwarders.as_ref()?.client(peer, request)?;
        let proxy = self.out.addresses.set_client(index, client);
        self.out.note(index, |more| {
            more.via.get_or_insert(proxy); // that of a PROXY header is the one at the other end of the socket
        });
        if !self.has_room_for(client) {
            return Some(CROWDED);
        }
        self.crowd.enter(index, client);
        None
    }
}
