//! Trades as an exchange publishes them: JSON of a given length, for every bench that compresses.
//!
//! Each message has prices, quantities, order numbers and times of its own, as real ones do, so most of what is left of it
//! after compression are digits. The same number gives the same text on every machine.

use std::fmt::Write;

/// Symbols with the middle of their price, in hundredths.
const SYMBOLS: [(&str, u64); 6] = [
    ("BTCUSDT", 9_712_345),
    ("ETHUSDT", 331_207),
    ("SOLUSDT", 18_922),
    ("BNBUSDT", 87_541),
    ("LTCUSDT", 10_242),
    ("AVAXUSDT", 3_805),
];

/// Message `number`: an array of trades, of exactly `len` bytes, wherever that cuts the last one.
pub fn json(number: u64, len: usize) -> String {
    let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut text = String::with_capacity(len + 256);
    let mut time = 1_764_000_000_000 + number * 7;
    let mut id = 3_812_345_678 + number * 11;
    while text.len() < len {
        let (symbol, price) = SYMBOLS[random.below(SYMBOLS.len() as u64) as usize];
        let price = price + random.below(price / 200);
        (time, id) = (time + random.below(3), id + 1 + random.below(4));
        write!(
            text,
            "{}{{\"e\":\"trade\",\"E\":{},\"s\":\"{symbol}\",\"t\":{id},\"p\":\"{}.{:02}\",\"q\":\"{}.{:08}\",\
             \"b\":{},\"a\":{},\"T\":{time},\"m\":{}}}",
            if text.is_empty() { '[' } else { ',' },
            time + random.below(4),
            price / 100,
            price % 100,
            random.below(9),
            random.below(100_000_000),
            23_000_000_000 + random.below(1_000_000_000),
            23_000_000_000 + random.below(1_000_000_000),
            random.below(2) == 0,
        )
        .expect("a String takes all");
    }
    text.truncate(len);
    text
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * u128::from(bound)) >> 64) as u64
    }
}
