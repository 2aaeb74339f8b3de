//! A shard of the head as a source.

use std::sync::Arc;

use trireme_head::{Effort, HeadError, HeadSeries, Shard};
use trireme_model::{HistogramSample, Labels, Matcher, Tenant};
use trireme_promql::{Cancel, Columns, SelectError, SeriesRead};

use crate::{Source, SourceError, Texts};

/// One tenant's series in one shard.
pub struct HeadSource {
    shard: Arc<Shard>,
    tenant: Tenant,
}

impl HeadSource {
    /// The tenant's part of `shard`.
    pub fn new(shard: Arc<Shard>, tenant: Tenant) -> Self {
        Self { shard, tenant }
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
        let found = self.shard.select(&self.tenant, matchers, start_ms, end_ms);
        Ok(found.into_iter().map(|series| Box::new(HeadSeriesRead(series)) as Box<dyn SeriesRead>).collect())
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.shard.label_names(&self.tenant, matchers, start_ms, end_ms, |name| out.add(name));
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
        self.shard.label_values(&self.tenant, name, matchers, start_ms, end_ms, |value| out.add(value));
        Ok(())
    }
}

struct HeadSeriesRead(HeadSeries);

fn select_error(error: HeadError) -> SelectError {
    match error.is_damage() {
        true => SelectError::Corrupt(error.to_string()),
        false => SelectError::Unavailable(error.to_string()),
    }
}

impl SeriesRead for HeadSeriesRead {
    fn labels(&self) -> &Labels {
        &self.0.labels
    }

    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let Columns { float_t, float_v, float_st, .. } = out;
        let floats = self.0.read_with_starts(start_ms, end_ms, float_t, float_v, float_st);
        if floats.map_err(select_error)? {
            self.read_histograms(start_ms, end_ms, out)?;
        }
        Ok(())
    }

    fn read_newest(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let Columns { float_t, float_v, float_st, .. } = out;
        let floats = self.0.read_newest(start_ms, end_ms, float_t, float_v, float_st);
        if floats.map_err(select_error)? {
            self.read_histograms(start_ms, end_ms, out)?;
        }
        Ok(())
    }
}

impl HeadSeriesRead {
    /// Adds the histograms to the floats.
    fn read_histograms(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let mut histograms: Vec<HistogramSample> = Vec::new();
        self.0.read_histograms(start_ms, end_ms, &mut histograms).map_err(select_error)?;
        for sample in histograms {
            out.push_histogram(sample.t, sample.st, sample.h.to_float());
        }
        crate::columns::drop_floats_beside_histograms(out);
        Ok(())
    }
}
