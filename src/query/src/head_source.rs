//! A shard of the head as a source.

use std::sync::Arc;

use trireme_head::{Effort, HeadError, HeadSeries, Moment, Shard};
use trireme_model::{HistogramSample, Labels, Matcher, Tenant};
use trireme_promql::{Cancel, Columns, SelectError, SeriesRead};

use crate::{Source, SourceError, Texts};

/// One tenant's series in one shard.
pub struct HeadSource {
    shard: Arc<Shard>,
    tenant: Tenant,
    with_starts: bool,
    moment: Option<Arc<Moment>>,
}

impl HeadSource {
    /// The tenant's part of `shard`.
    pub fn new(shard: Arc<Shard>, tenant: Tenant) -> Self {
        Self {
            shard,
            tenant,
            with_starts: true,
            moment: None,
        }
    }

    /// Whether start timestamps are given to readers; see [`BlockSource::with_starts`](crate::BlockSource::with_starts).
    pub fn with_starts(self, with_starts: bool) -> Self {
        Self {
            with_starts,
            ..self
        }
    }

    /// Reads are of what was there at this moment of the shard.
    pub fn at(self, moment: Option<Arc<Moment>>) -> Self {
        Self { moment, ..self }
    }
}

impl Source for HeadSource {
    fn name(&self) -> String {
        format!("head shard {}", self.shard.options().number)
    }

    /// Unknown: late samples may be of any age.
    fn time_range(&self) -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    /// Full chunks are read from files, but of those that are not old: they are in the page cache.
    fn effort(&self, matchers: &[Matcher]) -> Option<Effort> {
        self.shard.effort(&self.tenant, matchers)
    }

    fn value_count(&self, name: &str) -> Option<usize> {
        self.shard.value_count(&self.tenant, name)
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        cancel.check()?;
        let moment = self.moment.as_ref();
        let found = self
            .shard
            .select_at(moment, &self.tenant, matchers, start_ms, end_ms);
        let with_starts = self.with_starts;

        Ok(found
            .into_iter()
            .map(|series| {
                Box::new(HeadSeriesRead {
                    series,
                    with_starts,
                }) as Box<dyn SeriesRead>
            })
            .collect())
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.shard
            .label_names(&self.tenant, matchers, start_ms, end_ms, |name| {
                out.add(name)
            });
        Ok(())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.shard
            .label_values(&self.tenant, name, matchers, start_ms, end_ms, |value| {
                out.add(value)
            });
        Ok(())
    }
}

struct HeadSeriesRead {
    series: HeadSeries,
    with_starts: bool,
}

fn select_error(error: HeadError) -> SelectError {
    match error.is_damage() {
        true => SelectError::Corrupt(error.to_string()),
        false => SelectError::Unavailable(error.to_string()),
    }
}

impl SeriesRead for HeadSeriesRead {
    fn labels(&self) -> &Labels {
        &self.series.labels
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let Columns {
            float_t,
            float_v,
            float_st,
            ..
        } = out;

        let floats = self
            .series
            .read_with_starts(start_ms, end_ms, float_t, float_v, float_st);

        self.finish(floats, start_ms, end_ms, out)?;
        out.check_within(samples_max)
    }

    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let Columns {
            float_t,
            float_v,
            float_st,
            ..
        } = out;

        let floats = self
            .series
            .read_newest(start_ms, end_ms, float_t, float_v, float_st);

        self.finish(floats, start_ms, end_ms, out)
    }
}

impl HeadSeriesRead {
    /// Completes what was read of the floats; `floats` says whether there may be histograms too.
    fn finish(
        &self,
        floats: Result<bool, HeadError>,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let has_histograms = floats.map_err(select_error)?;
        if !self.with_starts {
            out.float_st.clear();
        }

        match has_histograms {
            true => self.read_histograms(start_ms, end_ms, out),
            false => Ok(()),
        }
    }

    /// Adds the histograms to the floats.
    fn read_histograms(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let mut histograms: Vec<HistogramSample> = Vec::new();
        self.series
            .read_histograms(start_ms, end_ms, &mut histograms)
            .map_err(select_error)?;

        for sample in histograms {
            let start = if self.with_starts { sample.st } else { 0 };
            out.push_stored_histogram(sample.t, start, &sample.h);
        }

        crate::columns::drop_floats_beside_histograms(out);
        Ok(())
    }
}
