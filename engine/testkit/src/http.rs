//! HTTP as a client of these tests speaks it: a request as text, and what it was answered.

/// A request head with the key of RFC 6455 §1.3, whose answer is known.
pub fn upgrade_head(path: &str) -> String {
    handshake(path, &[])
}

/// The same with more headers, which are whole lines.
pub fn handshake(path: &str, headers: &[&str]) -> String {
    const ASKS: [&str; 4] = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    request_head("GET", path, &[&ASKS, headers].concat())
}

/// A request head that asks for no upgrade by itself, with these headers.
pub fn request_head(method: &str, path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// What an HTTP request was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} is repeated: {:?}", self.headers);
        first
    }

    /// What this head says, without a body.
    pub fn of(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status, headers: lines.map(header).collect(), body: Vec::new() }
    }
}
