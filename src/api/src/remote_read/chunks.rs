//! The answer as a stream of frames with encoded chunks.
//!
//! ```text
//! frame: length of the message (varint) | CRC32C of the message, big endian | ChunkedReadResponse
//! ```

use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use trireme_base::ErrorKind;
use trireme_chunk::{Appended, ChunkError, Encoding, HistogramAppender, Xor2Appender, XorAppender};
use trireme_model::{AnyHistogram, HistogramSample, ResetHint};
use trireme_promql::{Cancel, Columns, HistogramPoint, SelectError, SeriesRead};
use trireme_query::QueryError;
use trireme_remote::prompb::read::{Chunk, ChunkedReadResponse, ChunkedSeries};

use super::{Chosen, Sets, labels_of};
use crate::selected::{PIECE_BYTES, Produce};

/// Samples of one chunk, as in blocks.
const CHUNK_SAMPLES_MAX: usize = 120;
/// A frame is closed when its chunks have this many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// Writes the frames of all queries.
pub(super) struct Frames {
    sets: std::iter::Enumerate<Sets>,
    cancel: Cancel,
    open: Option<Open>,
    columns: Columns,
}

/// The query whose series are being written.
struct Open {
    index: usize,
    start_ms: i64,
    end_ms: i64,
    series: std::vec::IntoIter<Box<dyn SeriesRead>>,
}

impl Frames {
    pub(super) fn new(sets: Sets, cancel: Cancel) -> Self {
        Self {
            sets: sets.enumerate(),
            cancel,
            open: None,
            columns: Columns::default(),
        }
    }

    /// Appends the frames of the next series; false when there is none.
    fn series(&mut self, out: &mut Vec<u8>) -> Result<bool, QueryError> {
        loop {
            let Some(open) = &mut self.open else {
                self.cancel.check().map_err(SelectError::from)?;
                let Some((index, chosen)) = self.sets.next() else {
                    return Ok(false);
                };

                let Chosen {
                    start_ms,
                    end_ms,
                    set,
                } = chosen?;

                self.open = Some(Open {
                    index,
                    start_ms,
                    end_ms,
                    series: set.series.into_iter(),
                });

                continue;
            };

            let Some(series) = open.series.next() else {
                self.open = None;
                continue;
            };

            self.cancel.check().map_err(SelectError::from)?;
            self.columns.clear();
            series.read(open.start_ms, open.end_ms, &mut self.columns)?;

            let chunks = encode(&self.columns)
                .map_err(|e| QueryError::new(ErrorKind::Internal, e.to_string()))?;
            push_frames(out, series.as_ref(), chunks, open.index as i64);
            return Ok(true);
        }
    }
}

impl Produce for Frames {
    fn produce(&mut self, out: &mut Vec<u8>) -> Result<bool, QueryError> {
        while out.len() < PIECE_BYTES {
            if !self.series(out)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn push_frames(out: &mut Vec<u8>, series: &dyn SeriesRead, chunks: Vec<Chunk>, query_index: i64) {
    let mut chunks = chunks.into_iter().peekable();
    while chunks.peek().is_some() {
        let mut bytes = 0;

        let mut some = Vec::new();
        while bytes < FRAME_BYTES
            && let Some(chunk) = chunks.next()
        {
            bytes += chunk.data.len();
            some.push(chunk);
        }

        let chunked_series = vec![ChunkedSeries {
            labels: labels_of(series.labels()),
            chunks: some,
        }];
        let message = ChunkedReadResponse {
            chunked_series,
            query_index,
        }
        .encode_to_vec();

        prost::encoding::encode_varint(message.len() as u64, out);
        out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        out.extend_from_slice(&message);
    }
}

/// Chunks in time order; floats and histograms never share one. Those with start timestamps carry them.
fn encode(columns: &Columns) -> Result<Vec<Chunk>, ChunkError> {
    let mut chunks = float_chunks(columns)?;

    let mut run: Vec<HistogramSample> = Vec::new();
    for point in &columns.histograms {
        let before = run.last().map(|s| s.t);
        let float_between = before.is_some_and(|before| {
            let next = columns.float_t.partition_point(|t| *t <= before);
            columns.float_t.get(next).is_some_and(|t| *t < point.t)
        });
        if float_between {
            histogram_chunks(&std::mem::take(&mut run), &mut chunks)?;
        }
        run.push(sample(point));
    }

    histogram_chunks(&run, &mut chunks)?;
    chunks.sort_by_key(|c| c.min_time_ms);
    Ok(chunks)
}

fn float_chunks(columns: &Columns) -> Result<Vec<Chunk>, ChunkError> {
    let mut chunks = Vec::new();
    let times = &columns.float_t;

    let mut from = 0;
    while from < times.len() {
        // A chunk must not reach over a histogram: chunks of a series do not overlap.
        let next = columns.histograms.partition_point(|h| h.t < times[from]);
        let bound = columns.histograms.get(next).map_or(i64::MAX, |h| h.t);
        let full = times.len().min(from + CHUNK_SAMPLES_MAX);
        let to = from + times[from..full].partition_point(|t| *t < bound).max(1);
        chunks.push(floats_chunk(columns, from..to)?);
        from = to;
    }

    Ok(chunks)
}

fn floats_chunk(columns: &Columns, at: Range<usize>) -> Result<Chunk, ChunkError> {
    let times = &columns.float_t[at.clone()];
    let values = &columns.float_v[at.clone()];
    let starts = columns.float_st.get(at).unwrap_or_default();
    let (encoding, data) = encode_floats(times, values, starts)?;

    let first = times.first().copied().unwrap_or(0);
    let last = times.last().copied().unwrap_or(0);
    let r#type = i32::from(encoding.as_u8());

    Ok(Chunk {
        min_time_ms: first,
        max_time_ms: last,
        r#type,
        data,
    })
}

/// A column of start timestamps may be empty.
fn encode_floats(
    times: &[i64],
    values: &[f64],
    starts: &[i64],
) -> Result<(Encoding, Vec<u8>), ChunkError> {
    if starts.iter().any(|start| *start != 0) {
        let mut appender = Xor2Appender::default();
        for ((t, v), start) in times.iter().zip(values).zip(starts) {
            appender.append(*start, *t, *v)?;
        }
        return Ok((Encoding::Xor2, appender.bytes().to_vec()));
    }

    let mut data = Vec::with_capacity(times.len() * 4);
    let mut appender = XorAppender::start(&mut data);
    for (t, v) in times.iter().zip(values) {
        appender.append(&mut data, *t, *v);
    }
    Ok((Encoding::Xor, data))
}

fn sample(point: &HistogramPoint) -> HistogramSample {
    let integer = if point.is_integer {
        point.h.to_integer()
    } else {
        None
    };

    let h = integer.map_or_else(
        || AnyHistogram::Float(point.h.clone()),
        |h| AnyHistogram::Int(Arc::new(h)),
    );

    HistogramSample {
        t: point.t,
        st: point.st,
        h,
    }
}

fn histogram_chunks(samples: &[HistogramSample], out: &mut Vec<Chunk>) -> Result<(), ChunkError> {
    let with_starts = samples.iter().any(|s| s.st != 0);

    let mut open: Option<(i64, HistogramAppender)> = None;
    for sample in samples {
        let hint = match &mut open {
            None => ResetHint::Unknown,
            Some((_, appender)) if usize::from(appender.count()) >= CHUNK_SAMPLES_MAX => {
                appender.hint_for(sample)?
            }
            Some((_, appender)) => match appender.append(sample)? {
                Appended::NeedsNewChunk(hint) => hint,
                _ => continue,
            },
        };

        close(open.take(), out);
        let new = match with_starts {
            true => HistogramAppender::start_with_starts(sample, hint)?,
            false => HistogramAppender::start(sample, hint)?,
        };

        open = Some((sample.t, new));
    }

    close(open, out);
    Ok(())
}

fn close(open: Option<(i64, HistogramAppender)>, out: &mut Vec<Chunk>) {
    if let Some((min_time_ms, appender)) = open {
        out.push(Chunk {
            min_time_ms,
            max_time_ms: appender.last_time(),
            r#type: i32::from(appender.encoding().as_u8()),
            data: appender.bytes().to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use trireme_chunk::{Encoding, decode_histograms, decode_into, decode_xor2_into};
    use trireme_model::{FloatHistogram, Histogram};

    use super::*;

    #[test]
    fn chunks_carry_start_timestamps_where_there_are_any() {
        let mut columns = Columns::default();
        for t in 1..300 {
            match t {
                200.. => {
                    let h = FloatHistogram {
                        count: t as f64,
                        ..Default::default()
                    };
                    columns.push_histogram(t, if t < 250 { 0 } else { t - 1 }, Arc::new(h));
                }
                _ => columns.push_float_st(t, if t <= 120 { 0 } else { t - 1 }, t as f64),
            }
        }

        let chunks = encode(&columns).expect("good");

        let mut seen = Vec::new();
        for chunk in &chunks {
            let mut times = Vec::new();

            let mut starts = Vec::new();
            match Encoding::try_from(chunk.r#type as u8).expect("known") {
                Encoding::Xor => {
                    decode_into(&chunk.data, &mut times, &mut Vec::new()).expect("just written");
                    starts.resize(times.len(), 0);
                }
                Encoding::Xor2 => {
                    decode_xor2_into(&chunk.data, &mut times, &mut Vec::new(), Some(&mut starts))
                        .expect("just written");
                }
                encoding => {
                    let samples = decode_histograms(encoding, &chunk.data).expect("just written");
                    times.extend(samples.iter().map(|s| s.t));
                    starts.extend(samples.iter().map(|s| s.st));
                }
            }

            seen.extend(times.into_iter().zip(starts));
        }

        let want = |t: i64| {
            if t <= 120 || (200..250).contains(&t) {
                0
            } else {
                t - 1
            }
        };

        assert_eq!(seen, (1..300).map(|t| (t, want(t))).collect::<Vec<_>>());
        assert_eq!(
            chunks.iter().map(|c| c.r#type).collect::<Vec<_>>(),
            [1, 4, 6]
        );
    }

    #[test]
    fn integer_histograms_stay_integer() {
        let mut columns = Columns::default();
        let integer = |count| {
            AnyHistogram::Int(Arc::new(Histogram {
                count,
                ..Histogram::default()
            }))
        };

        columns.push_stored_histogram(1, 0, &integer(1));
        columns.push_stored_histogram(2, 0, &integer(2));
        columns.push_histogram(
            3,
            0,
            Arc::new(FloatHistogram {
                count: 3.0,
                ..Default::default()
            }),
        );

        columns.push_stored_histogram(4, 3, &integer(4));
        let kinds = |starts: bool| {
            let mut columns = columns.clone();
            columns
                .histograms
                .iter_mut()
                .for_each(|h| h.st = if starts { h.st } else { 0 });

            let chunks = encode(&columns).expect("good");
            let kinds: Vec<i32> = chunks.iter().map(|c| c.r#type).collect();
            let kept = chunks
                .iter()
                .flat_map(|chunk: &Chunk| {
                    let encoding = Encoding::try_from(chunk.r#type as u8).expect("known");
                    decode_histograms(encoding, &chunk.data).expect("just written")
                })
                .map(|s| matches!(s.h, AnyHistogram::Int(_)));

            assert_eq!(kept.collect::<Vec<_>>(), [true, true, false, true]);
            kinds
        };

        assert_eq!(kinds(false), [2, 3, 2]);
        assert_eq!(kinds(true), [5, 6, 5]);
    }

    #[test]
    fn chunks_hold_all_samples_in_order_and_do_not_overlap() {
        let mut columns = Columns::default();
        for t in 0..1_000 {
            match t {
                300..310 | 700..950 => {
                    let h = FloatHistogram {
                        count: t as f64,
                        ..Default::default()
                    };
                    columns.push_histogram(t, 0, Arc::new(h));
                }
                _ => columns.push_float(t, t as f64 / 3.0),
            }
        }

        let chunks = encode(&columns).expect("good");
        assert!(
            chunks
                .windows(2)
                .all(|w| w[0].max_time_ms < w[1].min_time_ms)
        );

        let mut seen = Vec::new();
        for chunk in &chunks {
            let mut times = Vec::new();

            let mut values = Vec::new();
            if chunk.r#type == i32::from(Encoding::Xor.as_u8()) {
                decode_into(&chunk.data, &mut times, &mut values).expect("just written");
            } else {
                let samples =
                    decode_histograms(Encoding::FloatHistogram, &chunk.data).expect("just written");
                times.extend(samples.iter().map(|s| s.t));
            }

            assert_eq!(
                (times.first(), times.last()),
                (Some(&chunk.min_time_ms), Some(&chunk.max_time_ms))
            );

            assert!(times.len() <= CHUNK_SAMPLES_MAX);
            seen.extend(times);
        }

        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    }
}
