//! The bytes that a raw fan-out gives to everybody, in one order: what was received is appended once, and each receiver stands somewhere in it.
//!
//! Owns the bytes. Promises that what somebody has still to be sent is never written over: what finds no room waits outside. Refuses to
//! know receivers.

/// A ring of bytes, addressed by how many were appended before.
pub struct Log {
    bytes: Box<[u8]>,
    end: u64,
}

impl Log {
    /// Holds `len` bytes.
    pub fn new(len: usize) -> Log {
        Log { bytes: vec![0; len].into(), end: 0 }
    }

    /// Where the next byte will stand.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends as much of `bytes` as there is room for while somebody stands at `slowest`, and says how much.
    pub fn append(&mut self, bytes: &[u8], slowest: u64) -> usize {
        let room = self.bytes.len() - (self.end - slowest) as usize;
        let taken = bytes.len().min(room);
        let mut left = &bytes[..taken];
        while !left.is_empty() {
            let at = (self.end % self.bytes.len() as u64) as usize;
            let step = left.len().min(self.bytes.len() - at);
            self.bytes[at..at + step].copy_from_slice(&left[..step]);
            left = &left[step..];
            self.end += step as u64;
        }
        taken
    }

    /// What stands from `at` on, to the end or as far as it is in one piece.
    pub fn from(&self, at: u64) -> &[u8] {
        let begin = (at % self.bytes.len() as u64) as usize;
        let len = ((self.end - at) as usize).min(self.bytes.len() - begin);
        &self.bytes[begin..begin + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_over_that_somebody_needs() {
        let mut log = Log::new(8);
        assert_eq!(log.append(b"abcde", 0), 5);
        assert_eq!((log.from(0), log.from(5)), (&b"abcde"[..], &b""[..]));
        assert_eq!(log.append(b"fghi", 0), 3, "full");
        assert_eq!(log.append(b"i", 0), 0);
        assert_eq!(log.from(2), b"cdefgh");
        assert_eq!(log.append(b"ijk", 2), 2);
        assert_eq!((log.from(2), log.from(8), log.end()), (&b"cdefgh"[..], &b"ij"[..], 10), "in two pieces");
        assert_eq!(log.append(b"0123456789", 10), 8);
    }
}
