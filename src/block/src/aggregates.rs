//! Chunks of downsampled blocks, as Thanos writes them.
//!
//! ```text
//! encoding 0xff | count | sum | min | max | counter     each: length uvarint | encoding u8 | chunk data (length bytes)
//! ```
//!
//! A length of 0 means that there is no such column, and nothing follows it. All columns but the counter's have a sample
//! for each step, at the end of its window or at its last sample. The counter's of floats has the first raw sample before
//! them and the last one behind them, the latter at the time of the last step: only so a reset between two chunks can be
//! seen, since the values between are those of a counter that is never reset. Histograms have no minimum and no maximum.

mod counter;
mod read;

use bytes::Bytes;
use trireme_chunk::Encoding;

use crate::Samples;
use crate::codec::{Cursor, Malformed, put_uvarint};

pub use read::{Aggregate, AggregateSamples, Counted};

/// The encoding byte of such a chunk.
pub(crate) const AGGREGATES: u8 = 0xff;

/// Columns of a chunk, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Count,
    Sum,
    Min,
    Max,
    Counter,
}

impl Column {
    /// How many there are.
    const NUMBER: usize = 5;
    const ALL: [Self; Self::NUMBER] = [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Counter];
}

/// A chunk without its encoding byte, taken apart. Nothing is decoded yet.
pub(crate) struct ColumnChunks([Option<(Encoding, Bytes)>; Column::NUMBER]);

impl ColumnChunks {
    pub(crate) fn parse(data: &Bytes) -> Result<Self, Malformed> {
        let mut c = Cursor::new(data);

        let mut columns = [const { None }; Column::NUMBER];
        for column in &mut columns {
            let len = c.uvarint()?;
            if len == 0 {
                continue;
            }

            let encoding = Encoding::try_from(c.u8()?)
                .map_err(|_| Malformed("has a column of an unknown encoding"))?;
            let begin = c.position();
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= c.remaining());
            let len = len.ok_or(Malformed("has a column that is longer than it"))?;

            c.take(len)?;
            *column = Some((encoding, data.slice(begin..begin + len)));
        }

        if !c.is_empty() {
            return Err(Malformed("has bytes behind its last column"));
        }

        Ok(Self(columns))
    }

    /// True if its steps are histograms.
    pub(crate) fn is_histograms(&self) -> bool {
        let [_, sum, .., counter] = &self.0;
        let encoding = counter
            .as_ref()
            .or(sum.as_ref())
            .map(|(encoding, _)| *encoding);

        encoding.is_some_and(|encoding| {
            encoding == Encoding::FloatHistogram || encoding == Encoding::Histogram
        })
    }

    /// Appends the samples of a column to `out`; false if there is no such column.
    pub(crate) fn decode(&self, column: Column, out: &mut Samples) -> Result<bool, Malformed> {
        let Some((encoding, data)) = &self.0[column as usize] else {
            return Ok(false);
        };
        let decoded = out.append_chunk(*encoding, data);
        decoded.map_err(|_| Malformed("has a column that cannot be decoded"))?;
        Ok(true)
    }
}

/// The encoding of a chunk that is none of these.
pub(crate) fn raw_encoding(byte: u8) -> Result<Encoding, Malformed> {
    Encoding::try_from(byte).map_err(|_| Malformed("is of an unknown encoding"))
}

/// Appends the samples of a chunk that is none of these.
pub(crate) fn append_raw(
    encoding: Encoding,
    data: &Bytes,
    out: &mut Samples,
) -> Result<(), Malformed> {
    out.append_chunk(encoding, data)
        .map_err(|_| Malformed("cannot be decoded"))
}

/// Appends a column; `None` stands for one that the chunk does not have.
pub(crate) fn put_column(out: &mut Vec<u8>, column: Option<(Encoding, &[u8])>) {
    let Some((encoding, data)) = column else {
        return put_uvarint(out, 0);
    };
    put_uvarint(out, data.len() as u64);
    out.push(encoding.as_u8());
    out.extend_from_slice(data);
}

/// What a check of a chunk needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Steps.
    pub(crate) count: usize,
    /// Time of the first step (ms).
    pub(crate) first: i64,
    /// Time of the last step (ms).
    pub(crate) last: i64,
    /// The steps are histograms.
    pub(crate) is_histograms: bool,
}

/// Decodes all columns of a chunk without its encoding byte: are they as they should be?
pub(crate) fn check(data: &Bytes) -> Result<Checked, Malformed> {
    let columns = ColumnChunks::parse(data)?;

    let mut checked = None;
    for column in Column::ALL {
        let times = times_of(&columns, column)?;
        // The last sample of a counter is there twice.
        if !times.is_sorted_by(|a: &i64, b: &i64| {
            if column == Column::Counter {
                a <= b
            } else {
                a < b
            }
        }) {
            return Err(Malformed("has a column whose times do not rise"));
        }

        if column == Column::Count
            && let (Some(first), Some(last)) = (times.first(), times.last())
        {
            let count = times.len();
            let is_histograms = columns.is_histograms();
            checked = Some(Checked {
                count,
                first: *first,
                last: *last,
                is_histograms,
            });
        }
    }

    checked.ok_or(Malformed("has no counts"))
}

fn times_of(columns: &ColumnChunks, column: Column) -> Result<Vec<i64>, Malformed> {
    let mut samples = Samples::default();
    columns.decode(column, &mut samples)?;
    samples
        .times
        .extend(samples.histograms.iter().map(|sample| sample.t));
    Ok(samples.times)
}

#[cfg(test)]
mod tests {
    use trireme_chunk::XorAppender;

    use super::*;

    fn xor(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut open = XorAppender::start(&mut bytes);
        samples
            .iter()
            .for_each(|(t, v)| open.append(&mut bytes, *t, *v));
        bytes
    }

    fn chunk(columns: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut out = Vec::new();
        columns
            .iter()
            .for_each(|c| put_column(&mut out, c.as_deref().map(|bytes| (Encoding::Xor, bytes))));
        out
    }

    #[test]
    fn columns_are_decoded_and_what_is_no_such_chunk_is_refused() {
        let plain = xor(&[(300_000, 5.0), (600_000, 4.0)]);
        let counter = xor(&[
            (60_000, 1.0),
            (300_000, 2.0),
            (600_000, 3.0),
            (600_000, 3.0),
        ]);

        let all = |c: &Vec<u8>| Some(c.clone());
        let good = chunk(&[all(&plain), all(&plain), None, all(&plain), all(&counter)]);
        let want = Checked {
            count: 2,
            first: 300_000,
            last: 600_000,
            is_histograms: false,
        };

        assert_eq!(check(&good.clone().into()), Ok(want));
        for len in 0..good.len() {
            assert!(check(&good[..len].to_vec().into()).is_err(), "{len}");
        }

        assert!(
            check(&chunk(&[all(&counter), None, None, None, None]).into()).is_err(),
            "a time occurs twice"
        );
        assert!(
            check(&chunk(&[None, all(&plain), None, None, None]).into()).is_err(),
            "no counts"
        );

        assert!(check(&[good, vec![0]].concat().into()).is_err());
    }
}
