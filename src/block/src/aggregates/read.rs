//! What a query reads of a downsampled block.

use std::sync::Arc;

use bytes::Bytes;
use trireme_model::{AnyHistogram, FloatHistogram, HistogramSample};

use super::{AGGREGATES, Column, ColumnChunks, counter};
use crate::chunks::chunk_place;
use crate::codec::Malformed;
use crate::{Block, BlockError, BlockSeries, Interval, Samples};

/// What becomes of the samples of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Their mean, and how many they were.
    #[default]
    Average,
    /// Their sum.
    Sum,
    /// The least of them; of histograms the mean.
    Min,
    /// The greatest of them; of histograms the mean.
    Max,
    /// The last of them, and what shows resets between.
    Counter,
}

/// How many raw samples one sample stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Time of the sample (ms).
    pub t: i64,
    /// How many.
    pub n: f64,
}

/// Samples made of windows.
#[derive(Clone, Debug, Default)]
pub struct AggregateSamples {
    /// One for each window, or for a counter a few more.
    pub samples: Samples,
    /// With [`Aggregate::Average`] one for each sample.
    pub counts: Vec<Counted>,
}

/// The columns of one chunk while it is read.
#[derive(Default)]
struct Scratch {
    main: Samples,
    counts: Samples,
}

impl Block {
    /// Appends what is asked of the windows of `[start, end]` (ms, inclusive; a window stands at its end) to `out`, no further
    /// than the chunk with which it has more than `samples_max` samples. Raw chunks give their samples.
    pub fn read_aggregate(
        &self,
        series: &BlockSeries,
        (start, end): (i64, i64),
        aggregate: Aggregate,
        samples_max: usize,
        out: &mut AggregateSamples,
    ) -> Result<(), BlockError> {
        let mut chunks = self.chunks().reader();

        let mut scratch = Scratch::default();
        for chunk in series.chunks.iter().filter(|c| c.overlaps(start, end)) {
            if out.samples.len() > samples_max {
                return Ok(());
            }

            let floats = out.samples.times.len();
            let histograms = out.samples.histograms.len();
            let counts = out.counts.len();
            let (encoding, data, _) = chunks.read_any(chunk.reference)?;
            append_chunk(encoding, &data, aggregate, &mut scratch, out)
                .map_err(|e| e.at(chunk_place(chunk.reference)))?;

            out.samples
                .trim(floats, histograms, start, end, &series.deleted);
            out.trim_counts(counts, (start, end), &series.deleted);
        }

        Ok(())
    }
}

/// Appends what is asked of a chunk of any encoding.
fn append_chunk(
    encoding: u8,
    data: &Bytes,
    aggregate: Aggregate,
    scratch: &mut Scratch,
    out: &mut AggregateSamples,
) -> Result<(), Malformed> {
    if encoding != AGGREGATES {
        return super::append_raw(super::raw_encoding(encoding)?, data, &mut out.samples);
    }

    read_columns(&ColumnChunks::parse(data)?, aggregate, scratch, out)
}

impl AggregateSamples {
    /// Drops, among the counts from `from` on, those outside the times and those in a deleted interval.
    fn trim_counts(&mut self, from: usize, (start, end): (i64, i64), deleted: &[Interval]) {
        let mut at = 0;
        self.counts.retain(|counted| {
            at += 1;
            at <= from || is_kept(counted.t, start, end, deleted)
        });
    }
}

fn is_kept(t: i64, start: i64, end: i64, deleted: &[Interval]) -> bool {
    t >= start
        && t <= end
        && !deleted
            .iter()
            .any(|interval| interval.first <= t && t <= interval.last)
}

/// Appends what is asked of one chunk.
fn read_columns(
    columns: &ColumnChunks,
    aggregate: Aggregate,
    scratch: &mut Scratch,
    out: &mut AggregateSamples,
) -> Result<(), Malformed> {
    let is_histograms = columns.is_histograms();
    let column = column_for(aggregate, is_histograms);

    let Scratch { main, counts } = scratch;
    main.clear();
    counts.clear();

    if !columns.decode(column, main)? {
        return Err(Malformed("lacks a column"));
    }

    match aggregate {
        Aggregate::Counter if !is_histograms => restore_counter(main, &mut out.samples),
        Aggregate::Average => {
            columns.decode(Column::Count, counts)?;
            average(main, counts, out)?;
        }
        Aggregate::Min | Aggregate::Max if is_histograms => {
            columns.decode(Column::Count, counts)?;
            divide(main, counts)?;
            out.samples.histograms.append(&mut main.histograms);
        }
        _ => {
            out.samples.times.append(&mut main.times);
            out.samples.values.append(&mut main.values);
            out.samples.histograms.append(&mut main.histograms);
        }
    }

    Ok(())
}

fn column_for(aggregate: Aggregate, is_histograms: bool) -> Column {
    match aggregate {
        Aggregate::Counter => Column::Counter,
        Aggregate::Min if !is_histograms => Column::Min,
        Aggregate::Max if !is_histograms => Column::Max,
        _ => Column::Sum,
    }
}

/// Appends a counter of floats behind what is there.
fn restore_counter(main: &Samples, out: &mut Samples) {
    let Samples { times, values, .. } = out;
    let last = times.last().copied();
    counter::restore(&main.times, &main.values, |t, v| {
        if last.is_none_or(|last| last < t) {
            times.push(t);
            values.push(v);
        }
    });
}

/// Appends sums divided by counts.
fn average(
    sums: &mut Samples,
    counts: &Samples,
    out: &mut AggregateSamples,
) -> Result<(), Malformed> {
    divide(sums, counts)?;
    let counted = counts
        .times
        .iter()
        .zip(&counts.values)
        .map(|(t, n)| Counted { t: *t, n: *n });

    out.counts.extend(counted);
    out.samples.times.append(&mut sums.times);
    out.samples.values.append(&mut sums.values);
    out.samples.histograms.append(&mut sums.histograms);

    Ok(())
}

fn divide(sums: &mut Samples, counts: &Samples) -> Result<(), Malformed> {
    const NOT_ALIGNED: Malformed = Malformed("has counts of other times than sums");

    let times = sums.histograms.iter().map(|sample| sample.t);
    let fits = match sums.histograms.is_empty() {
        true => sums.times == counts.times,
        false => times.eq(counts.times.iter().copied()),
    };
    if !fits {
        return Err(NOT_ALIGNED);
    }

    sums.values
        .iter_mut()
        .zip(&counts.values)
        .for_each(|(sum, n)| *sum /= n);

    for (sample, n) in sums.histograms.iter_mut().zip(&counts.values) {
        let HistogramSample { h, .. } = sample;
        let mut mean: FloatHistogram = FloatHistogram::clone(&h.to_float());
        mean.div(*n);
        *h = AnyHistogram::Float(Arc::new(mean));
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use trireme_chunk::{Encoding, XorAppender};

    use super::*;
    use crate::aggregates::{check, put_column};

    const ALL: [Aggregate; 5] = [
        Aggregate::Average,
        Aggregate::Sum,
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::Counter,
    ];

    proptest! {
        #[test]
        fn damaged_chunks_never_panic(
            samples in proptest::collection::vec((any::<i64>(), any::<f64>()), 0..9),
            spoiled in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        ) {
            let mut column = Vec::new();
            let mut open = XorAppender::start(&mut column);
            samples.iter().for_each(|(t, v)| open.append(&mut column, *t, *v));
            let mut data = Vec::new();
            (0..5).for_each(|_| put_column(&mut data, Some((Encoding::Xor, &column))));
            for (at, byte) in spoiled {
                let at = at.index(data.len());
                data[at] = byte;
            }

            let data = Bytes::from(data);
            let _ = check(&data);
            if let Ok(columns) = ColumnChunks::parse(&data) {
                for aggregate in ALL {
                    let mut out = AggregateSamples::default();
                    let _ = read_columns(&columns, aggregate, &mut Scratch::default(), &mut out);
                }
            }
        }
    }
}
