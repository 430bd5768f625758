//! The blocks of a stream of DEFLATE (RFC 1951 §3.2), read only as far as it takes to know where they end.
//!
//! Owns: the one thing that a compressor of whole buffers does not tell, the bit at which its final block begins and the
//! one at which it ends. Promises: no allocation and no panic, whatever the stream. Refuses to know: what it says.

/// The longest code there is (RFC 1951 §3.2.7).
const CODE_BITS_MAX: usize = 15;
/// So many codes are looked up by the next bits of the stream; longer ones, which are rare, are counted out.
const TABLE_LEN: usize = 1 << 9;
/// The codes of the lengths of codes have at most 7 bits.
const LENGTHS_TABLE_LEN: usize = 1 << 7;
/// Literals and lengths, of which the last two never occur.
const LITERALS_MAX: usize = 288;
const DISTANCES_MAX: usize = 32;
const END_OF_BLOCK: u16 = 256;

/// Ends a message in place as RFC 7692 §7.2.1 wants it: no block of the stream is final, and behind the last one begins the
/// empty block whose length the receiver puts back. The stream is the first `made` of these bytes, and whole; how many bytes the
/// message has then, at most one more. `None`, and nothing done, if it shows not to be whole.
///
/// A final block with an empty one behind it (§7.2.3.4) would do by the letter, but zlib is at its end there: clients that
/// do not begin anew have nothing but empty messages from then on (aiohttp 3.9, undici, Node's own).
///
/// # Panics
/// If there is no room for that byte.
pub(super) fn end_message(bytes: &mut [u8], made: usize) -> Option<usize> {
    let stream = &bytes[..made];
    let block = only_block(stream).or_else(|| final_block(stream))?;
    bytes[block.begin / 8] &= !(1 << (block.begin % 8));
    let end = block.end.div_ceil(8);
    // Three zeros begin a stored block that is not final. Behind them comes the next whole byte, with the length.
    if matches!(block.end % 8, 1..=5) {
        return Some(end);
    }
    bytes[end] = 0;
    Some(end + 1)
}

/// Bits of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    begin: usize,
    end: usize,
}

/// The final block of a whole stream that has no other, and codes of its own: as are most messages. Only the lengths of the
/// codes are read, because behind the block's end there are zeros alone: the last one of the stream is the last one of the end's
/// code. `None` where that code is zeros too, or the stream is another.
fn only_block(stream: &[u8]) -> Option<Block> {
    let mut bits = Bits { bytes: stream, at: 0 };
    if bits.take(3) != 0b101 {
        return None;
    }
    let mut lengths = [0; LITERALS_MAX + DISTANCES_MAX];
    let (literals, _) = bits.lengths(&mut lengths)?;
    let (before, rest) = literals.split_at_checked(END_OF_BLOCK.into())?;
    let length = *rest.first()?;
    // RFC 1951 §3.2.2: codes are numbered by length, then by symbol.
    let mut counts = [0_u32; CODE_BITS_MAX + 1];
    literals.iter().for_each(|&length| counts[usize::from(length & 15)] += 1);
    let first = (1..usize::from(length)).fold(0, |code, length| (code + counts[length]) << 1);
    let code = first + before.iter().map(|&other| u32::from(other == length)).sum::<u32>();
    if code == 0 {
        return None;
    }
    let zeros = stream.iter().rev().take_while(|&&byte| byte == 0).count();
    let (&last, rest) = stream[..stream.len() - zeros].split_last()?;
    let end = 8 * rest.len() + 8 - last.leading_zeros() as usize + code.trailing_zeros() as usize;
    (end.div_ceil(8) == stream.len()).then_some(Block { begin: 0, end })
}

/// The final block of any stream: reads all symbols of all blocks.
fn final_block(stream: &[u8]) -> Option<Block> {
    let mut bits = Bits { bytes: stream, at: 0 };
    loop {
        let begin = bits.at;
        let is_final = bits.take(1) == 1;
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16) as usize;
                bits.at += 16 + 8 * len;
            }
            1 => {
                let mut lengths = [8; LITERALS_MAX];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                bits.skip_symbols(&Code::new(&lengths)?, &Code::new(&[5; DISTANCES_MAX])?)?;
            }
            2 => {
                let mut lengths = [0; LITERALS_MAX + DISTANCES_MAX];
                let (literals, distances) = bits.lengths(&mut lengths)?;
                bits.skip_symbols(&Code::new(literals)?, &Code::new(distances)?)?;
            }
            _ => return None,
        }
        if bits.at > 8 * stream.len() {
            return None;
        }
        if is_final {
            return Some(Block { begin, end: bits.at });
        }
    }
}

/// A stream from a bit on; behind its end are zeros.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// At least the next 56 bits, the first of them lowest.
    #[inline]
    fn peek(&self) -> u64 {
        let from = self.at / 8;
        let word = match self.bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            Some(word) => *word,
            None => {
                let rest = self.bytes.get(from..).unwrap_or_default();
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                word
            }
        };
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    /// The next bits, at most 56.
    #[inline]
    fn take(&mut self, count: u32) -> u64 {
        let bits = self.peek() & ((1 << count) - 1);
        self.at += count as usize;
        bits
    }

    /// The lengths of both codes of a block, which are compressed themselves (RFC 1951 §3.2.7).
    fn lengths<'l>(&mut self, lengths: &'l mut [u8; LITERALS_MAX + DISTANCES_MAX]) -> Option<(&'l [u8], &'l [u8])> {
        const ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances) = (257 + self.take(5) as usize, 1 + self.take(5) as usize);
        let count = 4 + self.take(4) as usize;
        let mut of_lengths = [0; ORDER.len()];
        for &symbol in &ORDER[..count] {
            of_lengths[usize::from(symbol)] = self.take(3) as u8;
        }
        let code = Code::<LENGTHS_TABLE_LEN>::new(&of_lengths)?;
        let mut at = 0;
        while at < literals + distances {
            let (symbol, used) = code.read(self.peek())?;
            self.at += used as usize;
            let (length, times) = match symbol {
                0..=15 => (symbol as u8, 1),
                16 => (*lengths.get(at.checked_sub(1)?)?, 3 + self.take(2) as usize),
                17 => (0, 3 + self.take(3) as usize),
                _ => (0, 11 + self.take(7) as usize),
            };
            lengths.get_mut(at..at + times)?.fill(length);
            at += times;
        }
        let (literals, rest) = lengths.split_at(literals);
        Some((literals, rest.get(..distances)?))
    }

    /// To the end of a block, past its symbols.
    fn skip_symbols(&mut self, literals: &Code<TABLE_LEN>, distances: &Code<TABLE_LEN>) -> Option<()> {
        loop {
            // A length and a distance have at most 48 bits.
            let bits = self.peek();
            let (symbol, mut used) = literals.read(bits)?;
            match symbol {
                0..END_OF_BLOCK => {}
                END_OF_BLOCK => {
                    self.at += used as usize;
                    return Some(());
                }
                _ => {
                    used += u32::from(*LENGTH_EXTRA.get(usize::from(symbol) - 257)?);
                    let (symbol, more) = distances.read(bits >> used)?;
                    used += more + u32::from((symbol / 2).saturating_sub(1));
                }
            }
            self.at += used as usize;
            if self.at > 8 * self.bytes.len() {
                return None;
            }
        }
    }
}

/// Bits behind each length's code (RFC 1951 §3.2.5).
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// A canonical Huffman code (RFC 1951 §3.2.2).
struct Code<const TABLE: usize> {
    /// By the next bits of the stream, a symbol above the length of its code in four bits; 0 if that is longer.
    table: [u16; TABLE],
    /// How many codes there are of each length.
    counts: [u16; CODE_BITS_MAX + 1],
    /// By length, then by value.
    symbols: [u16; LITERALS_MAX],
}

impl<const TABLE: usize> Code<TABLE> {
    /// `None` if there are more codes than fit.
    fn new(lengths: &[u8]) -> Option<Self> {
        let mut code = Code { table: [0; TABLE], counts: [0; CODE_BITS_MAX + 1], symbols: [0; LITERALS_MAX] };
        for &length in lengths {
            *code.counts.get_mut(usize::from(length))? += 1;
        }
        code.counts[0] = 0;
        let (mut next, mut place) = ([0_u16; CODE_BITS_MAX + 1], [0_u16; CODE_BITS_MAX + 1]);
        for length in 1..=CODE_BITS_MAX {
            place[length] = place[length - 1] + code.counts[length - 1];
            next[length] = (next[length - 1] + code.counts[length - 1]) << 1;
            if u32::from(next[length]) + u32::from(code.counts[length]) > 1 << length {
                return None;
            }
        }
        for (symbol, &length) in lengths.iter().enumerate().filter(|&(_, &length)| length > 0) {
            let at = usize::from(length);
            *code.symbols.get_mut(usize::from(place[at]))? = symbol as u16;
            place[at] += 1;
            if 1 << length <= TABLE {
                // Codes stand in the stream highest bit first.
                let first = usize::from(next[at].reverse_bits() >> (16 - length));
                let entry = (symbol as u16) << 4 | u16::from(length);
                code.table[first..].iter_mut().step_by(1 << length).for_each(|slot| *slot = entry);
            }
            next[at] += 1;
        }
        Some(code)
    }

    /// The symbol that the next bits begin with, and the length of its code.
    #[inline]
    fn read(&self, bits: u64) -> Option<(u16, u32)> {
        match self.table[bits as usize & (TABLE - 1)] {
            0 => self.read_long(bits),
            entry => Some((entry >> 4, u32::from(entry & 15))),
        }
    }

    /// A code as a number, beside the first of its length, shows whether it is one of that length.
    #[cold]
    fn read_long(&self, bits: u64) -> Option<(u16, u32)> {
        let (mut value, mut first, mut place) = (0, 0, 0);
        for length in 1..=CODE_BITS_MAX {
            value |= (bits >> (length - 1) & 1) as usize;
            let count = usize::from(self.counts[length]);
            if value < first + count {
                return Some((*self.symbols.get(place + value - first)?, length as u32));
            }
            place += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests;
