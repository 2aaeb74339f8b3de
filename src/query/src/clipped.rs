//! A source of which only a part of the time is read, as another one has the rest.

use std::sync::Arc;

use trireme_model::{Labels, Matcher};
use trireme_promql::{Cancel, Columns, SelectError, SeriesRead};

use crate::{Source, SourceError, Texts};

/// What `inner` has in each of `spans` (ms, inclusive), as sources of their own.
pub fn clipped(inner: Arc<dyn Source>, spans: &[(i64, i64)]) -> Vec<Arc<dyn Source>> {
    let (first, last) = inner.time_range();
    let clip = |span: &(i64, i64)| -> Arc<dyn Source> {
        match span.0 <= first && span.1 >= last {
            true => Arc::clone(&inner),
            false => Arc::new(Clipped {
                inner: Arc::clone(&inner),
                span: (span.0.max(first), span.1.min(last)),
            }),
        }
    };

    spans.iter().map(clip).collect()
}

struct Clipped {
    inner: Arc<dyn Source>,
    span: (i64, i64),
}

impl Source for Clipped {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn time_range(&self) -> (i64, i64) {
        self.span
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        let start = start_ms.max(self.span.0);
        let end = end_ms.min(self.span.1);
        let found = self.inner.select(matchers, start, end, cancel)?;

        Ok(found
            .into_iter()
            .map(|inner| {
                Box::new(ClippedSeries {
                    inner,
                    span: self.span,
                }) as Box<dyn SeriesRead>
            })
            .collect())
    }

    fn has_series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<bool, SourceError> {
        self.inner.has_series(matchers, start_ms, end_ms)
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.inner.label_names(matchers, start_ms, end_ms, out)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.inner
            .label_values(name, matchers, start_ms, end_ms, out)
    }
}

struct ClippedSeries {
    inner: Box<dyn SeriesRead>,
    span: (i64, i64),
}

impl ClippedSeries {
    fn clip(&self, start_ms: i64, end_ms: i64) -> Option<(i64, i64)> {
        let start = start_ms.max(self.span.0);
        let end = end_ms.min(self.span.1);
        (start <= end).then_some((start, end))
    }
}

impl SeriesRead for ClippedSeries {
    fn labels(&self) -> &Labels {
        self.inner.labels()
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let Some((start, end)) = self.clip(start_ms, end_ms) else {
            return Ok(());
        };
        self.inner.read_within(start, end, samples_max, out)
    }

    fn want(&self, start_ms: i64, end_ms: i64) -> u64 {
        self.clip(start_ms, end_ms)
            .map_or(0, |(start, end)| self.inner.want(start, end))
    }

    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let Some((start, end)) = self.clip(start_ms, end_ms) else {
            return Ok(());
        };
        self.inner.read_newest(start, end, out)
    }
}
