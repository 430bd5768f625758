//! The programme of echoes under every combination of settings that changes the data path.

use std::time::Duration;

use wsring::{Config, Feature, Features, QueueEntries, RecvBuffers, RingKind, SendBuffers};

use super::programme::{borders, programme};
use crate::common::*;

/// The whole programme under one configuration.
fn echoes(change: impl FnOnce(Config) -> Config) {
    let config = change(Config::default());
    let lens = borders(&config);
    let wanted = config.ring_config().features;
    let (running, addr) = serve(config, 1, |_| Echo);
    assert_features(running.features(), wanted);
    let messages = programme(addr, &lens);
    let stats = finish(running);
    assert_eq!((stats.messages, stats.sent), (messages, messages));
    assert_eq!((stats.accepted, stats.opened, stats.closed), (4, 4, 4));
    assert_eq!((stats.refused, stats.gone, stats.violations, stats.resets, stats.timeouts), (0, 0, 0, 0, 0));
}

/// What was switched off is off; what was asked for is on where the kernel has it.
fn assert_features(has: Features, wanted: Features) {
    for feature in Feature::ALL {
        let known = match feature {
            Feature::IncrementalBuffers => kernel() >= (6, 12),
            // Of an older kernel it is asked: `uring/probe.rs`.
            Feature::DirectDescriptors => kernel() >= (6, 13) || has.has(feature),
            _ => true,
        };
        let known = known && ring() == RingKind::Uring;
        assert_eq!(has.has(feature), wanted.has(feature) && known, "{feature}: {has} of {wanted}");
    }
}

macro_rules! configurations {
    ($($name:ident: $change:expr;)*) => {
        $(#[test]
        fn $name() {
            echoes($change);
        })*
    };
}

configurations! {
    as_it_comes: |c| c;
    two_receive_buffers_of_512_bytes: |c| c.recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 });
    four_receive_buffers_of_64_bytes: |c| c.recv_buffers(RecvBuffers::Fixed { count: 4, bytes: 64 });
    one_receive_buffer_of_one_byte_less_than_a_page: |c| c.recv_buffers(RecvBuffers::Fixed { count: 1, bytes: 4095 });
    two_whole_receive_buffers_of_512_bytes: |c| {
        c.recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 })
            .features(Features::all().without(Feature::IncrementalBuffers))
    };
    two_send_blocks_of_512_bytes: |c| c.send_buffers(SendBuffers { count: 2, bytes: 512 });
    no_send_blocks: |c| c.send_buffers(SendBuffers { count: 0, bytes: 512 });
    queues_of_8_and_16_entries: |c| c.queue_entries(QueueEntries { submission: 8, completion: 16 });
    queues_of_1_and_1_entries: |c| c.queue_entries(QueueEntries { submission: 1, completion: 1 });
    without_multishot_accept: |c| c.features(Features::all().without(Feature::MultishotAccept));
    without_multishot_recv: |c| c.features(Features::all().without(Feature::MultishotRecv));
    without_incremental_buffers: |c| c.features(Features::all().without(Feature::IncrementalBuffers));
    without_defer_taskrun: |c| c.features(Features::all().without(Feature::DeferTaskrun));
    without_direct_descriptors: |c| c.features(Features::all().without(Feature::DirectDescriptors));
    without_any_feature: |c| c.features(Features::none());
    polling_50_us: |c| c.spin(Duration::from_micros(50));
    polling_50_us_without_deferred_completions: |c| {
        c.spin(Duration::from_micros(50))
            .features(Features::all().without(Feature::DeferTaskrun))
    };
    everything_tiny: |c| {
        c.recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 })
            .send_buffers(SendBuffers { count: 2, bytes: 512 })
            .queue_entries(QueueEntries { submission: 8, completion: 16 })
            .pool_max_bytes(0)
    };
    everything_tiny_without_any_feature: |c| {
        c.recv_buffers(RecvBuffers::Fixed { count: 4, bytes: 64 })
            .send_buffers(SendBuffers { count: 1, bytes: 512 })
            .queue_entries(QueueEntries { submission: 2, completion: 2 })
            .features(Features::none())
            .output_high_bytes(1000)
            .output_low_bytes(500)
    };
}
