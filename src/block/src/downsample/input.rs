//! Chunks of the source, decoded.

use std::sync::Arc;

use bytes::Bytes;
use trireme_chunk::Encoding;
use trireme_model::{FloatHistogram, HistogramSample};

use crate::aggregates::{AGGREGATES, Column, ColumnChunks, append_raw, raw_encoding};
use crate::chunks::chunk_place;
use crate::codec::Malformed;
use crate::{BlockError, ChunkMeta, Interval, Samples};

/// One chunk of the source.
pub(super) enum Input {
    /// Raw floats.
    Floats(FloatSamples),
    /// Raw histograms.
    Histograms(Vec<HistogramSample>),
    /// Windows of floats.
    FloatSteps(FloatSteps),
    /// Windows of histograms.
    HistogramSteps(Vec<HistogramStep>),
}

/// Raw floats in order of time.
#[derive(Default)]
pub(super) struct FloatSamples {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl FloatSamples {
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        self.times.iter().copied().zip(self.values.iter().copied())
    }
}

/// One window of floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloatStep {
    pub(super) t: i64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Windows of floats of one chunk.
pub(super) struct FloatSteps {
    pub(super) steps: Vec<FloatStep>,
    /// The counter's column as it is: the first raw sample, one for each step, the last raw sample.
    pub(super) counter: Vec<(i64, f64)>,
}

/// One window of histograms.
#[derive(Clone, Debug)]
pub(super) struct HistogramStep {
    pub(super) t: i64,
    pub(super) count: f64,
    pub(super) sum: Arc<FloatHistogram>,
    pub(super) last: Arc<FloatHistogram>,
}

impl Default for Input {
    fn default() -> Self {
        Self::Floats(FloatSamples::default())
    }
}

impl Input {
    /// Decodes a chunk without what is deleted.
    pub(super) fn read(
        &mut self,
        chunk: &ChunkMeta,
        encoding: u8,
        data: &Bytes,
        deleted: &[Interval],
    ) -> Result<(), BlockError> {
        let read = match encoding {
            AGGREGATES => ColumnChunks::parse(data).and_then(|columns| steps_of(&columns, deleted)),
            raw => raw_encoding(raw).and_then(|encoding| raw_of(encoding, data, deleted)),
        };
        *self = read.map_err(|e| e.at(chunk_place(chunk.reference)))?;
        Ok(())
    }

    /// Samples or steps.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(samples) => samples.times.len(),
            Self::Histograms(samples) => samples.len(),
            Self::FloatSteps(steps) => steps.steps.len(),
            Self::HistogramSteps(steps) => steps.len(),
        }
    }

    /// Time of the first sample or step.
    pub(super) fn first_time(&self) -> Option<i64> {
        match self {
            Self::Floats(samples) => samples.times.first().copied(),
            Self::Histograms(samples) => samples.first().map(|sample| sample.t),
            Self::FloatSteps(steps) => steps.steps.first().map(|step| step.t),
            Self::HistogramSteps(steps) => steps.first().map(|step| step.t),
        }
    }
}

fn raw_of(encoding: Encoding, data: &Bytes, deleted: &[Interval]) -> Result<Input, Malformed> {
    let samples = decoded(deleted, |out| append_raw(encoding, data, out))?;
    Ok(match samples.histograms.is_empty() {
        true => Input::Floats(FloatSamples {
            times: samples.times,
            values: samples.values,
        }),
        false => Input::Histograms(samples.histograms),
    })
}

fn decoded(
    deleted: &[Interval],
    decode: impl FnOnce(&mut Samples) -> Result<(), Malformed>,
) -> Result<Samples, Malformed> {
    let mut samples = Samples::default();
    decode(&mut samples)?;
    if !deleted.is_empty() {
        samples.trim(0, 0, i64::MIN, i64::MAX, deleted);
    }
    Ok(samples)
}

/// A column that must be there.
fn column(
    columns: &ColumnChunks,
    column: Column,
    deleted: &[Interval],
) -> Result<Samples, Malformed> {
    decoded(deleted, |out| match columns.decode(column, out)? {
        true => Ok(()),
        false => Err(Malformed("lacks a column")),
    })
}

/// Why columns cannot be put side by side.
const NOT_ALIGNED: Malformed = Malformed("has columns of other times than its counts");

/// No writer makes longer chunks, and what is made of one has to fit into one.
const STEPS_MAX: usize = 1 << 14;

fn steps_of(columns: &ColumnChunks, deleted: &[Interval]) -> Result<Input, Malformed> {
    let counts = column(columns, Column::Count, deleted)?;
    let sums = column(columns, Column::Sum, deleted)?;
    let counter = column(columns, Column::Counter, deleted)?;
    if counts.times.len() > STEPS_MAX {
        return Err(Malformed("has too many steps"));
    }

    if columns.is_histograms() {
        return histogram_steps(&counts, &sums, &counter).map(Input::HistogramSteps);
    }

    let mins = column(columns, Column::Min, deleted)?;

    let maxs = column(columns, Column::Max, deleted)?;
    if [&sums, &mins, &maxs]
        .iter()
        .any(|of| of.times != counts.times)
    {
        return Err(NOT_ALIGNED);
    }

    let each = counts.times.iter().zip(&counts.values).enumerate();
    let steps = each.map(|(at, (t, count))| FloatStep {
        t: *t,
        count: *count,
        sum: sums.values[at],
        min: mins.values[at],
        max: maxs.values[at],
    });

    let steps = steps.collect();
    let counter = counter.times.into_iter().zip(counter.values).collect();
    Ok(Input::FloatSteps(FloatSteps { steps, counter }))
}

fn histogram_steps(
    counts: &Samples,
    sums: &Samples,
    counter: &Samples,
) -> Result<Vec<HistogramStep>, Malformed> {
    if !has_histograms_at(sums, &counts.times) || !has_histograms_at(counter, &counts.times) {
        return Err(NOT_ALIGNED);
    }

    let each = counts.times.iter().zip(&counts.values).enumerate();
    let steps = each.map(|(at, (t, count))| HistogramStep {
        t: *t,
        count: *count,
        sum: sums.histograms[at].h.to_float(),
        last: counter.histograms[at].h.to_float(),
    });
    Ok(steps.collect())
}

fn has_histograms_at(samples: &Samples, times: &[i64]) -> bool {
    samples
        .histograms
        .iter()
        .map(|s| s.t)
        .eq(times.iter().copied())
}
