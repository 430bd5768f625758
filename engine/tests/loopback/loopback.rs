//! Servers on real rings, spoken to over loopback by clients on plain sockets. Facts are asserted; of time only
//! bounds that a busy machine keeps too: that a deadline does not come early, or that not every one comes late.
//!
//! - `programme`: byte-exact echoes around every border; `echoes`: with every feature off in turn and with tiny rings.
//! - `crowd`: many connections at once. `opening`: handshakes, deadlines, caps. `ends`: how connections end.
//! - `callbacks`: what handlers may do; `contexts`: also where no connection is open yet. `control`: stop and wake. `mail`: what other threads and cores send. `deferred`: what is answered later, by another thread. `panics`: what a callback that panics ends. `stops`: who is not open yet at a stop. `settings`: each setting shows its effect; `terms`: and where it is of one connection.
//! - `drains`: cores that are emptied before they end.
//! - `last_words`: what is heard of peers that break their connections. `slow`: peers that do not read. `stalls`: messages that begin and do not end. `sends`: the ways to send a message. `timers`: of the application.
//! - `topics`: what is published, and to whom; `publishing`: on all cores. `backlog`: two ends that have more to say than sockets hold.
//! - `deflate`: compressed messages, against another implementation of DEFLATE.
//! - `caller`: a client that dials for them. `dialling`: connections that we make, to servers of every temper. `redialling`: and make again; `again`: when, and to whom; and what is cut; `proxies`: through proxies.
//! - `tls`: all of it over TLS, and how that fails.
//! - `exclusive`: a port that is one server's alone. `handovers`: servers that take over from each other. `who`: who connects; `behind`: through whom, at which listener, and how many from one network.
//! - `driver`: the io_uring driver alone, on its seam. `peer`: a client that nobody here wrote.

use wsring_testkit as common;

mod again;
mod backlog;
mod behind;
mod budget;
mod callbacks;
mod caller;
mod contexts;
mod control;
mod crowd;
mod deferred;
mod deflate;
mod dialling;
mod drains;
mod driver;
mod echoes;
mod ends;
mod exclusive;
mod flood;
mod handovers;
mod last_words;
mod mail;
mod opening;
mod panics;
mod peer;
mod programme;
mod proxies;
mod publishing;
mod redialling;
mod restarts;
mod sends;
mod settings;
mod slow;
mod stalls;
mod stops;
mod terms;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod topics;
mod who;
