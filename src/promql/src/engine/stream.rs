//! Instant vectors over all steps, produced series by series.
//!
//! A stream knows the labels of its series from the start and computes the columns of one series when asked to. An
//! aggregation over functions over a selector therefore keeps groups × steps values, whatever the number of series.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::block::Block;
use super::query::Query;
use super::row::{Meta, Row};
use crate::annotations::Notes;
use crate::error::QueryError;
use crate::select::Columns;

/// Batches that a producing thread may be ahead.
const BATCHES_AHEAD: usize = 4;
/// Cells (rows × steps) handed over at once: enough that handing over costs nothing beside computing them.
const BATCH_CELLS: usize = 8_192;
/// Most rows of a batch.
const BATCH_ROWS_MAX: usize = 256;
/// Fewer (series × steps) than this are not worth threads.
const PARALLEL_CELLS_MIN: usize = 30_000;

/// Buffers and notes of one thread that produces rows.
#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) notes: Notes,
    columns: Vec<Columns>,
    rows: Vec<Row>,
    pub(crate) floats: Vec<f64>,
}

impl Worker {
    /// Empty columns, from an earlier use if possible.
    pub(crate) fn take_columns(&mut self) -> Columns {
        let mut columns = self.columns.pop().unwrap_or_default();
        columns.clear();
        columns
    }

    pub(crate) fn give_columns(&mut self, columns: Columns) {
        self.columns.push(columns);
    }

    /// A row, from an earlier use if possible.
    pub(crate) fn take_row(&mut self, steps: usize) -> Row {
        let mut row = self.rows.pop().unwrap_or_default();
        row.reset(steps);
        row
    }

    pub(crate) fn give_row(&mut self, row: Row) {
        self.rows.push(row);
    }
}

/// Computes rows; any row at any time, from any thread, but each only once.
pub(crate) trait Rows: Send + Sync {
    /// Fills `row`, which has the right number of steps and is empty.
    fn fill(&self, series: usize, worker: &mut Worker, row: &mut Row) -> Result<(), QueryError>;
}

/// An instant vector over all steps.
pub(crate) struct Stream<'q> {
    pub(crate) metas: Vec<Meta>,
    pub(crate) steps: usize,
    rows: Box<dyn Rows + 'q>,
}

struct Mapped<'q, F> {
    rows: Box<dyn Rows + 'q>,
    f: F,
}

impl<F> Rows for Mapped<'_, F>
where
    F: Fn(usize, &mut Row, &mut Worker) -> Result<(), QueryError> + Send + Sync,
{
    fn fill(&self, series: usize, worker: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        self.rows.fill(series, worker, row)?;
        (self.f)(series, row, worker)
    }
}

/// The ends of the channels to a thread that computes rows.
struct Lane {
    results: Receiver<Result<Vec<Row>, QueryError>>,
    /// Takes rows back to be used again.
    used: SyncSender<Vec<Row>>,
}

impl<'q> Stream<'q> {
    pub(crate) fn new(metas: Vec<Meta>, steps: usize, rows: Box<dyn Rows + 'q>) -> Self {
        Self { metas, steps, rows }
    }

    /// No series.
    pub(crate) fn empty(steps: usize) -> Self {
        Block::new(steps).into_stream()
    }

    /// Changes rows when they are produced.
    pub(crate) fn map<F>(self, f: F) -> Self
    where
        F: Fn(usize, &mut Row, &mut Worker) -> Result<(), QueryError> + Send + Sync + 'q,
    {
        Self {
            metas: self.metas,
            steps: self.steps,
            rows: Box::new(Mapped { rows: self.rows, f }),
        }
    }

    /// Marks names as dropped, or drops them at once, as the query is set; series that become equal are merged.
    pub(crate) fn drop_names(mut self, query: &Query<'_>) -> Result<Self, QueryError> {
        if query.options.delayed_name_removal {
            for meta in &mut self.metas {
                meta.drop_name = true;
            }
            return Ok(self);
        }

        for meta in &mut self.metas {
            meta.labels = super::labels::without_metadata(&meta.labels);
        }

        self.merge_equal_labels(query)
    }

    /// Merges series with the same labels; fails if two have a sample at the same step.
    pub(crate) fn merge_equal_labels(self, query: &Query<'_>) -> Result<Self, QueryError> {
        if super::labels::are_distinct(&self.metas) {
            return Ok(self);
        }
        Ok(self.collect(query)?.merge_equal_labels()?.into_stream())
    }

    /// Computes all rows, in order, and hands them to `each`.
    pub(crate) fn for_each(
        &self,
        query: &Query<'_>,
        mut each: impl FnMut(usize, &mut Row) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let threads = query.options.threads.min(self.metas.len());
        if threads > 1 && self.metas.len().saturating_mul(self.steps.max(64)) >= PARALLEL_CELLS_MIN
        {
            return self.for_each_parallel(query, threads, &mut each);
        }

        let mut worker = Worker::default();
        let result = self.fill_all(query, &mut worker, &mut each);
        query.merge_notes(worker.notes);
        result
    }

    /// Computes all rows on this thread.
    fn fill_all(
        &self,
        query: &Query<'_>,
        worker: &mut Worker,
        each: &mut impl FnMut(usize, &mut Row) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut row = Row::default();
        for series in 0..self.metas.len() {
            query.check()?;
            row.reset(self.steps);
            self.rows.fill(series, worker, &mut row)?;
            each(series, &mut row)?;
        }
        Ok(())
    }

    /// Threads compute batches of rows in turn (thread k of n: k, k + n, ...); this thread takes them in order, so that the
    /// result does not depend on the number of threads.
    fn for_each_parallel(
        &self,
        query: &Query<'_>,
        threads: usize,
        each: &mut dyn FnMut(usize, &mut Row) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let size = (BATCH_CELLS / self.steps.max(1)).clamp(1, BATCH_ROWS_MAX);
        std::thread::scope(|scope| {
            let mut lanes = Vec::with_capacity(threads);
            let mut handles = Vec::with_capacity(threads);
            for lane in 0..threads {
                let (to_main, from_worker) =
                    sync_channel::<Result<Vec<Row>, QueryError>>(BATCHES_AHEAD);

                // Room for every batch that can be under way, so that handing one back never blocks.
                let (give_back, spare) = sync_channel::<Vec<Row>>(BATCHES_AHEAD + 2);
                lanes.push(Lane {
                    results: from_worker,
                    used: give_back,
                });
                let batches = (0..self.metas.len())
                    .step_by(size)
                    .skip(lane)
                    .step_by(threads);

                // Rows of a long chain of operators are computed by recursion as deep as the chain.
                #[allow(clippy::disallowed_methods)] // they end with the query, within its share
                let thread = std::thread::Builder::new().stack_size(crate::STACK_BYTES);
                let started = thread.spawn_scoped(scope, move || {
                    self.produce(query, batches, size, &to_main, &spare)
                });

                handles.push(started.map_err(|e| {
                    QueryError::Internal(format!("a query thread cannot be started: {e}"))
                })?);
            }

            let result = self.take_in_order(size, &lanes, each);
            drop(lanes);

            for handle in handles {
                match handle.join() {
                    Ok(notes) => query.merge_notes(notes),
                    Err(_) => return Err(QueryError::Internal("a query thread panicked".into())),
                }
            }

            result
        })
    }

    /// Takes the batches of all threads in order.
    fn take_in_order(
        &self,
        size: usize,
        lanes: &[Lane],
        each: &mut dyn FnMut(usize, &mut Row) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        for (batch, first) in (0..self.metas.len()).step_by(size).enumerate() {
            let lane = &lanes[batch % lanes.len()];
            let rows = lane.results.recv();
            let mut rows =
                rows.map_err(|_| QueryError::Internal("a query thread ended early".into()))??;
            for (series, row) in (first..).zip(&mut rows) {
                each(series, row)?;
            }
            // A full or closed channel only means that the rows are not used again.
            let _ = lane.used.try_send(rows);
        }
        Ok(())
    }

    /// Computes the batches that begin at `batches` and have `size` rows (the last one perhaps fewer).
    fn produce(
        &self,
        query: &Query<'_>,
        batches: impl Iterator<Item = usize>,
        size: usize,
        to_main: &SyncSender<Result<Vec<Row>, QueryError>>,
        spare: &Receiver<Vec<Row>>,
    ) -> Notes {
        let mut worker = Worker::default();
        for first in batches {
            let range = first..self.metas.len().min(first + size);
            let mut rows = spare.try_recv().unwrap_or_default();
            rows.resize_with(range.len(), Row::default);
            let filled = range.zip(&mut rows).try_for_each(|(series, row)| {
                query.check()?;
                row.reset(self.steps);
                self.rows.fill(series, &mut worker, row)
            });
            let failed = filled.is_err();
            if to_main.send(filled.map(|()| rows)).is_err() || failed {
                break;
            }
        }

        worker.notes
    }

    /// Computes all rows and keeps those that are not empty.
    pub(crate) fn collect(self, query: &Query<'_>) -> Result<Block, QueryError> {
        let mut block = Block::new(self.steps);
        self.for_each(query, |series, row| {
            let samples = row.samples();
            if samples > 0 {
                block.held.hold(&query.budget, samples)?;
                let kept = std::mem::take(row);
                block.push(self.metas[series].clone(), kept);
            }
            Ok(())
        })?;

        Ok(block)
    }

    /// Access to single rows, for streams that read other streams.
    pub(crate) fn into_parts(self) -> (Vec<Meta>, Arc<dyn Rows + 'q>) {
        (self.metas, Arc::from(self.rows))
    }
}
