//! Encoding 1: delta-of-delta timestamps and XORed floats.
//!
//! ```text
//! count u16 | t0 varint, v0 64 bits | t1-t0 uvarint, value | { dod, value }*
//! dod    0 -> 0 | 10 +14 bits | 110 +17 | 1110 +20 | 1111 +64
//! value  0 same | 10 + bits inside the last window | 11 + leading 5, significant 6 (0 = 64), bits
//! ```

mod decode;

pub use decode::{XorIterator, decode_into};
pub(crate) use decode::{read_reused, read_window, read_xor};

use crate::ChunkError;
use crate::bits::{fits, is_padding_zero, push_bits, push_uvarint, push_varint};

/// Mark for "no window of significant bits yet".
const NO_WINDOW: u8 = 0xff;

/// State of an open float chunk: 32 bytes; the chunk's bytes stay with the caller.
///
/// The buffer given to [`XorAppender::append`] must be the one that [`XorAppender::start`] filled (or a copy
/// of it): it always holds a complete, readable chunk. Capacity is the caller's choice; the appender
/// grows it only when the spare capacity is below what one sample takes, at most [`XorAppender::SAMPLE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorAppender {
    t: i64,
    v: u64,
    t_delta: u64,
    bits: u32,
    count: u16,
    leading: u8,
    trailing: u8,
}

impl XorAppender {
    /// The most bytes that one more sample adds to a chunk.
    pub const SAMPLE_BYTES_MAX: usize = 19;
    /// Length of the form of [`XorAppender::to_bytes`].
    pub const STATE_BYTES: usize = 32;

    /// The state of a chunk without samples, for a place that has no buffer yet.
    pub const EMPTY: Self = Self {
        t: 0,
        v: 0,
        t_delta: 0,
        bits: 16,
        count: 0,
        leading: NO_WINDOW,
        trailing: 0,
    };

    /// Clears `buf` and opens an empty chunk in it.
    pub fn start(buf: &mut Vec<u8>) -> Self {
        buf.clear();
        buf.extend_from_slice(&[0, 0]);
        Self::EMPTY
    }

    /// Opens an existing chunk to append behind its last sample.
    ///
    /// The chunk must end with that sample. Chunks of Prometheus may have an empty byte more: cut it off first.
    pub fn resume(chunk: &[u8]) -> Result<Self, ChunkError> {
        let mut samples = XorIterator::new(chunk)?;
        for sample in samples.by_ref() {
            sample?;
        }

        let appender = samples.into_appender()?;
        if appender.byte_len() != chunk.len() || !is_padding_zero(chunk, appender.bits) {
            return Err(ChunkError::Malformed {
                bit: appender.bits as usize,
                what: "something behind the last sample",
            });
        }

        Ok(appender)
    }

    /// Appends a sample; `t` (ms) must be after [`XorAppender::last_time`], else readers get times out of order.
    ///
    /// The caller cuts chunks long before 65,535 samples, the most a chunk can count.
    #[inline]
    pub fn append(&mut self, buf: &mut Vec<u8>, t: i64, v: f64) {
        assert!(
            self.count < u16::MAX,
            "BUG: more samples than a chunk can count"
        );

        let v = v.to_bits();
        if self.count >= 2 {
            let t_delta = t.wrapping_sub(self.t) as u64;
            let dod = t_delta.wrapping_sub(self.t_delta) as i64;
            self.t_delta = t_delta;

            let (time, time_bits) = time_code(dod);

            let (value, value_bits) = self.value_code(v);
            if time_bits <= 24 {
                push_bits(
                    buf,
                    &mut self.bits,
                    time << value_bits | value,
                    time_bits + value_bits,
                );
            } else {
                push_bits(buf, &mut self.bits, time, time_bits);
                push_bits(buf, &mut self.bits, value, value_bits);
            }
        } else {
            self.append_first(buf, t, v);
        }

        self.t = t;
        self.v = v;
        self.count += 1;
        buf[..2].copy_from_slice(&self.count.to_be_bytes());
    }

    #[cold]
    fn append_first(&mut self, buf: &mut Vec<u8>, t: i64, v: u64) {
        if self.count == 0 {
            push_varint(buf, &mut self.bits, t);
            push_bits(buf, &mut self.bits, u128::from(v), 64);
        } else {
            self.t_delta = t.wrapping_sub(self.t) as u64;
            push_uvarint(buf, &mut self.bits, self.t_delta);
            let (value, value_bits) = self.value_code(v);
            push_bits(buf, &mut self.bits, value, value_bits);
        }
    }

    /// Code of a value and its length, at most 77 bits.
    #[inline]
    fn value_code(&mut self, v: u64) -> (u128, u32) {
        xor_code(v ^ self.v, &mut self.leading, &mut self.trailing)
    }

    /// Samples so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Time (ms) of the last sample; 0 in an empty chunk.
    pub fn last_time(&self) -> i64 {
        self.t
    }

    /// Value of the last sample; 0 in an empty chunk.
    pub fn last_value(&self) -> f64 {
        f64::from_bits(self.v)
    }

    /// Length of the chunk.
    pub fn byte_len(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// Fixed little-endian form for checkpoints.
    pub fn to_bytes(&self) -> [u8; Self::STATE_BYTES] {
        let mut out = [0; Self::STATE_BYTES];
        out[0..8].copy_from_slice(&self.t.to_le_bytes());
        out[8..16].copy_from_slice(&self.v.to_le_bytes());
        out[16..24].copy_from_slice(&self.t_delta.to_le_bytes());
        out[24..28].copy_from_slice(&self.bits.to_le_bytes());
        out[28..30].copy_from_slice(&self.count.to_le_bytes());
        out[30] = self.leading;
        out[31] = self.trailing;

        out
    }

    /// Reads [`XorAppender::to_bytes`] back; `chunk` is the buffer saved with it.
    ///
    /// Refuses a state that cannot belong to `chunk` (length, count, window). It does not decode the chunk, so
    /// both must come from a checksummed file; [`XorAppender::resume`] needs no saved state.
    pub fn from_bytes(state: &[u8; Self::STATE_BYTES], chunk: &[u8]) -> Result<Self, ChunkError> {
        fn word<const N: usize>(state: &[u8], at: usize) -> [u8; N] {
            state[at..at + N]
                .try_into()
                .expect("BUG: range of constant length")
        }

        let this = Self {
            t: i64::from_le_bytes(word(state, 0)),
            v: u64::from_le_bytes(word(state, 8)),
            t_delta: u64::from_le_bytes(word(state, 16)),
            bits: u32::from_le_bytes(word(state, 24)),
            count: u16::from_le_bytes(word(state, 28)),
            leading: state[30],
            trailing: state[31],
        };

        if !this.belongs_to(chunk) {
            return Err(ChunkError::Malformed {
                bit: 0,
                what: "saved state does not belong to the chunk",
            });
        }

        Ok(this)
    }

    /// True if length, count and window may be those of a chunk.
    fn belongs_to(&self, chunk: &[u8]) -> bool {
        let window = self.leading == NO_WINDOW
            || (self.leading < 32 && self.leading + self.trailing.min(64) < 64);
        let header = chunk.get(..2) == Some(self.count.to_be_bytes().as_slice());
        let padding = chunk
            .last()
            .is_some_and(|last| self.bits.is_multiple_of(8) || last << (self.bits % 8) == 0);

        window && header && padding && self.byte_len() == chunk.len()
    }
}

/// Code of a delta of deltas and its length, at most 68 bits.
#[inline]
pub(crate) fn time_code(dod: i64) -> (u128, u32) {
    if dod == 0 {
        (0, 1)
    } else if fits(dod, 14) {
        (0b10 << 14 | low(dod, 14), 16)
    } else if fits(dod, 17) {
        (0b110 << 17 | low(dod, 17), 20)
    } else if fits(dod, 20) {
        (0b1110 << 20 | low(dod, 20), 24)
    } else {
        (0b1111 << 64 | u128::from(dod as u64), 68)
    }
}

/// The lowest `n` bits.
#[inline]
pub(crate) fn low(dod: i64, n: u32) -> u128 {
    u128::from(dod as u64 & ((1 << n) - 1))
}

/// How the XOR of two neighbouring values is to be written.
pub(crate) enum Window {
    /// Its bits inside the last window: bits and their number.
    Reused(u64, u32),
    /// A new window: 11 bits of header (leading 5, significant 6), bits and their number.
    New(u64, u64, u32),
}

/// Chooses the window for `delta`, which is not 0, and updates it.
#[inline]
pub(crate) fn window(delta: u64, leading: &mut u8, trailing: &mut u8) -> Window {
    let new_leading = delta.leading_zeros().min(31) as u8;

    let new_trailing = delta.trailing_zeros() as u8;
    if *leading != NO_WINDOW && new_leading >= *leading && new_trailing >= *trailing {
        return Window::Reused(
            delta >> *trailing,
            64 - u32::from(*leading) - u32::from(*trailing),
        );
    }

    (*leading, *trailing) = (new_leading, new_trailing);
    let n = 64 - u32::from(new_leading) - u32::from(new_trailing);
    Window::New(
        u64::from(new_leading) << 6 | u64::from(n & 63),
        delta >> new_trailing,
        n,
    )
}

/// Code of `delta`, the XOR of two neighbouring values, and its length, at most 77 bits; updates the window.
#[inline]
pub(crate) fn xor_code(delta: u64, leading: &mut u8, trailing: &mut u8) -> (u128, u32) {
    if delta == 0 {
        return (0, 1);
    }
    match window(delta, leading, trailing) {
        Window::Reused(bits, n) => (0b10 << n | u128::from(bits), 2 + n),
        Window::New(header, bits, n) => (
            (0b11 << 11 | u128::from(header)) << n | u128::from(bits),
            13 + n,
        ),
    }
}

#[cfg(test)]
#[path = "xor/tests.rs"]
mod tests;
