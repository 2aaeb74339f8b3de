//! Series that stay whole while their samples move.
//!
//! A window that is cut moves from the head to a block: first the block appears, then the head lets go. A query that
//! listed its sources before the block appeared and reads the head after it let go would miss the window. So each series
//! looks at the catalog's generation after it was read, and if that changed, it is looked up again and read anew.

use std::sync::Arc;

use trireme_base::ErrorKind;
use trireme_model::{Labels, MatchOp, Matcher};
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

use crate::source::{Catalog, Scope};
use crate::{Merged, Notes, QueryContext, QueryError};

/// How often a series is looked up again before the query fails.
const ATTEMPTS_MAX: usize = 5;

/// Why a query fails whose data moves again and again.
const TOO_FAST: &str = "blocks are appearing faster than this query can read them";
/// Why a question that was to be answered from memory alone was not.
const BLOCKS_NEEDED: &str = "blocks have to be read for this answer";

/// The node's sources as one storage, listed anew for each selection.
#[derive(Clone)]
pub(crate) struct Guarded {
    catalog: Arc<dyn Catalog>,
    context: QueryContext,
    notes: Notes,
}

impl Guarded {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, context: QueryContext, notes: Notes) -> Self {
        Self { catalog, context, notes }
    }

    /// The sources of a time range. What the catalog misses is noted, or an error if the answer must be whole.
    pub(crate) fn sources(&self, start_ms: i64, end_ms: i64) -> Result<Merged, QueryError> {
        let context = &self.context;
        let scope = Scope {
            tenant: context.tenant.clone(),
            start_ms,
            end_ms,
            local_only: context.local_only,
            max_source_resolution_ms: context.max_source_resolution_ms,
        };
        if context.head_only {
            let sources = self.catalog.head_sources(&scope);
            let sources = sources.ok_or_else(|| QueryError::new(ErrorKind::Unavailable, BLOCKS_NEEDED))?;
            return Ok(Merged::new(sources, context.partial_response, self.notes.clone()));
        }
        let list = self.catalog.sources(&scope);
        for warning in list.warnings {
            if !context.partial_response {
                return Err(QueryError::new(ErrorKind::Unavailable, warning));
            }
            self.notes.add(warning);
        }
        Ok(Merged::new(list.sources, context.partial_response, self.notes.clone()))
    }

    /// Selects without guarding, with the generation that the selection is good for.
    fn select_now(&self, request: &SelectRequest, cancel: &Cancel) -> Result<(u64, SeriesSet), SelectError> {
        let generation = self.catalog.generation();
        let merged = self.sources(request.start_ms, request.end_ms);
        let merged = merged.map_err(|e| SelectError::Unavailable(e.to_string()))?;
        Ok((generation, merged.select(request, cancel)?))
    }
}

impl Guarded {
    /// Selects until nothing has moved meanwhile: a series that has samples only in a window that went from the head to a
    /// block, between the look at the blocks and the look at the head, is in neither of them.
    fn select_unmoved(
        &self,
        request: &SelectRequest,
        cancel: &Cancel,
    ) -> Result<(u64, SeriesSet), SelectError> {
        for _ in 0..ATTEMPTS_MAX {
            let (generation, set) = self.select_now(request, cancel)?;
            if self.catalog.generation() == generation {
                return Ok((generation, set));
            }
        }
        Err(SelectError::Unavailable(TOO_FAST.to_owned()))
    }

    /// Runs `job` over the sources of a time range until none has moved meanwhile; what it collects must be a set.
    pub(crate) fn over_sources(
        &self,
        start_ms: i64,
        end_ms: i64,
        mut job: impl FnMut(&Merged) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        for _ in 0..ATTEMPTS_MAX {
            let generation = self.catalog.generation();
            job(&self.sources(start_ms, end_ms)?)?;
            if self.catalog.generation() == generation {
                return Ok(());
            }
        }
        Err(QueryError::new(ErrorKind::Unavailable, TOO_FAST))
    }
}

impl Select for Guarded {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let (generation, set) = self.select_unmoved(request, cancel)?;
        let shared =
            Arc::new(Shared { guarded: self.clone(), request: request.clone(), cancel: cancel.clone() });
        let guard = |inner| {
            Box::new(GuardedSeries { inner, generation, shared: Arc::clone(&shared) }) as Box<dyn SeriesRead>
        };
        Ok(SeriesSet { series: set.series.into_iter().map(guard).collect(), warnings: set.warnings })
    }
}

/// What all series of a selection share.
struct Shared {
    guarded: Guarded,
    request: SelectRequest,
    cancel: Cancel,
}

impl Shared {
    /// The series with exactly these labels, as it stands now.
    fn again(&self, labels: &Labels) -> Result<(u64, Option<Box<dyn SeriesRead>>), SelectError> {
        let equal = |(name, value): (&str, &str)| {
            Matcher::new(name, MatchOp::Equal, value).map_err(|e| SelectError::Internal(e.to_string()))
        };
        let mut matchers = labels.iter().map(equal).collect::<Result<Vec<_>, _>>()?;
        if matchers.is_empty() {
            matchers.clone_from(&self.request.matchers);
        }
        let request = SelectRequest { matchers, ..self.request.clone() };
        let (generation, set) = self.guarded.select_now(&request, &self.cancel)?;
        Ok((generation, set.series.into_iter().find(|s| s.labels() == labels)))
    }
}

struct GuardedSeries {
    inner: Box<dyn SeriesRead>,
    generation: u64,
    shared: Arc<Shared>,
}

impl SeriesRead for GuardedSeries {
    fn labels(&self) -> &Labels {
        self.inner.labels()
    }

    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        self.inner.read(start_ms, end_ms, out)?;
        self.unless_moved(start_ms, end_ms, out)
    }

    fn read_newest(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        self.inner.read_newest(start_ms, end_ms, out)?;
        self.unless_moved(start_ms, end_ms, out)
    }
}

impl GuardedSeries {
    /// Leaves what was read as it is, or reads everything anew if it has moved meanwhile.
    fn unless_moved(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let catalog = &self.shared.guarded.catalog;
        if catalog.generation() == self.generation {
            return Ok(());
        }
        for _ in 0..ATTEMPTS_MAX {
            self.shared.cancel.check()?;
            let (generation, series) = self.shared.again(self.labels())?;
            out.clear();
            if let Some(series) = series {
                series.read(start_ms, end_ms, out)?;
            }
            if catalog.generation() == generation {
                return Ok(());
            }
        }
        Err(SelectError::Unavailable(TOO_FAST.to_owned()))
    }
}
