//! Many sources as one storage.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use trireme_model::Labels;
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

use crate::{Notes, Source, SourceError};

/// The union of sources. A source that fails becomes a warning, or an error if partial answers are not wanted.
pub struct Merged {
    sources: Vec<Arc<dyn Source>>,
    partial: bool,
    notes: Notes,
}

impl Merged {
    /// Over these sources. `notes` collects what goes wrong while series are read; `partial`: go on without it.
    pub fn new(sources: Vec<Arc<dyn Source>>, partial: bool, notes: Notes) -> Self {
        Self { sources, partial, notes }
    }

    /// Sources that may have samples in `[start_ms, end_ms]`.
    pub fn overlapping(&self, start_ms: i64, end_ms: i64) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.sources.iter().filter(move |s| {
            let (first, last) = s.time_range();
            first <= end_ms && start_ms <= last
        })
    }

    /// Notes a failed source, or gives its error back if the answer must be whole.
    pub fn forgive(&self, source: &dyn Source, error: SourceError) -> Result<(), SourceError> {
        if !self.partial || matches!(error, SourceError::Stopped(_)) {
            return Err(error);
        }
        self.notes.add(format!("{} was not read: {error}", source.name()));
        Ok(())
    }
}

impl Select for Merged {
    /// Series in label order.
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let mut by_labels: HashMap<Labels, Vec<Part>> = HashMap::new();
        for source in self.overlapping(request.start_ms, request.end_ms) {
            cancel.check()?;
            let found = source.select(&request.matchers, request.start_ms, request.end_ms, cancel);
            let found = match found {
                Ok(found) => found,
                Err(e) => {
                    self.forgive(source.as_ref(), e)?;
                    continue;
                }
            };
            for series in found {
                let part = Part { source: Arc::clone(source), series };
                match by_labels.entry(part.series.labels().clone()) {
                    Entry::Occupied(mut parts) => parts.get_mut().push(part),
                    Entry::Vacant(place) => drop(place.insert(vec![part])),
                }
            }
        }
        let mut all: Vec<(Labels, Vec<Part>)> = by_labels.into_iter().collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let partial = self.partial;
        let merge = |(labels, parts)| {
            Box::new(MergedSeries { labels, parts, partial, notes: self.notes.clone() })
                as Box<dyn SeriesRead>
        };
        Ok(SeriesSet { series: all.into_iter().map(merge).collect(), warnings: Vec::new() })
    }
}

/// What one source has of a series.
struct Part {
    source: Arc<dyn Source>,
    series: Box<dyn SeriesRead>,
}

struct MergedSeries {
    labels: Labels,
    parts: Vec<Part>,
    partial: bool,
    notes: Notes,
}

impl MergedSeries {
    fn read_part(
        &self,
        part: &Part,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        match part.series.read(start_ms, end_ms, out) {
            Err(e) if self.partial && !matches!(e, SelectError::Stopped(_)) => {
                // What was read before the bad chunk is good, but it would look like all there is.
                out.clear();
                self.notes.add(format!("{} was not read: {e}", part.source.name()));
                Ok(())
            }
            other => other,
        }
    }
}

impl SeriesRead for MergedSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let Some((first, rest)) = self.parts.split_first() else { return Ok(()) };
        self.read_part(first, start_ms, end_ms, out)?;
        if rest.is_empty() {
            return Ok(());
        }
        let (mut more, mut scratch) = (Columns::default(), Columns::default());
        for part in rest {
            more.clear();
            self.read_part(part, start_ms, end_ms, &mut more)?;
            crate::merge_columns(out, &more, &mut scratch);
        }
        Ok(())
    }
}
