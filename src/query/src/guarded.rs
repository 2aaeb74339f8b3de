//! Series that stay whole while their samples move.
//!
//! A window that is cut moves from the head to a block: first the block appears, then the head lets go. A query that
//! listed its sources before the block appeared and reads the head after it let go would miss the window. So each series
//! looks at the catalog's generation after it was read, and if that changed for its tenant and times, all series of the
//! selection are looked up again, once, and it is read anew.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use trireme_base::ErrorKind;
use trireme_block::Aggregate;
use trireme_model::Labels;
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

use crate::resolution::{aggregate_for, resolution_for};
use crate::source::{Catalog, Moments, Scope};
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
    /// The state of the head that is read, fixed by the first selection: all of a query see the same requests.
    moments: Arc<OnceLock<Arc<Moments>>>,
}

impl Guarded {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, context: QueryContext, notes: Notes) -> Self {
        Self {
            catalog,
            context,
            notes,
            moments: Arc::default(),
        }
    }

    /// What a selection may read: its function decides what of downsampled data, and how coarse that may be.
    fn scope_of(&self, request: &SelectRequest) -> Scope {
        let mut scope = self.scope(request.start_ms, request.end_ms);
        scope.aggregate = aggregate_for(&request.hints);
        scope.max_source_resolution_ms =
            resolution_for(&request.hints, scope.max_source_resolution_ms);
        scope
    }

    fn scope(&self, start_ms: i64, end_ms: i64) -> Scope {
        Scope {
            tenant: self.context.tenant.clone(),
            start_ms,
            end_ms,
            local_only: self.context.local_only,
            max_source_resolution_ms: self.context.max_source_resolution_ms,
            aggregate: Aggregate::default(),
            moments: Some(Arc::clone(
                self.moments
                    .get_or_init(|| Arc::new(self.catalog.moments())),
            )),
        }
    }

    /// How the sources of a scope stand.
    fn standing(&self, scope: &Scope) -> Standing {
        // The other way round a source could appear in between and pass unnoticed.
        let of_all = self.catalog.generation();
        Standing {
            of_all,
            of_scope: self.catalog.generation_of(scope),
        }
    }

    /// True if a source of the scope has appeared since.
    fn has_moved(&self, scope: &Scope, since: Standing) -> bool {
        self.catalog.generation() != since.of_all
            && self.catalog.generation_of(scope) != since.of_scope
    }

    /// The sources of a scope. What the catalog misses is noted, or an error if the answer must be whole.
    fn sources(&self, scope: &Scope) -> Result<Merged, QueryError> {
        let context = &self.context;
        if context.head_only {
            let sources = self.catalog.head_sources(scope);
            let sources =
                sources.ok_or_else(|| QueryError::new(ErrorKind::Unavailable, BLOCKS_NEEDED))?;
            return Ok(Merged::new(
                sources,
                context.partial_response,
                self.notes.clone(),
            ));
        }

        let list = self.catalog.sources(scope);
        for warning in list.warnings {
            if !context.partial_response {
                return Err(QueryError::new(ErrorKind::Unavailable, warning));
            }
            self.notes.add(warning);
        }

        let merged = Merged::new(list.sources, context.partial_response, self.notes.clone());
        Ok(merged.with_far(list.far))
    }

    /// Selects without guarding, with the standing that the selection is good for.
    fn select_now(
        &self,
        request: &SelectRequest,
        cancel: &Cancel,
    ) -> Result<(Standing, SeriesSet), SelectError> {
        let scope = self.scope_of(request);
        let standing = self.standing(&scope);
        let merged = self.sources(&scope);
        let merged = merged.map_err(|e| SelectError::Unavailable(e.to_string()))?;
        Ok((standing, merged.select(request, cancel)?))
    }
}

/// Generations of the catalog, of everything and of one scope.
#[derive(Clone, Copy)]
struct Standing {
    of_all: u64,
    of_scope: u64,
}

impl Guarded {
    /// Selects until nothing has moved meanwhile: a series that has samples only in a window that went from the head to a
    /// block, between the look at the blocks and the look at the head, is in neither of them.
    fn select_unmoved(
        &self,
        request: &SelectRequest,
        cancel: &Cancel,
    ) -> Result<(Standing, SeriesSet), SelectError> {
        let scope = self.scope(request.start_ms, request.end_ms);
        for _ in 0..ATTEMPTS_MAX {
            let (standing, set) = self.select_now(request, cancel)?;
            if !self.has_moved(&scope, standing) {
                return Ok((standing, set));
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
        let scope = self.scope(start_ms, end_ms);
        for _ in 0..ATTEMPTS_MAX {
            let standing = self.standing(&scope);
            job(&self.sources(&scope)?)?;
            if !self.has_moved(&scope, standing) {
                return Ok(());
            }
        }

        Err(QueryError::new(ErrorKind::Unavailable, TOO_FAST))
    }
}

impl Select for Guarded {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let (standing, set) = self.select_unmoved(request, cancel)?;
        let shared = Arc::new(Shared {
            scope: self.scope(request.start_ms, request.end_ms),
            guarded: self.clone(),
            request: request.clone(),
            cancel: cancel.clone(),
            again: Mutex::new(None),
        });

        Ok(SeriesSet {
            series: set
                .series
                .into_iter()
                .map(|inner| {
                    Box::new(GuardedSeries {
                        inner,
                        standing,
                        shared: Arc::clone(&shared),
                    }) as Box<dyn SeriesRead>
                })
                .collect(),
            warnings: set.warnings,
        })
    }
}

/// What all series of a selection share.
struct Shared {
    guarded: Guarded,
    scope: Scope,
    request: SelectRequest,
    cancel: Cancel,
    /// The selection as it was found when a series noticed that something had moved.
    again: Mutex<Option<Again>>,
}

struct Again {
    standing: Standing,
    series: HashMap<Labels, Arc<dyn SeriesRead>>,
}

impl Shared {
    fn has_moved(&self, since: Standing) -> bool {
        self.guarded.has_moved(&self.scope, since)
    }

    /// The series with exactly these labels, as it stands now. Whoever comes first looks all of them up; others wait.
    fn again(
        &self,
        labels: &Labels,
    ) -> Result<(Standing, Option<Arc<dyn SeriesRead>>), SelectError> {
        let mut again = self.again.lock();
        let found = match again.take() {
            Some(found) if !self.has_moved(found.standing) => found,
            _ => {
                let (standing, set) = self.guarded.select_now(&self.request, &self.cancel)?;
                Again {
                    standing,
                    series: set
                        .series
                        .into_iter()
                        .map(|series: Box<dyn SeriesRead>| {
                            (series.labels().clone(), Arc::from(series))
                        })
                        .collect(),
                }
            }
        };

        let answer = (found.standing, found.series.get(labels).cloned());
        *again = Some(found);
        Ok(answer)
    }
}

struct GuardedSeries {
    inner: Box<dyn SeriesRead>,
    standing: Standing,
    shared: Arc<Shared>,
}

impl SeriesRead for GuardedSeries {
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
        self.inner.read_within(start_ms, end_ms, samples_max, out)?;
        self.unless_moved(start_ms, end_ms, samples_max, out)
    }

    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        self.inner.read_newest(start_ms, end_ms, out)?;
        self.unless_moved(start_ms, end_ms, usize::MAX, out)
    }
}

impl GuardedSeries {
    /// Leaves what was read as it is, or reads everything anew if it has moved meanwhile.
    fn unless_moved(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        if !self.shared.has_moved(self.standing) {
            return Ok(());
        }

        for _ in 0..ATTEMPTS_MAX {
            self.shared.cancel.check()?;
            let (standing, series) = self.shared.again(self.labels())?;
            out.clear();
            if let Some(series) = series {
                series.read_within(start_ms, end_ms, samples_max, out)?;
            }
            if !self.shared.has_moved(standing) {
                return Ok(());
            }
        }

        Err(SelectError::Unavailable(TOO_FAST.to_owned()))
    }
}
