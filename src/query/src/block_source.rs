//! A block as a source.

use std::sync::Arc;

use trireme_base::ErrorKind;
use trireme_block::{Aggregate, AggregateSamples, Block, BlockError, BlockSeries, Samples};
use trireme_model::{Labels, Matcher};
use trireme_promql::{Cancel, Columns, Counted, SelectError, SeriesRead, Stop};

use crate::{Source, SourceError, Texts};

/// How many series are found between two looks at the deadline.
const SERIES_PER_CHECK: usize = 1_024;

/// A block of a local directory or of the bucket.
pub struct BlockSource {
    block: Arc<Block>,
    place: &'static str,
    with_starts: bool,
    aggregate: Aggregate,
}

impl BlockSource {
    /// `place` says in warnings where the block lies, for example `local` or `bucket`.
    pub fn new(block: Arc<Block>, place: &'static str) -> Self {
        Self {
            block,
            place,
            with_starts: true,
            aggregate: Aggregate::default(),
        }
    }

    /// What is read of a downsampled block.
    pub fn with_aggregate(self, aggregate: Aggregate) -> Self {
        Self { aggregate, ..self }
    }

    /// Whether start timestamps are given to readers; without them the block answers as one of encodings 1 to 3.
    pub fn with_starts(self, with_starts: bool) -> Self {
        Self {
            with_starts,
            ..self
        }
    }

    fn failed(&self, e: &BlockError) -> SourceError {
        self.block.note_error(e);
        SourceError::failed(e.kind(), e.to_string())
    }
}

impl Source for BlockSource {
    fn name(&self) -> String {
        format!("{} block {}", self.place, self.block.meta().ulid)
    }

    fn time_range(&self) -> (i64, i64) {
        let range = self.block.meta().range();
        (range.start, range.end.saturating_sub(1))
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        let mut found: Vec<Box<dyn SeriesRead>> = Vec::new();
        let mut stopped: Option<Stop> = None;
        let walk = self
            .block
            .for_each(matchers, start_ms, end_ms, &mut |series| {
                if found.len().is_multiple_of(SERIES_PER_CHECK)
                    && let Err(stop) = cancel.check()
                {
                    // The error only ends the walk; `stopped` is what is reported.
                    stopped = Some(stop);
                    return Err(BlockError::Input(stop.to_string()));
                }

                found.push(Box::new(BlockSeriesRead {
                    block: Arc::clone(&self.block),
                    series,
                    with_starts: self.with_starts,
                    aggregate: self.aggregate,
                }));

                Ok(())
            });

        match (stopped, walk) {
            (Some(stop), _) => Err(stop.into()),
            (None, Err(e)) => Err(self.failed(&e)),
            (None, Ok(())) => Ok(found),
        }
    }

    fn has_series(&self, matchers: &[Matcher], _: i64, _: i64) -> Result<bool, SourceError> {
        self.block.has_series(matchers).map_err(|e| self.failed(&e))
    }

    /// Names of the whole block, which may reach beyond the range asked for, as Prometheus answers too.
    fn label_names(
        &self,
        matchers: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        out.extend(
            self.block
                .label_names(matchers)
                .map_err(|e| self.failed(&e))?,
        );
        Ok(())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        let values = self
            .block
            .label_values(name, matchers, &|value| out.contains(value));
        out.extend(values.map_err(|e| self.failed(&e))?);
        Ok(())
    }
}

struct BlockSeriesRead {
    block: Arc<Block>,
    series: BlockSeries,
    with_starts: bool,
    aggregate: Aggregate,
}

impl BlockSeriesRead {
    fn failed(&self, e: &BlockError) -> SelectError {
        self.block.note_error(e);
        match e.kind() {
            ErrorKind::Corrupt => SelectError::Corrupt(e.to_string()),
            _ => SelectError::Unavailable(e.to_string()),
        }
    }

    fn read_windows(
        &self,
        range: (i64, i64),
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let mut found = AggregateSamples::default();
        let read =
            self.block
                .read_aggregate(&self.series, range, self.aggregate, samples_max, &mut found);

        read.map_err(|e| self.failed(&e))?;

        let AggregateSamples { samples, counts } = found;
        (out.float_t, out.float_v) = (samples.times, samples.values);
        samples
            .histograms
            .iter()
            .for_each(|sample| out.push_stored_histogram(sample.t, 0, &sample.h));
        out.counts = counts
            .iter()
            .map(|counted| Counted {
                t: counted.t,
                n: counted.n,
            })
            .collect();

        out.check_within(samples_max)
    }
}

impl SeriesRead for BlockSeriesRead {
    fn labels(&self) -> &Labels {
        &self.series.labels
    }

    fn want(&self, start_ms: i64, end_ms: i64) -> u64 {
        self.block.want_series(&self.series, start_ms, end_ms)
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        if self.block.meta().resolution_ms() > 0 {
            return self.read_windows((start_ms, end_ms), samples_max, out);
        }

        // The columns' vectors are lent to the block's decoder, so floats are decoded into place.
        let mut samples = Samples {
            times: std::mem::take(&mut out.float_t),
            values: std::mem::take(&mut out.float_v),
            starts: std::mem::take(&mut out.float_st),
            histograms: Vec::new(),
        };

        let read = self
            .block
            .read_some(&self.series, start_ms, end_ms, samples_max, &mut samples);

        (out.float_t, out.float_v, out.float_st) = (samples.times, samples.values, samples.starts);
        read.map_err(|e| self.failed(&e))?;

        if !self.with_starts {
            out.float_st.clear();
        }

        for sample in samples.histograms {
            let start = if self.with_starts { sample.st } else { 0 };
            out.push_stored_histogram(sample.t, start, &sample.h);
        }

        out.check_within(samples_max)
    }
}
