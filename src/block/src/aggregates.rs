//! Chunks of downsampled blocks, as Thanos writes them.
//!
//! ```text
//! encoding 0xff | count | sum | min | max | counter     each: length uvarint | encoding u8 | chunk data (length bytes)
//! ```
//!
//! A length of 0 means that there is no such column, and nothing follows it. All columns but the counter's have a sample for each step,
//! at the time of its last raw sample. The counter's has the first and the last raw sample too, the last twice.

use bytes::Bytes;
use trireme_chunk::Encoding;

use crate::Samples;
use crate::codec::{Cursor, Malformed};

/// The encoding byte of such a chunk.
pub(crate) const AGGREGATES: u8 = 0xff;

/// Columns of a chunk.
const COLUMNS: usize = 5;
/// The column that every chunk has.
const COUNT: usize = 0;
/// The column whose last time occurs twice.
const COUNTER: usize = 4;

/// What a check of a chunk needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Steps.
    pub(crate) count: usize,
    /// Time of the first step (ms).
    pub(crate) first: i64,
    /// Time of the last step (ms).
    pub(crate) last: i64,
}

/// Decodes all columns of a chunk without its encoding byte: are they as they should be?
pub(crate) fn check(data: &Bytes) -> Result<Checked, Malformed> {
    let mut c = Cursor::new(data);
    let mut checked = None;
    for column in 0..COLUMNS {
        let len = c.uvarint()?;
        if len == 0 {
            continue;
        }
        let encoding =
            Encoding::try_from(c.u8()?).map_err(|_| Malformed("has a column of an unknown encoding"))?;
        let begin = c.position();
        let len = usize::try_from(len).ok().filter(|len| *len <= c.remaining());
        let len = len.ok_or(Malformed("has a column that is longer than it"))?;
        c.take(len)?;
        let times = times_of(encoding, &data.slice(begin..begin + len))?;
        let rises = |a: &i64, b: &i64| if column == COUNTER { a <= b } else { a < b };
        if !times.is_sorted_by(rises) {
            return Err(Malformed("has a column whose times do not rise"));
        }
        if column == COUNT
            && let (Some(first), Some(last)) = (times.first(), times.last())
        {
            checked = Some(Checked { count: times.len(), first: *first, last: *last });
        }
    }
    if !c.is_empty() {
        return Err(Malformed("has bytes behind its last column"));
    }
    checked.ok_or(Malformed("has no counts"))
}

fn times_of(encoding: Encoding, data: &Bytes) -> Result<Vec<i64>, Malformed> {
    let mut samples = Samples::default();
    samples.append_chunk(encoding, data).map_err(|_| Malformed("has a column that cannot be decoded"))?;
    samples.times.extend(samples.histograms.iter().map(|sample| sample.t));
    Ok(samples.times)
}

#[cfg(test)]
mod tests {
    use trireme_chunk::XorAppender;

    use super::*;

    fn xor(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut open = XorAppender::start(&mut bytes);
        samples.iter().for_each(|(t, v)| open.append(&mut bytes, *t, *v));
        bytes
    }

    fn chunk(columns: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut out = Vec::new();
        for column in columns {
            crate::codec::put_uvarint(&mut out, column.as_ref().map_or(0, Vec::len) as u64);
            if let Some(bytes) = column {
                out.push(Encoding::Xor.as_u8());
                out.extend_from_slice(bytes);
            }
        }
        out
    }

    #[test]
    fn columns_are_decoded_and_what_is_no_such_chunk_is_refused() {
        let plain = xor(&[(300_000, 5.0), (600_000, 4.0)]);
        let counter = xor(&[(60_000, 1.0), (300_000, 2.0), (600_000, 3.0), (600_000, 3.0)]);
        let all = |c: &Vec<u8>| Some(c.clone());
        let good = chunk(&[all(&plain), all(&plain), None, all(&plain), all(&counter)]);
        let want = Checked { count: 2, first: 300_000, last: 600_000 };
        assert_eq!(check(&good.clone().into()), Ok(want));
        for len in 0..good.len() {
            assert!(check(&good[..len].to_vec().into()).is_err(), "{len}");
        }
        assert!(
            check(&chunk(&[all(&counter), None, None, None, None]).into()).is_err(),
            "a time occurs twice"
        );
        assert!(check(&chunk(&[None, all(&plain), None, None, None]).into()).is_err(), "no counts");
        assert!(check(&[good, vec![0]].concat().into()).is_err());
    }
}
