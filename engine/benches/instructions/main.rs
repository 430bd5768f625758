//! Fixed work for `scripts/instructions` to count: frames through the protocol, and through the whole engine on a ring
//! of memory.
//!
//! A program, not a measurement: it runs each cell once, checks every byte that comes out, and prints the cell's name
//! and its number of messages. valgrind counts what happens inside [`counted_part`], less what the stand-in for the
//! kernel does (`kernel_side_*` in `ring`). Nothing in it depends on time, randomness, addresses or the machine, except
//! for the choice of SIMD kernels, which is printed first. Run by `cargo bench` it only shows that the cells work.
//!
//! The engine is built with the feature `sim`, which is the way in and adds nothing to it. The bugs on purpose, which ask a
//! thread-local twice for each message whether they are planted, have a feature of their own.
#![forbid(unsafe_code)]

mod codec;
mod fanout;
mod handshake;
mod ring;
mod server;
mod traffic;

use std::hint::black_box;

/// The part that counts. `scripts/instructions` knows it by this name, so it is a function of its own, and calls what it
/// is given rather than jumping there at its end.
#[inline(never)]
fn counted_part(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// One cell: `work` handles so many messages.
fn count(name: &str, messages: usize, mut work: impl FnMut()) {
    counted_part(&mut work);
    println!("cell\t{name}\t{messages}");
}

fn main() {
    println!("kernel\t{}", wsring_proto::simd::kernel_name());
    count("nothing", 1, || ());
    codec::cells();
    handshake::cells();
    server::cells();
    fanout::cells();
}
