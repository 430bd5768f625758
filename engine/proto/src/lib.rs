//! The WebSocket protocol (RFC 6455) as pure functions: bytes in, events and bytes out, for both roles.
//!
//! No I/O, no clock, no randomness: sockets, deadlines and masking keys are the caller's. `no_std` with `alloc`; the
//! feature `std` (default) adds the run-time choice of the SIMD kernels.
//!
//! | room | what it owns |
//! |---|---|
//! | [`handshake`] | the opening handshake of a server and of a client: heads in, heads out |
//! | [`session`] | one connection: [`Session::input`] takes bytes, [`Input::next`] turns them into [`Event`]s |
//! | [`closing`] | how far a connection has come on its way to the end: [`State`] |
//! | [`limits`] | what a peer may make us keep: [`Limits`] |
//! | [`frame`] | the header, read and written; [`Role`] |
//! | [`deflate`] | permessage-deflate (RFC 7692): its negotiation, messages in and out of DEFLATE |
//! | [`encode`] | frames into memory the caller owns |
//! | [`opcode`], [`close`] | the numbers of the field: [`Opcode`], [`Message`], [`CloseCode`], [`Violation`] |
//! | [`simd`] | masking and UTF-8, the only `unsafe` here; [`Assembly`] |
//! | [`pool`] | the free buffers of one core |
//! | [`proxy`], [`forwarded`] | whom proxies in front accepted: the PROXY protocol; Forwarded and X-Forwarded-For |
//! | [`tunnel`] | the way through a proxy, as its client: CONNECT, SOCKS |
//! | [`prefix`], [`crowds`] | networks of addresses; connections counted by them |
//!
//! A message that lies whole in the input is unmasked in place and borrowed; nothing is copied or allocated. What the
//! input cuts, and fragmented messages, are put together in pooled memory, which follows the bytes received.
//!
//! ```
//! use wsring_proto::{Event, Limits, Opcode, Pool, Role, Session, encode};
//!
//! // RFC 6455 §5.7: "Hello", masked by a client.
//! let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
//! let mut output = [0; 64];
//! let mut sent = 0;
//!
//! let mut session = Session::new(Role::Server);
//! let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
//! let mut input = session.input(&mut input, &limits);
//! while let Some(event) = input.next(&mut pool)? {
//!     let (opcode, payload) = match event {
//!         Event::Message { message, .. } => (message.opcode(), message.as_bytes()),
//!         Event::Ping(payload) => (Opcode::Pong, payload),
//!         _ => continue,
//!     };
//!     let room = &mut output[sent..];
//!     sent += encode::frame(room, true, opcode, payload, None).expect("64 bytes hold it");
//! }
//! assert_eq!(&output[..sent], b"\x81\x05Hello");
//! # Ok::<(), wsring_proto::Violation>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)] // only `simd` may, each kernel checked against its scalar twin

extern crate alloc;

/// The README's example works.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod close;
pub mod closing;
pub mod crowds;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod encode;
pub mod forwarded;
pub mod frame;
pub mod handshake;
#[cfg(feature = "deflate")]
mod inflater;
pub mod limits;
pub mod opcode;
pub mod pool;
pub mod prefix;
pub mod proxy;
pub mod session;
pub mod simd;
pub mod tunnel;

pub use close::{CloseCode, Violation};
pub use closing::State;
pub use frame::Role;
pub use limits::Limits;
pub use opcode::{Message, Opcode};
pub use pool::Pool;
pub use session::Session;
pub use session::input::{Event, Input};
pub use simd::{Assembly, HEADROOM, MaskKey};
