//! Reading encoding 1.

use super::{NO_WINDOW, XorAppender};
use crate::ChunkError;
use crate::bits::{BitReader, count_of, signed};

/// Samples of a float chunk in time order; ends after the first error.
#[derive(Clone, Debug)]
pub struct XorIterator<'a> {
    reader: BitReader<'a>,
    left: u16,
    count: u16,
    t: i64,
    t_delta: u64,
    v: u64,
    leading: u8,
    trailing: u8,
}

impl<'a> XorIterator<'a> {
    /// Reads the header.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let count = count_of(chunk)?;
        let mut reader = BitReader::new(chunk);
        reader.short(16)?;

        Ok(Self {
            reader,
            left: count,
            count,
            t: 0,
            t_delta: 0,
            v: 0,
            leading: NO_WINDOW,
            trailing: 0,
        })
    }

    /// Samples in the chunk, by its header.
    pub fn sample_count(&self) -> u16 {
        self.count
    }

    /// The appender that stands behind the samples read so far.
    pub(super) fn into_appender(self) -> Result<XorAppender, ChunkError> {
        let bits = u32::try_from(self.reader.position());
        Ok(XorAppender {
            t: self.t,
            v: self.v,
            t_delta: self.t_delta,
            bits: bits.map_err(|_| self.reader.malformed("chunk over 512 MiB"))?,
            count: self.count - self.left,
            leading: self.leading,
            trailing: self.trailing,
        })
    }

    #[inline]
    fn advance(&mut self) -> Result<(), ChunkError> {
        match self.count - self.left {
            0 => {
                self.t = self.reader.varint()?;
                self.v = self.reader.bits(64)?;
            }
            1 => {
                self.t_delta = self.reader.uvarint()?;
                self.t = self.t.wrapping_add(self.t_delta as i64);
                self.read_value()?;
            }
            _ => {
                let dod = read_dod(&mut self.reader)?;
                self.t_delta = self.t_delta.wrapping_add(dod as u64);
                self.t = self.t.wrapping_add(self.t_delta as i64);
                self.read_value()?;
            }
        }

        self.left -= 1;
        Ok(())
    }

    /// Reads a third or later sample as nearly all are: a time close to what is expected and few enough bits to be seen at
    /// once. False if it is not like that; then nothing was read.
    #[inline]
    fn advance_at_once(&mut self) -> bool {
        let (bits, have) = self.reader.peek();
        let (dod, time_bits) = match bits >> 62 {
            0b00 | 0b01 => (0, 1),
            0b10 => (signed(bits << 2 >> 50, 14), 16),
            _ => return false,
        };

        let rest = bits << time_bits;
        let (header, leading, n) = match rest >> 62 {
            0b00 | 0b01 => (1, self.leading, 0),
            0b10 if self.leading != NO_WINDOW => (
                2,
                self.leading,
                64 - u32::from(self.leading) - u32::from(self.trailing),
            ),
            0b10 => return false,
            // A number of 0 bits stands for 64, which are never seen at once.
            _ => (13, (rest << 2 >> 59) as u8, (rest << 7 >> 58) as u32),
        };

        let used = time_bits + header + n;
        if used > have || used > 63 || (header == 13 && (n == 0 || u32::from(leading) + n > 64)) {
            return false;
        }

        if n > 0 {
            (self.leading, self.trailing) = (leading, 64 - leading - n as u8);
            self.v ^= rest << header >> (64 - n) << self.trailing;
        }

        self.reader.skip(used);
        self.t_delta = self.t_delta.wrapping_add(dod as u64);
        self.t = self.t.wrapping_add(self.t_delta as i64);
        self.left -= 1;

        true
    }

    #[inline]
    fn read_value(&mut self) -> Result<(), ChunkError> {
        self.v ^= read_xor(&mut self.reader, &mut self.leading, &mut self.trailing)?;
        Ok(())
    }
}

impl Iterator for XorIterator<'_> {
    type Item = Result<(i64, f64), ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        if let Err(error) = self.advance() {
            // What follows a bad bit has no meaning.
            self.left = 0;
            return Some(Err(error));
        }

        Some(Ok((self.t, f64::from_bits(self.v))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

/// Reads a delta of deltas.
#[inline]
pub(crate) fn read_dod(reader: &mut BitReader<'_>) -> Result<i64, ChunkError> {
    match reader.ones(4)? {
        0 => Ok(0),
        1 => reader.signed(14),
        2 => reader.signed(17),
        3 => reader.signed(20),
        _ => Ok(reader.bits(64)? as i64),
    }
}

/// Reads the XOR of two neighbouring values; updates the window.
#[inline]
pub(crate) fn read_xor(
    reader: &mut BitReader<'_>,
    leading: &mut u8,
    trailing: &mut u8,
) -> Result<u64, ChunkError> {
    match reader.ones(2)? {
        0 => Ok(0),
        1 => read_reused(reader, leading, trailing),
        _ => read_window(reader, leading, trailing),
    }
}

/// Reads bits inside the last window.
#[inline]
pub(crate) fn read_reused(
    reader: &mut BitReader<'_>,
    leading: &mut u8,
    trailing: &mut u8,
) -> Result<u64, ChunkError> {
    // Prometheus reuses a window of all 64 bits when it reopens a chunk that never had one.
    if *leading == NO_WINDOW {
        (*leading, *trailing) = (0, 0);
    }
    let n = 64 - u32::from(*leading) - u32::from(*trailing);
    Ok(reader.bits(n)? << *trailing)
}

/// Reads a new window and the bits inside.
#[inline]
pub(crate) fn read_window(
    reader: &mut BitReader<'_>,
    leading: &mut u8,
    trailing: &mut u8,
) -> Result<u64, ChunkError> {
    let header = reader.short(11)?;
    let new_leading = (header >> 6) as u8;
    let significant = (header & 63) as u8;
    let significant = if significant == 0 { 64 } else { significant };
    if new_leading + significant > 64 {
        return Err(reader.malformed("more than 64 bits in a value"));
    }

    (*leading, *trailing) = (new_leading, 64 - new_leading - significant);
    Ok(reader.bits(u32::from(significant))? << *trailing)
}

/// Appends all samples of a float chunk to `times` (ms) and `values`; both stay as they were on an error.
pub fn decode_into(
    chunk: &[u8],
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    let times_before = times.len();
    let values_before = values.len();
    let mut samples = XorIterator::new(chunk)?;

    // A sample takes at least two bits: a false count must not make us allocate.
    let expected = usize::from(samples.sample_count()).min(chunk.len() * 4);
    times.reserve(expected);
    values.reserve(expected);

    while samples.left > 0 {
        let at_once = samples.count - samples.left >= 2 && samples.advance_at_once();
        if !at_once && let Err(error) = samples.advance() {
            times.truncate(times_before);
            values.truncate(values_before);
            return Err(error);
        }
        times.push(samples.t);
        values.push(f64::from_bits(samples.v));
    }

    Ok(())
}
