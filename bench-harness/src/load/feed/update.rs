//! What a feed says, read with as little work as its fixed order of fields allows.
//!
//! Owns the spelling. Promises that what is not spelled so is told apart, not guessed at. Refuses to know what makes sense.
//!
//! ```text
//! {"key":"K17","seq":12345,"prev":12340,"value":1.25,"merged":3,"t":NANOSECONDS}
//! {"published":..,"sent":..,"waiting":..,"conflated":..,"dropped":..}
//! ```

/// A value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The number in its name.
    pub key: u32,
    /// The key's own, from 1 without a gap.
    pub seq: u64,
    /// The last that this client got.
    pub prev: u64,
    /// How many updates it stands for: none if it was retained.
    pub merged: u64,
    /// CLOCK_MONOTONIC in nanoseconds, when it was published.
    pub at: u64,
}

/// What became of the updates of a client's subscriptions, as the server tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub published: u64,
    /// Those sent as they are, or with others merged into them.
    pub sent: u64,
    /// Those that wait.
    pub waiting: u64,
    /// Those that were merged into a later one.
    pub conflated: u64,
    /// Those that were lost.
    pub dropped: u64,
}

/// A message of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A value.
    Update(Update),
    /// The answer to `{"op":"stats"}`.
    Counts(Counts),
}

/// The message, if it is one.
pub fn line(text: &[u8]) -> Option<Line> {
    let rest = Rest(text);
    match text.get(2) {
        Some(b'k') => rest.update().map(Line::Update),
        _ => rest.counts().map(Line::Counts),
    }
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// A whole number behind `before`.
    fn number(&mut self, before: &[u8]) -> Option<u64> {
        self.literal(before)?;
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // 19 digits are below 2^64, and no counter here has more.
        if digits == 0 || digits > 19 {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    fn end(self) -> Option<()> {
        (self.0 == b"}").then_some(())
    }

    fn update(mut self) -> Option<Update> {
        let key = u32::try_from(self.number(b"{\"key\":\"K")?).ok()?;
        let seq = self.number(b"\",\"seq\":")?;
        let prev = self.number(b",\"prev\":")?;
        self.literal(b",\"value\":")?;
        let value = self.0.iter().position(|byte| *byte == b',')?;
        self.0 = &self.0[value..];
        let merged = self.number(b",\"merged\":")?;
        let at = self.number(b",\"t\":")?;
        self.end()?;
        Some(Update { key, seq, prev, merged, at })
    }

    fn counts(mut self) -> Option<Counts> {
        let published = self.number(b"{\"published\":")?;
        let sent = self.number(b",\"sent\":")?;
        let waiting = self.number(b",\"waiting\":")?;
        let conflated = self.number(b",\"conflated\":")?;
        let dropped = self.number(b",\"dropped\":")?;
        self.end()?;
        Some(Counts { published, sent, waiting, conflated, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read() {
        let update = Update { key: 17, seq: 12_345, prev: 12_340, merged: 5, at: 98_765_432_109_876 };
        for value in ["1.25", "-3", "0.000001", "1e-9", "null", "\"x\""] {
            let text =
                format!(r#"{{"key":"K17","seq":12345,"prev":12340,"value":{value},"merged":5,"t":98765432109876}}"#);
            assert_eq!(line(text.as_bytes()), Some(Line::Update(update)), "{text}");
        }
        let counts = Counts { published: 100, sent: 10, waiting: 20, conflated: 70, dropped: 0 };
        let text = br#"{"published":100,"sent":10,"waiting":20,"conflated":70,"dropped":0}"#;
        assert_eq!(line(text), Some(Line::Counts(counts)));
    }

    #[test]
    fn what_is_spelled_otherwise_is_not_guessed_at() {
        for bad in [
            "",
            "{}",
            r#"{"key":"17","seq":1,"prev":0,"value":1,"merged":1,"t":1}"#,
            r#"{"key":"K17","seq":1,"value":1,"merged":1,"t":1}"#,
            r#"{"key":"K17","seq":-1,"prev":0,"value":1,"merged":1,"t":1}"#,
            r#"{"key":"K17","seq":1,"prev":0,"value":1,"merged":1,"t":1.5}"#,
            r#"{"key":"K17","seq":1,"prev":0,"value":1,"merged":1,"t":1"#,
            r#"{"key":"K17","seq":99999999999999999999,"prev":0,"value":1,"merged":1,"t":1}"#,
            r#"{"published":1,"sent":1,"waiting":0,"conflated":0}"#,
            r#"{"published":1,"sent":1,"waiting":0,"conflated":0,"dropped":}"#,
        ] {
            assert_eq!(line(bad.as_bytes()), None, "{bad}");
        }
    }
}
