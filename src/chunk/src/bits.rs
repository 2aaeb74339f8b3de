//! Bit streams: most significant bit first, zero padded to a whole byte.

use crate::ChunkError;

/// Reads bits; refills eight bytes at a time.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next byte that is not in `acc`.
    at: usize,
    /// Unread bits, left aligned; bits below the `have` highest are zero.
    acc: u64,
    have: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            acc: 0,
            have: 0,
        }
    }

    /// Position of the next bit.
    pub(crate) fn position(&self) -> usize {
        self.at * 8 - self.have as usize
    }

    pub(crate) fn malformed(&self, what: &'static str) -> ChunkError {
        ChunkError::Malformed {
            bit: self.position(),
            what,
        }
    }

    /// Tops `acc` up to more than 56 bits, or to all that is left.
    #[inline]
    fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.at..self.at + 8) {
            let word = u64::from_be_bytes(word.try_into().expect("BUG: slice of eight bytes"));
            let bytes = (64 - self.have) / 8;

            // A shift by 64 happens only with a full accumulator, when `bytes` is 0.
            if bytes > 0 {
                let kept = if bytes == 8 {
                    word
                } else {
                    word & !(u64::MAX >> (bytes * 8))
                };
                self.acc |= kept >> self.have;
                self.have += bytes * 8;
                self.at += bytes as usize;
            }
        } else {
            while self.have <= 56 && self.at < self.bytes.len() {
                self.acc |= u64::from(self.bytes[self.at]) << (56 - self.have);
                self.have += 8;
                self.at += 1;
            }
        }
    }

    /// Reads `n` bits, at most 56.
    #[inline]
    pub(crate) fn short(&mut self, n: u32) -> Result<u64, ChunkError> {
        debug_assert!(n <= 56);

        if self.have < n {
            self.refill();
            if self.have < n {
                return Err(ChunkError::Truncated(self.position()));
            }
        }

        if n == 0 {
            return Ok(0);
        }

        let value = self.acc >> (64 - n);
        self.acc <<= n;
        self.have -= n;

        Ok(value)
    }

    /// Bits not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() * 8 - self.position()
    }

    /// Reads `n` bits, at most 64.
    #[inline]
    pub(crate) fn bits(&mut self, n: u32) -> Result<u64, ChunkError> {
        if n <= 56 {
            return self.short(n);
        }
        let high = self.short(32)?;
        Ok(high << (n - 32) | self.short(n - 32)?)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, ChunkError> {
        Ok(self.short(8)? as u8)
    }

    /// The next bits, left aligned, and their number: more than 32, or all that is left.
    #[inline]
    pub(crate) fn peek(&mut self) -> (u64, u32) {
        if self.have <= 32 {
            self.refill();
        }
        (self.acc, self.have)
    }

    /// Skips `n` bits (at most 63) that were seen by [`BitReader::peek`].
    #[inline]
    pub(crate) fn skip(&mut self, n: u32) {
        debug_assert!(n <= self.have && n < 64);
        self.acc <<= n;
        self.have -= n;
    }

    /// Counts one-bits up to and including the ending zero-bit; stops without one after `max` ones.
    #[inline]
    pub(crate) fn ones(&mut self, max: u32) -> Result<u32, ChunkError> {
        debug_assert!(max <= 32);
        if self.have < max {
            self.refill();
        }
        let ones = self.acc.leading_ones().min(max);
        self.short(if ones == max { max } else { ones + 1 })?;
        Ok(ones)
    }

    /// Two's complement number of `n` bits (1..=63) in Prometheus's range `-(2^(n-1) - 1) ..= 2^(n-1)`.
    #[inline]
    pub(crate) fn signed(&mut self, n: u32) -> Result<i64, ChunkError> {
        Ok(signed(self.bits(n)?, n))
    }

    /// LEB128 number of at most 64 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(self.malformed("varint over 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }

        Err(self.malformed("varint over ten bytes"))
    }

    /// Zig-zag LEB128 number.
    pub(crate) fn varint(&mut self) -> Result<i64, ChunkError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

/// The number that `n` bits stand for; see [`BitReader::signed`].
#[inline]
pub(crate) fn signed(raw: u64, n: u32) -> i64 {
    let raw = raw as i64;
    // The pattern of the sign bit alone means +2^(n-1), not its negative.
    if raw > 1 << (n - 1) {
        raw - (1 << n)
    } else {
        raw
    }
}

/// Reads the sample count that opens every chunk, without a reader.
pub(crate) fn count_of(chunk: &[u8]) -> Result<u16, ChunkError> {
    match chunk {
        [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(ChunkError::Truncated(chunk.len() * 8)),
    }
}

/// True if the bits behind the first `len` are zero in the last byte of `chunk`.
pub(crate) fn is_padding_zero(chunk: &[u8], len: u32) -> bool {
    chunk
        .last()
        .is_some_and(|last| len.is_multiple_of(8) || last << (len % 8) == 0)
}

/// True if `x` fits `n` bits by Prometheus's rule; see [`BitReader::signed`].
#[inline]
pub(crate) fn fits(x: i64, n: u32) -> bool {
    let half = 1i64 << (n - 1);
    -(half - 1) <= x && x <= half
}

/// Appends the low `n` bits (at most 121) of `value` at bit `*len` of `buf`.
///
/// `buf` holds exactly the bytes that `*len` bits need; unused bits of its last byte are zero.
#[inline]
pub(crate) fn push_bits(buf: &mut Vec<u8>, len: &mut u32, value: u128, n: u32) {
    debug_assert!(n <= 121 && (n == 128 || value >> n == 0));
    debug_assert_eq!(buf.len(), len.div_ceil(8) as usize);
    if n == 0 {
        return;
    }

    let used = *len % 8;

    let mut word = value << (128 - n - used);
    if used > 0 {
        let last = buf.pop().expect("BUG: a partly used byte exists");
        word |= u128::from(last) << 120;
    }

    let bytes = (used + n).div_ceil(8) as usize;
    buf.extend_from_slice(&word.to_be_bytes()[..bytes]);
    *len += n;
}

/// A growing bit stream of its own.
#[derive(Clone, Debug)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    len: u32,
}

impl BitWriter {
    /// A stream that opens with `header`.
    pub(crate) fn with_header(header: &[u8]) -> Self {
        Self {
            bytes: header.to_vec(),
            len: header.len() as u32 * 8,
        }
    }

    /// Continues an existing stream of `len` bits, which fill `bytes` up to its last byte.
    pub(crate) fn resume(bytes: &[u8], len: u32) -> Self {
        debug_assert_eq!(bytes.len(), len.div_ceil(8) as usize);
        Self {
            bytes: bytes.to_vec(),
            len,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: u128, n: u32) {
        push_bits(&mut self.bytes, &mut self.len, value, n);
    }

    pub(crate) fn varint(&mut self, value: i64) {
        push_varint(&mut self.bytes, &mut self.len, value);
    }

    pub(crate) fn uvarint(&mut self, value: u64) {
        push_uvarint(&mut self.bytes, &mut self.len, value);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header bytes, to be changed in place.
    pub(crate) fn header(&mut self) -> &mut [u8; 3] {
        self.bytes
            .first_chunk_mut()
            .expect("BUG: stream without a header")
    }
}

/// Appends an LEB128 number.
pub(crate) fn push_uvarint(buf: &mut Vec<u8>, len: &mut u32, mut value: u64) {
    while value >= 0x80 {
        push_bits(buf, len, u128::from(value as u8 | 0x80), 8);
        value >>= 7;
    }
    push_bits(buf, len, u128::from(value), 8);
}

/// Appends a zig-zag LEB128 number.
pub(crate) fn push_varint(buf: &mut Vec<u8>, len: &mut u32, value: i64) {
    push_uvarint(buf, len, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_in_any_grouping(values in prop::collection::vec((any::<u64>(), 1u32..=64), 0..200)) {
            let (mut buf, mut len) = (Vec::new(), 0);
            for (v, n) in &values {
                push_bits(&mut buf, &mut len, u128::from(v & (u64::MAX >> (64 - n))), *n);
            }
            let mut reader = BitReader::new(&buf);
            for (v, n) in &values {
                prop_assert_eq!(reader.bits(*n), Ok(v & (u64::MAX >> (64 - n))));
            }
            prop_assert_eq!(reader.position(), len as usize);
        }

        #[test]
        fn varints_come_back(values in prop::collection::vec(any::<i64>(), 0..50)) {
            let (mut buf, mut len) = (Vec::new(), 0);
            for v in &values {
                push_varint(&mut buf, &mut len, *v);
            }
            let mut reader = BitReader::new(&buf);
            for v in &values {
                prop_assert_eq!(reader.varint(), Ok(*v));
            }
        }
    }

    #[test]
    fn signed_range_is_asymmetric_as_in_prometheus() {
        for n in [3u32, 14, 17, 20, 56] {
            let half = 1i64 << (n - 1);
            assert!(fits(half, n) && fits(-(half - 1), n) && !fits(-half, n) && !fits(half + 1, n));
            for x in [half, -(half - 1), 0, 1, -1] {
                let mut buf = Vec::new();
                let mut len = 0;
                push_bits(&mut buf, &mut len, u128::from(x as u64 & ((1 << n) - 1)), n);
                assert_eq!(BitReader::new(&buf).signed(n), Ok(x));
            }
        }
    }
}
