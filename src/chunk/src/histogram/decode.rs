//! Reading histogram chunks.

use trireme_model::{HistogramSample, ResetHint};

use super::fields::Fields;
use super::form::{Float, Int};
use super::layout::Layout;
use super::parts::{Assemble, Parts};
use super::{HEADER_BYTES, hint_of};
use crate::bits::BitReader;
use crate::start::StartState;
use crate::{ChunkError, Encoding};

/// The most memory that decoding a chunk may take; real chunks stay far below a mebibyte.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// All samples of a histogram chunk of any encoding, in time order.
pub fn decode_histograms(
    encoding: Encoding,
    chunk: &[u8],
) -> Result<Vec<HistogramSample>, ChunkError> {
    match encoding {
        Encoding::Histogram | Encoding::HistogramSt => decode::<Int>(encoding, chunk),
        Encoding::FloatHistogram | Encoding::FloatHistogramSt => decode::<Float>(encoding, chunk),
        other => Err(ChunkError::WrongEncoding(other.as_u8())),
    }
}

fn decode<F: Assemble>(
    encoding: Encoding,
    chunk: &[u8],
) -> Result<Vec<HistogramSample>, ChunkError> {
    let mut reader = ChunkReader::<F>::new(encoding, chunk)?;

    let mut samples = Vec::new();
    while let Some((t, st, parts)) = reader.next()? {
        samples.push(HistogramSample {
            t,
            st,
            h: F::assemble(parts),
        });
    }

    Ok(samples)
}

/// Reads samples one by one.
pub(super) struct ChunkReader<'a, F: Assemble> {
    bits: BitReader<'a>,
    pub(super) header: ResetHint,
    pub(super) layout: Layout,
    pub(super) fields: Option<Fields<F>>,
    pub(super) start: Option<StartState>,
    pub(super) count: u16,
    read: u16,
    budget: usize,
}

impl<'a, F: Assemble> ChunkReader<'a, F> {
    pub(super) fn new(encoding: Encoding, chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let mut bits = BitReader::new(chunk);
        let high = bits.byte()?;
        let low = bits.byte()?;
        let third = bits.byte()?;

        debug_assert_eq!(bits.position(), HEADER_BYTES * 8);
        // With start timestamps the flags share a byte with the count, and theirs holds the start header.
        let with_start = matches!(encoding, Encoding::HistogramSt | Encoding::FloatHistogramSt);
        let (header, count_high, start) = if with_start {
            (
                hint_of(high),
                high & 0x3f,
                Some(StartState::of_header(third)),
            )
        } else {
            (hint_of(third), high, None)
        };

        let count = u16::from_be_bytes([count_high, low]);
        let layout = Layout::default();
        let budget = DECODED_BYTES_MAX;

        Ok(Self {
            bits,
            header,
            layout,
            fields: None,
            start,
            count,
            read: 0,
            budget,
        })
    }

    /// Bit behind the last sample that was read.
    pub(super) fn position(&self) -> usize {
        self.bits.position()
    }

    /// The next sample as (time, start, histogram).
    pub(super) fn next(&mut self) -> Result<Option<(i64, i64, Parts<F>)>, ChunkError> {
        if self.read == self.count {
            return Ok(None);
        }

        let (before, mut parts) = match &mut self.fields {
            None => {
                self.layout = Layout::read(&mut self.bits)?;
                let (fields, parts) = Fields::read_first(&mut self.bits, &self.layout)?;
                self.fields = Some(fields);
                (0, parts)
            }
            Some(fields) => (fields.t, fields.read_next(&mut self.bits, &self.layout)?),
        };

        let t = self.fields.as_ref().map_or(0, |f| f.t);
        let st = match &mut self.start {
            Some(start) => start.read(&mut self.bits, self.read, t, before)?,
            None => 0,
        };

        parts.hint = self.hint();

        if parts.is_stale() {
            parts = Parts::stale(parts.sum);
        }

        self.pay(parts.bytes())?;
        self.read += 1;

        Ok(Some((t, st, parts)))
    }

    fn hint(&self) -> ResetHint {
        match self.header {
            ResetHint::Gauge => ResetHint::Gauge,
            _ if self.read > 0 => ResetHint::NotReset,
            ResetHint::Reset => ResetHint::Reset,
            // The chunk that "not reset" refers to may be gone.
            ResetHint::NotReset | ResetHint::Unknown => ResetHint::Unknown,
        }
    }

    /// Takes bytes from what a chunk may decode to.
    fn pay(&mut self, cost: usize) -> Result<(), ChunkError> {
        self.budget = self
            .budget
            .checked_sub(cost)
            .ok_or_else(|| self.bits.malformed("decoded histograms over 256 MiB"))?;
        Ok(())
    }
}
