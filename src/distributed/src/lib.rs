//! What a node asks of others: queries over the replicas of its group, and over the groups of the cluster.
//!
//! ```text
//!  instant/range ─▶ GroupQueries ── "how far are you?" ──▶ peers            (until a quorum has answered)
//!                     │  wait until this replica has applied all that
//!                     ├─ known to be cheap, or nothing distributes ─▶ this node's Querier
//!                     ├─ shard 0 here, shards 1..n on peers ─▶ states of aggregations ─▶ engine merges, does the rest
//!                     └─ this replica lags ─▶ the whole query on one that does not, or over the union of all
//! ```
//!
//! A write is acknowledged when a quorum has it durably. Two quorums share a member, so the positions of one, taken when
//! the query begins, cover every write acknowledged before. A replica that has applied them is complete for the query.
//!
//! Each replica has all series; a query is divided by a hash of their labels. Whatever goes wrong with a shard elsewhere,
//! it is evaluated here instead, and whatever goes wrong with that, the query is evaluated here as if it had never been
//! divided. Dividing therefore never makes a query fail. What would fail undivided too is final: a bound or the time of the
//! query, and what the data do not allow.
//!
//! Other groups hold other series. Around this lies [`ClusterQueries`], which asks one complete member of each other group for its
//! series and evaluates the query over those of all groups.
//!
//! What is absent on purpose: aggregations evaluated by other groups (a series that has moved is in two of them, and counts
//! once), and samples that travel between the replicas of a group, but for the union when none is complete.

mod answering;
mod cluster;
mod codec;
mod cost_history;
mod message;
mod plan;
mod read_index;
mod replicas;
mod sharded;
#[cfg(test)]
mod tests;
mod union;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::future::BoxFuture;
use prost::Message;
use trireme_base::{Clock, ErrorKind, NodeName, StreamId};
use trireme_model::{Labels, MetricMetadata};
use trireme_promql::ast::{Expr, PosRange};
use trireme_promql::{
    Cancel, Engine, ParserOptions, Partials, QueryError as EngineError, QueryOptions, QueryResult,
    Select, SelectError, SelectRequest, SeriesSet, parse,
};

pub use answering::{ANSWER_BYTES_MAX, Accepted, Job};
pub use cluster::ClusterQueries;
use cost_history::CostHistory;
use message::What;
pub use plan::distributable;
pub use replicas::{Done, OtherGroup, Refusal, Replicas};
pub use sharded::Sharded;
use trireme_query::{
    Asked, ExemplarSeries, Found, InstantQuery, QuerierOptions, Queries, QueryContext, QueryError,
    RangeQuery, ReadIndex, Selection, TsdbStatus,
};

/// A quorum has this long to tell its positions.
const POSITIONS_WAIT: Duration = Duration::from_secs(1);
/// After a start, peers have this long to find this node again before it answers without them.
const STARTUP_GRACE: Duration = Duration::from_secs(5);
/// How long a replica may take to apply what others have.
const APPLY_WAIT: Duration = Duration::from_millis(500);
/// How often a waiting query looks whether it was canceled.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Once the own shard is done, others have at least this long before theirs are evaluated here as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// A shard elsewhere may take at most this long.
const SHARD_TIMEOUT: Duration = Duration::from_secs(120);

/// Whether queries are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DistributeMode {
    /// Never, and other replicas are not asked for their positions.
    Off,
    /// Unless they are known to be cheap.
    #[default]
    Auto,
    /// Whenever that is possible.
    Always,
}

/// Answers queries with the help of the group's other replicas.
pub struct GroupQueries {
    inner: Arc<dyn Queries>,
    engine: Engine,
    parser: ParserOptions,
    replicas: Arc<dyn Replicas>,
    clock: Arc<dyn Clock>,
    /// Monotonic time until which a lack of peers is taken for the disorder of a start.
    alone_until: Duration,
    mode: DistributeMode,
    costs: CostHistory,
    /// Samples of other groups that a query may hold, of all its selectors together.
    samples_max: usize,
    /// Largest answer to a peer, in bytes.
    answer_bytes_max: usize,
    /// Counts the queries that others answered whole.
    turn: AtomicUsize,
    /// Which peer was the last to tell its positions.
    witness: AtomicUsize,
}

/// An instant or range query.
struct Question<'a> {
    text: &'a str,
    start_ms: i64,
    end_ms: i64,
    /// 0 for an instant query.
    step_ms: i64,
    lookback: Option<Duration>,
}

impl<'a> From<&'a InstantQuery> for Question<'a> {
    fn from(query: &'a InstantQuery) -> Self {
        Self {
            text: &query.expr,
            start_ms: query.time_ms,
            end_ms: query.time_ms,
            step_ms: 0,
            lookback: query.lookback,
        }
    }
}

impl<'a> From<&'a RangeQuery> for Question<'a> {
    fn from(query: &'a RangeQuery) -> Self {
        Self {
            text: &query.expr,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            lookback: query.lookback,
        }
    }
}

impl Question<'_> {
    fn options(&self, context: &QueryContext) -> QueryOptions {
        trireme_query::query_options(context, self.lookback)
    }

    /// As the memory of costs knows it.
    fn asked<'q>(&'q self, context: &'q QueryContext) -> cost_history::Asked<'q> {
        cost_history::Asked {
            tenant: &context.tenant,
            text: self.text,
            step_ms: self.step_ms,
            span_ms: self.end_ms.saturating_sub(self.start_ms),
        }
    }

    fn evaluate(
        &self,
        engine: &Engine,
        storage: &dyn Select,
        expr: &Expr,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let options = self.options(context);
        let cancel = &context.cancel;
        if self.step_ms == 0 {
            return engine.instant(storage, expr, self.text, self.start_ms, &options, cancel);
        }

        engine.range(
            storage,
            expr,
            self.text,
            (self.start_ms, self.end_ms),
            self.step_ms,
            &options,
            cancel,
        )
    }

    fn message(&self, context: &QueryContext, positions: &[(StreamId, u64)]) -> message::Query {
        message::Query {
            tenant: context.tenant.as_str().to_owned(),
            text: self.text.to_owned(),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            step_ms: self.step_ms,
            lookback_ms: self.options(context).lookback_ms.unwrap_or(0),
            positions: codec::positions_out(positions),
            replica_labels: context.replica_labels.clone(),
            max_source_resolution_ms: context.max_source_resolution_ms,
            start_timestamps: codec::switch_out(context.start_timestamps),
            series_max: context.cost_limits.series_max,
            samples_read_max: context.cost_limits.samples_read_max,
            samples_max: context.samples_max as u64,
            per_step_stats: context.per_step_stats,
            ..message::Query::default()
        }
    }
}

/// The series of this node, for the engine. A part that cannot be read is an error: then the query is evaluated locally, which reports the error.
struct Local<'a> {
    queries: &'a dyn Queries,
    context: QueryContext,
}

impl Select for Local<'_> {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        self.queries
            .select(&self.context, request)
            .map_err(SelectError::from)
    }
}

impl GroupQueries {
    /// Divides what `inner` answers for this node. `options` are those of `inner`.
    pub fn new(
        inner: Arc<dyn Queries>,
        options: QuerierOptions,
        replicas: Arc<dyn Replicas>,
        clock: Arc<dyn Clock>,
        mode: DistributeMode,
    ) -> Self {
        let samples_max = options.engine.samples_max;
        let engine = Engine::within(options.engine, options.room);
        let parser = options.parser;
        let costs = CostHistory::default();
        let alone_until = clock.monotonic() + STARTUP_GRACE;

        Self {
            inner,
            engine,
            parser,
            replicas,
            clock,
            alone_until,
            mode,
            costs,
            samples_max,
            answer_bytes_max: ANSWER_BYTES_MAX,
            turn: AtomicUsize::new(0),
            witness: AtomicUsize::new(0),
        }
    }

    fn local<'a>(&'a self, context: &QueryContext) -> Local<'a> {
        Local {
            queries: self.inner.as_ref(),
            context: QueryContext {
                partial_response: false,
                ..context.clone()
            },
        }
    }

    /// The undivided way.
    fn undivided(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
    ) -> Result<QueryResult, QueryError> {
        let expr = q.text.to_owned();

        let lookback = q.lookback;
        if q.step_ms == 0 {
            return self.inner.instant(
                context,
                &InstantQuery {
                    expr,
                    time_ms: q.start_ms,
                    lookback,
                },
            );
        }

        let start_ms = q.start_ms;
        let end_ms = q.end_ms;
        let step_ms = q.step_ms;

        self.inner.range(
            context,
            &RangeQuery {
                expr,
                start_ms,
                end_ms,
                step_ms,
                lookback,
            },
        )
    }

    fn answer(&self, context: &QueryContext, q: &Question<'_>) -> Result<QueryResult, QueryError> {
        if self.is_alone(context) {
            return self.undivided(context, q);
        }

        let read_index = self.read_index(context)?;
        if !read_index.complete {
            return self.elsewhere(context, q, &read_index);
        }

        // Whatever is looked at without a thread of its own is small.
        let divided = if context.head_only {
            None
        } else {
            self.divided(context, q, &read_index)?
        };

        let result = match divided {
            Some(result) => result,
            None => self.undivided(context, q)?,
        };

        self.costs.note(q.asked(context), result.stats.samples_read);
        Ok(result)
    }

    fn is_alone(&self, context: &QueryContext) -> bool {
        let asks_nobody = self.mode == DistributeMode::Off && self.replicas.is_complete();
        asks_nobody || context.local_only || self.replicas.members() < 2
    }

    /// The result with its aggregations evaluated in shards; `None` if it has to be, or had better be, evaluated
    /// undivided.
    fn divided(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        read_index: &ReadIndex,
    ) -> Result<Option<QueryResult>, QueryError> {
        if self.mode == DistributeMode::Auto && self.costs.is_cheap(q.asked(context)) {
            return Ok(None);
        }
        let Ok(expr) = parse(q.text, &self.parser) else {
            return Ok(None);
        };

        let nodes = plan::distributable(&expr);
        let peers = self.replicas.connected();
        if nodes.is_empty() || peers.is_empty() {
            return Ok(None);
        }
        let Some(parts) = self.parts(context, q, read_index, &expr, &nodes, &peers)? else {
            return Ok(None);
        };

        // Elements that all shards chose are held at once, of which the undivided way never holds that many.
        let chosen = parts
            .iter()
            .flat_map(|part| &part.nodes)
            .any(|node| !node.rows.is_empty());

        match q.evaluate(
            &self.engine.merging(parts),
            &self.local(context),
            &expr,
            context,
        ) {
            Err(EngineError::TooManySamples | EngineError::NodeFull) if chosen => Ok(None),
            result => unless_curable(result),
        }
    }

    /// All shards: the first from here, others from peers, and those that peers do not give in time from here as well.
    fn parts(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        read_index: &ReadIndex,
        expr: &Expr,
        nodes: &[PosRange],
        peers: &[NodeName],
    ) -> Result<Option<Vec<Partials>>, QueryError> {
        let shards = peers.len() as u32 + 1;
        let began = self.clock.monotonic();
        let (asked, answers) = self.ask(
            peers,
            |i: usize| {
                let mut query = q.message(context, &read_index.positions);
                (query.shard, query.shards) = (i as u32 + 1, shards);
                query.nodes = nodes.iter().map(|pos| codec::pos_out(*pos)).collect();
                message::Request {
                    question: Some(message::Question::Query(query)),
                }
            },
            SHARD_TIMEOUT,
        );

        let local = self.local(context);
        let here = |shard: u32| {
            let storage = Sharded::new(&local, shard, shards);
            let options = q.options(context);
            let span = (q.start_ms, q.end_ms);
            let part = self.engine.partials(
                &storage,
                expr,
                span,
                q.step_ms,
                nodes,
                &options,
                &context.cancel,
            );

            unless_curable(part)
        };

        let mut parts: Vec<Option<Partials>> = vec![None; shards as usize];
        parts[0] = here(0)?;
        if parts[0].is_none() {
            return Ok(None);
        }

        let took = self.clock.monotonic().saturating_sub(began);

        let until = began + took + (took * 3).max(PATIENCE);
        for _ in peers {
            let Some(answer) = self.next(&answers, until, context)? else {
                break;
            };

            let body = match answer.body {
                Ok(body) => body,
                Err(refusal) => match refusal.into_final() {
                    Some(error) => return Err(error),
                    None => continue,
                },
            };

            let part = message::Answer::decode(body)
                .ok()
                .and_then(|a| codec::partials_in(a).ok());

            parts[answer.from + 1] = part.filter(|part| part.nodes.len() == nodes.len());
        }

        drop(asked);
        for (shard, part) in parts.iter_mut().enumerate() {
            if part.is_none() {
                *part = here(shard as u32)?;
            }
        }

        Ok(parts.into_iter().collect())
    }
}

/// What was evaluated of a divided query; `None` if the undivided way may come further. A bound that a part has reached is
/// reached by the whole too, and time that has run out does not come back.
fn unless_curable<T>(result: Result<T, EngineError>) -> Result<Option<T>, QueryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        // What cannot be read becomes a warning there, and what cannot be parsed finds its words.
        Err(
            EngineError::Storage(_)
            | EngineError::Internal(_)
            | EngineError::Parse(_)
            | EngineError::PartialTooLarge(_),
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The warning, or error, when no replica is complete.
const INCOMPLETE: &str = "no replica of the group is known to have all acknowledged samples: some may be missing from this answer";

fn incomplete(context: &QueryContext) -> Result<Option<String>, QueryError> {
    forgive(context, INCOMPLETE.to_owned()).map(Some)
}

/// The warning that an answer may lack something, or the error if it must not.
fn forgive(context: &QueryContext, text: String) -> Result<String, QueryError> {
    match context.partial_response {
        true => Ok(text),
        false => Err(QueryError::new(ErrorKind::Unavailable, text)),
    }
}

impl Queries for GroupQueries {
    /// Whoever has to ask others first is not quick.
    fn is_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        let is_complete = || {
            context
                .read_index
                .get()
                .is_some_and(|read_index| read_index.complete)
        };
        (self.is_alone(context) || is_complete()) && self.inner.is_quick(context, asked)
    }

    fn prepare<'a>(&'a self, context: &'a QueryContext) -> BoxFuture<'a, Result<(), QueryError>> {
        if self.is_alone(context) {
            return self.inner.prepare(context);
        }
        Box::pin(async move {
            match self.take_read_index(context).await?.complete {
                true => self.inner.prepare(context).await,
                // Others answer.
                false => Ok(()),
            }
        })
    }

    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError> {
        self.answer(context, &query.into())
    }

    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError> {
        if query.step_ms <= 0 || query.end_ms < query.start_ms {
            return self.inner.range(context, query);
        }

        self.answer(context, &query.into())
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        match self.lacking(context)? {
            None => self.inner.select(context, request),
            Some(read_index) => self.select_union(context, request, &read_index),
        }
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        self.found(
            context,
            selection,
            (What::Series, ""),
            |context: &QueryContext| self.inner.series(context, selection),
            union::labels_in,
        )
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(
            context,
            selection,
            (What::Names, ""),
            |context: &QueryContext| self.inner.label_names(context, selection),
            union::texts_in,
        )
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(
            context,
            selection,
            (What::Values, name),
            |context: &QueryContext| self.inner.label_values(context, name, selection),
            union::texts_in,
        )
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        let lacking = self.lacking(context)?.is_some();
        let mut found = self.inner.exemplars(context, expr, start_ms, end_ms)?;
        if lacking {
            found.warnings.extend(incomplete(context)?);
        }
        Ok(found)
    }

    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        self.inner.metadata(context, metric)
    }

    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError> {
        self.inner.tsdb_status(context, limit)
    }
}
