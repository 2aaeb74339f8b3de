//! Queries over the replicas of a group.
//!
//! ```text
//!  instant/range ─▶ Spread ── "how far are you?" ──▶ peers            (until a quorum has answered)
//!                     │  wait until this replica has applied all that
//!                     ├─ known to be cheap, or nothing distributes ─▶ this node's Querier
//!                     ├─ shard 0 here, shards 1..n on peers ─▶ states of aggregations ─▶ engine merges, does the rest
//!                     └─ this replica lags ─▶ the whole query on one that does not
//! ```
//!
//! A write is acknowledged when a quorum has it durably. Two quorums share a member, so the positions of one, taken when
//! the query begins, cover every write acknowledged before. A replica that has applied them is complete for the query.
//!
//! Each replica has all series; a query is divided by a hash of their labels. Whatever goes wrong with a shard elsewhere,
//! it is evaluated here instead, and whatever goes wrong with that, the query is evaluated here as if it had never been
//! divided. Spreading therefore never makes a query fail.
//!
//! What is absent on purpose: sharing across groups (a group holds other series; its owner merges), and streams of
//! samples between replicas.

mod answering;
mod codec;
mod memory;
mod message;
mod plan;
mod replicas;
mod sharded;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use trireme_base::{Clock, ErrorKind, NodeName, StreamId};
use trireme_model::{Labels, MetricMetadata};
use trireme_promql::ast::{Expr, PosRange};
use trireme_promql::{
    Cancel, Engine, ParserOptions, Partials, QueryOptions, QueryResult, Select, SelectError, SelectRequest,
    SeriesSet, Stop, parse,
};

use crate::{
    ExemplarSeries, Found, InstantQuery, QuerierOptions, Queries, QueryContext, QueryError, RangeQuery,
    Selection, TsdbStatus,
};
pub use answering::{Accepted, Job};
use memory::Memory;
pub use message::{CALL_KIND, CALL_VERSION};
pub use plan::distributable;
pub use replicas::{Answer, Replicas};
pub use sharded::Sharded;

/// A quorum has this long to tell its positions.
const POSITIONS_WAIT: Duration = Duration::from_secs(1);
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
pub enum SpreadMode {
    /// Never, and other replicas are not asked for their positions.
    Off,
    /// Unless they are known to be cheap.
    #[default]
    Auto,
    /// Whenever that is possible.
    Always,
}

/// Answers queries with the help of the group's other replicas.
pub struct Spread {
    inner: Arc<dyn Queries>,
    engine: Engine,
    parser: ParserOptions,
    replicas: Arc<dyn Replicas>,
    clock: Arc<dyn Clock>,
    mode: SpreadMode,
    memory: Memory,
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

impl Question<'_> {
    fn options(&self) -> QueryOptions {
        let lookback_ms = self.lookback.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        QueryOptions { lookback_ms, ..QueryOptions::default() }
    }

    fn message(&self, context: &QueryContext, positions: &[(StreamId, u64)]) -> message::Query {
        message::Query {
            tenant: context.tenant.as_str().to_owned(),
            text: self.text.to_owned(),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            step_ms: self.step_ms,
            lookback_ms: self.options().lookback_ms.unwrap_or(0),
            positions: codec::positions_out(positions),
            replica_labels: context.replica_labels.clone(),
            max_source_resolution_ms: context.max_source_resolution_ms,
            ..message::Query::default()
        }
    }
}

/// What the group had when the query began.
struct Fence {
    positions: Vec<(StreamId, u64)>,
    /// A quorum has told, and this replica has applied it.
    complete: bool,
}

/// The series of this node, for the engine. A part that cannot be read is an error: then the undivided way finds words.
struct Local<'a> {
    queries: &'a dyn Queries,
    context: QueryContext,
}

impl Select for Local<'_> {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        self.queries.select(&self.context, request).map_err(|e| match e.kind() {
            ErrorKind::Cancelled => SelectError::Stopped(Stop::Canceled),
            ErrorKind::Timeout => SelectError::Stopped(Stop::TimedOut),
            _ => SelectError::Unavailable(e.to_string()),
        })
    }
}

impl Spread {
    /// Divides what `inner` answers for this node. `options` are those of `inner`.
    pub fn new(
        inner: Arc<dyn Queries>,
        options: QuerierOptions,
        replicas: Arc<dyn Replicas>,
        clock: Arc<dyn Clock>,
        mode: SpreadMode,
    ) -> Self {
        let engine = Engine::new(options.engine);
        Self { inner, engine, parser: options.parser, replicas, clock, mode, memory: Memory::default() }
    }

    fn local<'a>(&'a self, context: &QueryContext) -> Local<'a> {
        Local {
            queries: self.inner.as_ref(),
            context: QueryContext { partial_response: false, ..context.clone() },
        }
    }

    /// The undivided way.
    fn undivided(&self, context: &QueryContext, q: &Question<'_>) -> Result<QueryResult, QueryError> {
        let (expr, lookback) = (q.text.to_owned(), q.lookback);
        if q.step_ms == 0 {
            return self.inner.instant(context, &InstantQuery { expr, time_ms: q.start_ms, lookback });
        }
        let (start_ms, end_ms, step_ms) = (q.start_ms, q.end_ms, q.step_ms);
        self.inner.range(context, &RangeQuery { expr, start_ms, end_ms, step_ms, lookback })
    }

    fn answer(&self, context: &QueryContext, q: &Question<'_>) -> Result<QueryResult, QueryError> {
        if self.is_alone(context) {
            return self.undivided(context, q);
        }
        let fence = self.fence(context)?;
        if !fence.complete {
            return self.elsewhere(context, q, &fence);
        }
        let result = match self.divided(context, q, &fence)? {
            Some(result) => result,
            None => self.undivided(context, q)?,
        };
        self.memory.note(q.text, q.step_ms, result.stats.samples_read);
        Ok(result)
    }

    fn is_alone(&self, context: &QueryContext) -> bool {
        self.mode == SpreadMode::Off || context.local_only || self.replicas.members() < 2
    }

    /// Asks how far the others are, until a quorum has answered, and waits until this replica is that far.
    fn fence(&self, context: &QueryContext) -> Result<Fence, QueryError> {
        let needed = self.replicas.quorum().saturating_sub(1);
        let request = message::Request { question: Some(message::Question::Positions(message::Nothing {})) };
        let (asked, answers) = self.ask(&self.replicas.connected(), |_| request.clone(), POSITIONS_WAIT);
        let mut positions: std::collections::BTreeMap<StreamId, u64> = std::collections::BTreeMap::new();
        let (mut told, until) = (0, self.clock.monotonic() + POSITIONS_WAIT);
        while told < needed {
            let Some(answer) = self.next(&answers, until, context)? else { break };
            let Ok(answer) = answer.body.map_err(drop).and_then(|b| message::Answer::decode(b).map_err(drop))
            else {
                continue;
            };
            told += 1;
            for (stream, seq) in codec::positions_in(&answer.positions) {
                let known = positions.entry(stream).or_default();
                *known = (*known).max(seq);
            }
        }
        drop(asked);
        let positions: Vec<_> = positions.into_iter().collect();
        let complete = told >= needed && self.replicas.applied_within(&positions, APPLY_WAIT);
        Ok(Fence { positions, complete })
    }

    /// Sends a request to each of `peers`. Dropping what is returned first tells them to stop.
    fn ask(
        &self,
        peers: &[NodeName],
        request: impl Fn(usize) -> message::Request,
        timeout: Duration,
    ) -> (Vec<Box<dyn Send>>, Receiver<Answer>) {
        let (done, answers) = channel();
        let send = |(i, peer): (usize, &NodeName)| {
            let body = Bytes::from(request(i).encode_to_vec());
            self.replicas.ask(peer, i, body, timeout, done.clone())
        };
        (peers.iter().enumerate().map(send).collect(), answers)
    }

    /// The next answer; `None` if there will be none before `until`.
    fn next(
        &self,
        answers: &Receiver<Answer>,
        until: Duration,
        context: &QueryContext,
    ) -> Result<Option<Answer>, QueryError> {
        loop {
            context.cancel.check().map_err(|stop| QueryError::new(stop.kind(), stop.to_string()))?;
            let left = until.saturating_sub(self.clock.monotonic());
            match answers.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(answer) => return Ok(Some(answer)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The result with its aggregations evaluated in shards; `None` if it has to be, or had better be, evaluated
    /// undivided.
    fn divided(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        fence: &Fence,
    ) -> Result<Option<QueryResult>, QueryError> {
        if self.mode == SpreadMode::Auto && self.memory.is_cheap(q.text, q.step_ms) {
            return Ok(None);
        }
        let Ok(expr) = parse(q.text, &self.parser) else { return Ok(None) };
        let nodes = plan::distributable(&expr);
        let peers = self.replicas.connected();
        if nodes.is_empty() || peers.is_empty() {
            return Ok(None);
        }
        let Some(parts) = self.parts(context, q, fence, &expr, &nodes, &peers)? else { return Ok(None) };
        let engine = self.engine.merging(parts);
        let (local, options, cancel) = (self.local(context), q.options(), &context.cancel);
        let result = if q.step_ms == 0 {
            engine.instant(&local, &expr, q.text, q.start_ms, &options, cancel)
        } else {
            engine.range(&local, &expr, q.text, (q.start_ms, q.end_ms), q.step_ms, &options, cancel)
        };
        // The undivided way finds the right words for an error, and may even succeed.
        Ok(result.ok())
    }

    /// All shards: the first from here, others from peers, and those that peers do not give in time from here as well.
    fn parts(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        fence: &Fence,
        expr: &Expr,
        nodes: &[PosRange],
        peers: &[NodeName],
    ) -> Result<Option<Vec<Partials>>, QueryError> {
        let shards = peers.len() as u32 + 1;
        let request = |i: usize| {
            let mut query = q.message(context, &fence.positions);
            (query.shard, query.shards) = (i as u32 + 1, shards);
            query.nodes = nodes.iter().map(|pos| codec::pos_out(*pos)).collect();
            message::Request { question: Some(message::Question::Query(query)) }
        };
        let began = self.clock.monotonic();
        let (asked, answers) = self.ask(peers, request, SHARD_TIMEOUT);
        let local = self.local(context);
        let here = |shard: u32| {
            let (storage, options) = (Sharded::new(&local, shard, shards), q.options());
            let span = (q.start_ms, q.end_ms);
            self.engine.partials(&storage, expr, span, q.step_ms, nodes, &options, &context.cancel).ok()
        };
        let mut parts: Vec<Option<Partials>> = vec![None; shards as usize];
        parts[0] = here(0);
        if parts[0].is_none() {
            return Ok(None);
        }
        let took = self.clock.monotonic().saturating_sub(began);
        let until = began + took + (took * 3).max(PATIENCE);
        for _ in peers {
            let Some(answer) = self.next(&answers, until, context)? else { break };
            let Ok(body) = answer.body else { continue };
            let part = message::Answer::decode(body).ok().and_then(|a| codec::partials_in(a).ok());
            parts[answer.from + 1] = part.filter(|part| part.nodes.len() == nodes.len());
        }
        drop(asked);
        for (shard, part) in parts.iter_mut().enumerate() {
            if part.is_none() {
                *part = here(shard as u32);
            }
        }
        Ok(parts.into_iter().collect())
    }

    /// This replica lags: one that does not answers the whole query. If there is none, this one does, with a warning.
    fn elsewhere(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        fence: &Fence,
    ) -> Result<QueryResult, QueryError> {
        for peer in self.replicas.connected() {
            let request = message::Request {
                question: Some(message::Question::Query(q.message(context, &fence.positions))),
            };
            let (_asked, answers) = self.ask(std::slice::from_ref(&peer), |_| request.clone(), SHARD_TIMEOUT);
            let Some(answer) = self.next(&answers, self.clock.monotonic() + SHARD_TIMEOUT, context)? else {
                continue;
            };
            let answer = answer.body.ok().and_then(|body| message::Answer::decode(body).ok());
            if let Some(result) = answer.and_then(|a| codec::whole_in(a).ok()) {
                return Ok(result);
            }
        }
        if !context.partial_response {
            return Err(QueryError::new(ErrorKind::Unavailable, INCOMPLETE));
        }
        let mut result = self.undivided(context, q)?;
        result.warnings.push(INCOMPLETE.to_owned());
        result.warnings.sort();
        Ok(result)
    }

    /// For questions that are not divided: waits until this replica is complete, or says that it is not.
    fn whole(&self, context: &QueryContext) -> Result<Vec<String>, QueryError> {
        if self.is_alone(context) || self.fence(context)?.complete {
            return Ok(Vec::new());
        }
        match context.partial_response {
            true => Ok(vec![INCOMPLETE.to_owned()]),
            false => Err(QueryError::new(ErrorKind::Unavailable, INCOMPLETE)),
        }
    }

    fn found<T>(
        &self,
        context: &QueryContext,
        ask: impl FnOnce() -> Result<Found<T>, QueryError>,
    ) -> Result<Found<T>, QueryError> {
        let warnings = self.whole(context)?;
        let mut found = ask()?;
        found.warnings.extend(warnings);
        Ok(found)
    }
}

/// The warning, or error, when no replica is complete.
const INCOMPLETE: &str =
    "no replica of the group is known to have all acknowledged samples: some may be missing from this answer";

impl Queries for Spread {
    fn instant(&self, context: &QueryContext, query: &InstantQuery) -> Result<QueryResult, QueryError> {
        let t = query.time_ms;
        let (start_ms, end_ms, step_ms, lookback) = (t, t, 0, query.lookback);
        self.answer(context, &Question { text: &query.expr, start_ms, end_ms, step_ms, lookback })
    }

    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError> {
        let (start_ms, end_ms, step_ms, lookback) =
            (query.start_ms, query.end_ms, query.step_ms, query.lookback);
        if step_ms <= 0 || end_ms < start_ms {
            return self.inner.range(context, query);
        }
        self.answer(context, &Question { text: &query.expr, start_ms, end_ms, step_ms, lookback })
    }

    fn select(&self, context: &QueryContext, request: &SelectRequest) -> Result<SeriesSet, QueryError> {
        let warnings = self.whole(context)?;
        let mut set = self.inner.select(context, request)?;
        set.warnings.extend(warnings);
        Ok(set)
    }

    fn series(&self, context: &QueryContext, selection: &Selection) -> Result<Found<Labels>, QueryError> {
        self.found(context, || self.inner.series(context, selection))
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(context, || self.inner.label_names(context, selection))
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(context, || self.inner.label_values(context, name, selection))
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        self.found(context, || self.inner.exemplars(context, expr, start_ms, end_ms))
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
