//! The settings.

use super::*;

#[test]
fn settings_are_checked_at_both_ends() {
    for settings in [Settings::off(), Settings::shared(), Settings::dedicated(), Settings::default()] {
        assert_eq!(settings.check(), Ok(()));
    }
    let base = Settings::dedicated();
    let cases = [
        (base.level(1), true),
        (base.level(0), false),
        (base.level(9), true),
        (base.level(10), false),
        (base.window_bits(9), true),
        (base.window_bits(8), false),
        (base.window_bits(15), true),
        (base.window_bits(16), false),
        (base.memory_level(1), true),
        (base.memory_level(0), false),
        (base.memory_level(9), true),
        (base.memory_level(10), false),
    ];
    for (settings, valid) in cases {
        assert_eq!(settings.check().is_ok(), valid, "{settings:?}");
    }
    assert_eq!(Settings::default().mode, Mode::Off);
}
