//! The settings.

use super::*;

#[test]
fn settings_are_checked_at_both_ends() {
    for settings in [Settings::off(), Settings::shared(), Settings::dedicated(), Settings::default()] {
        assert_eq!(settings.check(), Ok(()));
    }
    let base = Settings::dedicated();
    let cases = [
        (Settings { level: 1, ..base }, true),
        (Settings { level: 0, ..base }, false),
        (Settings { level: 9, ..base }, true),
        (Settings { level: 10, ..base }, false),
        (Settings { window_bits: 9, ..base }, true),
        (Settings { window_bits: 8, ..base }, false),
        (Settings { window_bits: 15, ..base }, true),
        (Settings { window_bits: 16, ..base }, false),
        (Settings { memory_level: 1, ..base }, true),
        (Settings { memory_level: 0, ..base }, false),
        (Settings { memory_level: 9, ..base }, true),
        (Settings { memory_level: 10, ..base }, false),
    ];
    for (settings, valid) in cases {
        assert_eq!(settings.check().is_ok(), valid, "{settings:?}");
    }
    assert_eq!(Settings::default().mode, Mode::Off);
}
