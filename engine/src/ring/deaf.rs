//! A listener to which no connection more may come ([`deafen`]), while those that have begun do: the same for each driver whose listeners
//! are sockets of the kernel. Refuses to know which driver that is.
#![forbid(unsafe_code)]

use std::net::TcpListener;

use socket2::{SockFilter, SockRef};

/// A filter of a listening socket (SO_ATTACH_FILTER, socket(7)) that drops what begins a connection: a segment with SYN and without
/// ACK (RFC 9293 §3.1; the flags are in byte 13). The peer sends it again after a second. What ends a handshake passes.
const NO_SYN: [SockFilter; 5] = {
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter::new(code as u16, jt, jf, k)
    }
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
    const SYN: (u32, u32) = (0x02, 0x12); // alone, of the two
    [
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 13),
        step(BPF_ALU | BPF_AND | BPF_K, 0, 0, SYN.1),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYN.0),
        step(BPF_RET | BPF_K, 0, 0, 0),
        step(BPF_RET | BPF_K, 0, 0, u32::MAX),
    ]
};

/// Lets no connection more begin at this listener. False, with a line in the log, where the kernel does not have it.
pub(super) fn deafen(listener: &TcpListener) -> bool {
    let deaf = SockRef::from(listener).attach_filter(&NO_SYN);
    deaf.inspect_err(|error| tracing::debug!(%error, "a listener cannot be told to take no connection more")).is_ok()
}
