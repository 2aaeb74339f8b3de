//! Answers of one node: parser, engine and the node's sources put together.

mod parsed;
mod quick;

pub use quick::is_light;

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{Labels, Matcher, MetricMetadata};
use trireme_promql::ast::Expr;
use trireme_promql::{
    Engine, EngineOptions, ParserOptions, QueryOptions, QueryResult, Room, Select, SelectHints,
    SelectRequest, SeriesSet, parse,
};

use self::parsed::Parsed;
use crate::guarded::Guarded;
use crate::resolution::lookback_for;
use crate::source::Catalog;
use crate::{
    Asked, Dedup, ExemplarSeries, Found, InstantQuery, Notes, Queries, QueryContext, QueryError,
    RangeQuery, Selection, SourceError, Texts, TsdbStatus,
};

/// Settings of a [`Querier`].
#[derive(Clone, Debug, Default)]
pub struct QuerierOptions {
    /// The engine's.
    pub engine: EngineOptions,
    /// The parser's.
    pub parser: ParserOptions,
    /// What all queries of the node may hold together.
    pub room: Arc<Room>,
}

/// Answers from the sources of a [`Catalog`].
pub struct Querier {
    engine: Engine,
    parser: ParserOptions,
    parsed: Parsed,
    catalog: Arc<dyn Catalog>,
}

impl Querier {
    /// A querier over what `catalog` lists.
    pub fn new(catalog: Arc<dyn Catalog>, options: QuerierOptions) -> Self {
        let engine = Engine::within(options.engine, options.room);
        Self {
            engine,
            parser: options.parser,
            parsed: Parsed::default(),
            catalog,
        }
    }

    /// The sources as one storage. `notes` collects what goes wrong.
    fn guarded(&self, context: &QueryContext, notes: &Notes) -> Guarded {
        Guarded::new(Arc::clone(&self.catalog), context.clone(), notes.clone())
    }

    /// The same without the replicas of HA pairs.
    fn storage(&self, context: &QueryContext, notes: &Notes) -> Dedup<Guarded> {
        Dedup::new(self.guarded(context, notes), context.replica_labels.clone())
    }

    fn parse(&self, text: &str) -> Result<Arc<Expr>, QueryError> {
        match self.parsed.get(text) {
            Some(expr) => Ok(expr),
            None => parse(text, &self.parser)
                .map(Arc::new)
                .map_err(|e| QueryError::invalid(e.to_string())),
        }
    }

    /// Runs `job` for every overlapping source and every set of matchers; `&[]` stands for no condition.
    fn each_source(
        &self,
        context: &QueryContext,
        selection: &Selection,
        notes: &Notes,
        mut job: impl FnMut(&dyn crate::Source, &[Matcher]) -> Result<(), SourceError>,
    ) -> Result<(), QueryError> {
        let start_ms = selection.start_ms;
        let end_ms = selection.end_ms;
        self.guarded(context, notes)
            .over_sources(start_ms, end_ms, |merged| {
                let sets = if selection.matchers.is_empty() {
                    &[Vec::new()][..]
                } else {
                    &selection.matchers
                };
                merged.ask_all((start_ms, end_ms), &context.cancel, |source| {
                    sets.iter().try_for_each(|set| {
                        context.cancel.check()?;
                        job(source, set)
                    })
                })?;
                Ok(())
            })
    }
}

/// The engine's options that a query sets itself. Its deadline is already in the cancel handle.
pub fn query_options(
    context: &QueryContext,
    lookback: Option<std::time::Duration>,
) -> QueryOptions {
    QueryOptions {
        lookback_ms: lookback.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        lookback_min_ms: lookback_for(context.max_source_resolution_ms),
        start_timestamps: context.start_timestamps,
        series_max: Some(context.cost_limits.series_max),
        samples_read_max: Some(context.cost_limits.samples_read_max),
        samples_max: Some(context.samples_max).filter(|max| *max > 0),
        per_step_stats: context.per_step_stats,
        ..QueryOptions::default()
    }
}

/// Adds what was noted while reading.
fn with_notes(mut result: QueryResult, notes: &Notes) -> QueryResult {
    result.warnings.extend(notes.take());
    result.warnings.sort();
    result.warnings.dedup();
    result
}

impl Queries for Querier {
    fn is_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        self.guess_quick(context, asked)
    }

    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError> {
        let expr = self.parse(&query.expr)?;
        let notes = Notes::default();
        let storage = self.storage(context, &notes);
        let options = query_options(context, query.lookback);
        let result = self.engine.instant(
            &storage,
            &expr,
            &query.expr,
            query.time_ms,
            &options,
            &context.cancel,
        )?;

        Ok(with_notes(result, &notes))
    }

    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError> {
        let expr = self.parse(&query.expr)?;
        let notes = Notes::default();
        let storage = self.storage(context, &notes);
        let options = query_options(context, query.lookback);
        let range = (query.start_ms, query.end_ms);
        let result = self.engine.range(
            &storage,
            &expr,
            &query.expr,
            range,
            query.step_ms,
            &options,
            &context.cancel,
        )?;

        Ok(with_notes(result, &notes))
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        let notes = Notes::default();
        let mut set = self
            .storage(context, &notes)
            .select(request, &context.cancel)?;
        set.warnings.extend(notes.take());
        Ok(set)
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        let mut items: Vec<Labels> = Vec::new();

        let mut warnings = Vec::new();
        for matchers in &selection.matchers {
            let start_ms = selection.start_ms;
            let end_ms = selection.end_ms;
            let hints = SelectHints {
                func: "series".to_owned(),
                ..Default::default()
            };
            let request = SelectRequest {
                matchers: matchers.clone(),
                start_ms,
                end_ms,
                hints,
            };

            let set = self.select(context, &request)?;
            // They are sorted, so the first of all are among the first of each.
            items.extend(
                set.series
                    .iter()
                    .take(selection.items_max())
                    .map(|s| s.labels().clone()),
            );

            warnings.extend(set.warnings);
        }

        warnings.sort();
        warnings.dedup();

        // One selection is sorted and distinct already.
        if selection.matchers.len() > 1 {
            items.sort();
            items.dedup();
        }

        Ok(Found { items, warnings })
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        let notes = Notes::default();
        let mut names = Texts::default();
        let start = selection.start_ms;
        let end = selection.end_ms;

        self.each_source(context, selection, &notes, |source, matchers| {
            source.label_names(matchers, start, end, &mut names)
        })?;

        let mut items = names.into_sorted();
        items.retain(|n| !context.replica_labels.contains(n));
        items.truncate(selection.items_max());

        Ok(Found {
            items,
            warnings: notes.take(),
        })
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        let notes = Notes::default();
        let mut values = Texts::default();
        let start = selection.start_ms;
        let end = selection.end_ms;

        self.each_source(context, selection, &notes, |source, matchers| {
            source.label_values(name, matchers, start, end, &mut values)
        })?;

        let mut items = values.into_sorted();
        items.truncate(selection.items_max());
        Ok(Found {
            items,
            warnings: notes.take(),
        })
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        let expr = self.parse(expr)?;
        let mut sets = Vec::new();
        expr.walk(&mut |node| match node {
            Expr::Vector(selector) => sets.push(selector.matchers.clone()),
            Expr::Matrix(matrix) => sets.push(matrix.selector.matchers.clone()),
            _ => {}
        });

        let mut items = match sets.is_empty() {
            true => Vec::new(),
            false => self
                .catalog
                .exemplars(&context.tenant, &sets, start_ms, end_ms)?,
        };

        items.sort_by(|a, b| a.labels.cmp(&b.labels));
        // Two selectors may choose one series.
        items.dedup_by(|later, kept| later.labels == kept.labels);

        Ok(Found {
            items,
            warnings: Vec::new(),
        })
    }

    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        let mut by_metric: BTreeMap<String, Vec<MetricMetadata>> = BTreeMap::new();
        for (name, entry) in self.catalog.metadata(&context.tenant, metric)? {
            let entries = by_metric.entry(name).or_default();
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }

        // The greatest first: a declared type before none, and the same order at every node.
        by_metric
            .values_mut()
            .for_each(|entries| entries.sort_unstable_by(|a, b| b.cmp(a)));

        Ok(by_metric.into_iter().collect())
    }

    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError> {
        Ok(self.catalog.tsdb_status(&context.tenant, limit)?)
    }
}
