//! A group of replicas in one process: of one storage, or of a storage each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use trireme_base::{Boot, Clock, Incarnation, NodeName, StreamId, SystemClock};
use trireme_model::{Labels, MetricMetadata, Tenant};
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{
    Cancel, Engine, EngineOptions, ParserOptions, QueryResult, Select, SelectHints, SelectRequest,
    SeriesSet, parse,
};

use crate::{
    ANSWER_BYTES_MAX, Accepted, DistributeMode, Done, GroupQueries, OtherGroup, Refusal, Replicas,
};
use trireme_query::{
    ExemplarSeries, Found, InstantQuery, QuerierOptions, Queries, QueryContext, QueryError,
    RangeQuery, Selection, TsdbStatus,
};

/// What is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Broken,
    Lagging,
    Nonsense,
    /// It is being rebuilt, and has applied all it has.
    Rebuilt,
    Silent,
    /// Its log has a record that it has not applied, and that nobody else has.
    Unapplied,
}

fn refused(error: QueryError) -> Refusal {
    let (kind, text) = Refusal::told(&error);
    Refusal::heard(kind, text)
}

pub(super) fn context() -> QueryContext {
    QueryContext::new(Tenant::default(), Cancel::never())
}

fn engine_options() -> EngineOptions {
    EngineOptions {
        query_cost: true,
        ..EngineOptions::default()
    }
}

/// What stands for a node's querier.
struct Plain {
    engine: Engine,
    storage: Arc<MemoryStorage>,
    /// Undivided queries that were evaluated.
    evaluated: AtomicUsize,
}

impl Queries for Plain {
    fn instant(&self, context: &QueryContext, q: &InstantQuery) -> Result<QueryResult, QueryError> {
        let expr = parse(&q.expr, &ParserOptions::default())
            .map_err(|e| QueryError::invalid(e.to_string()))?;
        let options = trireme_query::query_options(context, q.lookback);

        self.evaluated.fetch_add(1, Ordering::Relaxed);
        Ok(self.engine.instant(
            self.storage.as_ref(),
            &expr,
            &q.expr,
            q.time_ms,
            &options,
            &context.cancel,
        )?)
    }

    fn range(&self, context: &QueryContext, q: &RangeQuery) -> Result<QueryResult, QueryError> {
        let expr = parse(&q.expr, &ParserOptions::default())
            .map_err(|e| QueryError::invalid(e.to_string()))?;
        let options = trireme_query::query_options(context, q.lookback);
        let span = (q.start_ms, q.end_ms);

        self.evaluated.fetch_add(1, Ordering::Relaxed);
        Ok(self.engine.range(
            self.storage.as_ref(),
            &expr,
            &q.expr,
            span,
            q.step_ms,
            &options,
            &context.cancel,
        )?)
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        Ok(self.storage.select(request, &context.cancel)?)
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        let mut found = BTreeSet::new();
        for matchers in selection.matchers.clone() {
            let start_ms = selection.start_ms;
            let end_ms = selection.end_ms;
            let hints = SelectHints::default();
            let set = self.select(
                context,
                &SelectRequest {
                    matchers,
                    start_ms,
                    end_ms,
                    hints,
                },
            )?;

            found.extend(set.series.iter().map(|s| s.labels().clone()));
        }

        Ok(Found {
            items: found.into_iter().collect(),
            warnings: Vec::new(),
        })
    }

    fn label_names(
        &self,
        context: &QueryContext,
        s: &Selection,
    ) -> Result<Found<String>, QueryError> {
        let series = self.series(context, s)?.items;
        let names: BTreeSet<_> = series
            .iter()
            .flat_map(|l| l.iter().map(|(name, _)| name.to_owned()))
            .collect();

        Ok(Found {
            items: names.into_iter().collect(),
            warnings: Vec::new(),
        })
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        s: &Selection,
    ) -> Result<Found<String>, QueryError> {
        let series = self.series(context, s)?.items;
        let values: BTreeSet<_> = series
            .iter()
            .filter_map(|l| l.get(name).map(str::to_owned))
            .collect();

        Ok(Found {
            items: values.into_iter().collect(),
            warnings: Vec::new(),
        })
    }

    fn exemplars(
        &self,
        _: &QueryContext,
        _: &str,
        _: i64,
        _: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        Ok(Found::default())
    }

    fn metadata(
        &self,
        _: &QueryContext,
        _: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        Ok(Vec::new())
    }

    fn tsdb_status(&self, _: &QueryContext, _: usize) -> Result<TsdbStatus, QueryError> {
        Ok(TsdbStatus::default())
    }
}

struct Members {
    names: Vec<NodeName>,
    spreads: OnceLock<Vec<Arc<GroupQueries>>>,
    /// Other groups by name, and whether they have data.
    others: Mutex<Vec<(String, Arc<Members>, bool)>>,
    faults: Mutex<Vec<Option<Fault>>>,
    /// Epochs of the rings by which the members go, and whether they can take a later one.
    epochs: Mutex<Vec<u64>>,
    can_learn: AtomicBool,
    /// Queries answered for others.
    served: Vec<AtomicUsize>,
    /// How often each has told its positions.
    told: Vec<AtomicUsize>,
}

/// A clock for which pauses take no time.
struct Hasty {
    clock: SystemClock,
    skipped_ns: AtomicU64,
}

impl Clock for Hasty {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic() + Duration::from_nanos(self.skipped_ns.load(Ordering::Relaxed))
    }
}

/// The group as one member sees it.
struct Seen {
    me: usize,
    clock: Arc<Hasty>,
    members: Weak<Members>,
    names: Vec<NodeName>,
}

impl Seen {
    fn fault(&self, member: usize) -> Option<Fault> {
        self.members.upgrade().and_then(|m| m.faults.lock()[member])
    }
}

impl Replicas for Seen {
    fn epoch(&self) -> u64 {
        self.members
            .upgrade()
            .map_or(0, |members| members.epochs.lock()[self.me])
    }

    fn learn_ring(&self, peer: &NodeName, epoch: u64, _: Duration) -> BoxFuture<'_, bool> {
        let members = self.members.upgrade().expect("the group is there");
        assert!(self.names.contains(peer), "{peer} is not of the group");
        let can_learn = members.can_learn.load(Ordering::Relaxed);
        if can_learn {
            members.epochs.lock()[self.me] = epoch;
        }
        Box::pin(ready(can_learn))
    }

    fn members(&self) -> usize {
        self.names.len()
    }

    fn quorum(&self) -> usize {
        self.names.len() / 2 + 1
    }

    fn is_complete(&self) -> bool {
        self.fault(self.me) != Some(Fault::Rebuilt)
    }

    fn connected(&self) -> Vec<NodeName> {
        self.names
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != self.me)
            .map(|(_, name)| name.clone())
            .collect()
    }

    fn other_groups(&self) -> Vec<OtherGroup> {
        let own = self.members.upgrade().expect("the group is there");
        let others = own.others.lock();
        others
            .iter()
            .map(
                |(name, members, has_data): &(String, Arc<Members>, bool)| OtherGroup {
                    name: name.clone(),
                    members: members.names.clone(),
                    has_data: *has_data,
                },
            )
            .collect()
    }

    fn durable(&self) -> Vec<(StreamId, u64)> {
        let seq = if self.fault(self.me) == Some(Fault::Unapplied) {
            8
        } else {
            7
        };
        vec![(
            StreamId {
                incarnation: Incarnation(1),
                boot: Boot(1),
            },
            seq,
        )]
    }

    fn pause(&self, length: Duration) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            clock
                .skipped_ns
                .fetch_add(length.as_nanos() as u64, Ordering::Relaxed);
        })
    }

    fn has_applied(&self, positions: &[(StreamId, u64)]) -> bool {
        match self.fault(self.me) {
            Some(Fault::Lagging) => positions.is_empty(),
            Some(Fault::Unapplied) => positions.iter().all(|(_, seq)| *seq <= 7),
            _ => true,
        }
    }

    fn ask(&self, peer: &NodeName, body: Bytes, _: Duration, done: Done) -> Box<dyn Send> {
        let own = self.members.upgrade().expect("the group is there");
        let at = |members: &Members| members.names.iter().position(|name| name == peer);
        let others = own.others.lock().clone();
        let mut groups = others
            .into_iter()
            .map(|(_, members, _)| members)
            .chain([own]);
        let members = groups
            .find(|members| at(members).is_some())
            .expect("a member");
        let member = at(&members).expect("found");
        let fault = members.faults.lock()[member];
        let answer = match fault {
            Some(Fault::Silent) => return Box::new(done),
            Some(Fault::Broken) => Err(Refusal::Other("connection lost".to_owned())),
            Some(Fault::Nonsense) => Ok(Bytes::from_static(b"\x12\x05\x1a\x03\x0a\x01\x00")),
            _ => match members.spreads.get().expect("built")[member].accept(body) {
                Ok(Accepted::Answer(bytes)) => {
                    members.told[member].fetch_add(1, Ordering::Relaxed);
                    Ok(bytes)
                }
                Ok(Accepted::Job(job)) => {
                    members.served[member].fetch_add(1, Ordering::Relaxed);
                    job.run(Cancel::never()).map_err(refused)
                }
                Err(e) => Err(refused(e)),
            },
        };

        done(answer);
        Box::new(())
    }
}

/// Some replicas.
pub(super) struct Group {
    members: Arc<Members>,
    /// What each has.
    plains: Vec<Arc<Plain>>,
}

impl Group {
    pub(super) fn of(n: usize, storage: MemoryStorage) -> Self {
        Self::with_mode(n, storage, DistributeMode::Always)
    }

    /// Replicas that all have the same.
    pub(super) fn with_mode(n: usize, storage: MemoryStorage, mode: DistributeMode) -> Self {
        let storage = Arc::new(storage);
        Self::of_shared("n", (0..n).map(|_| Arc::clone(&storage)).collect(), mode)
    }

    /// Replicas that all have the same, with names of their own.
    pub(super) fn named(prefix: &str, n: usize, storage: MemoryStorage) -> Self {
        let storage = Arc::new(storage);
        Self::of_shared(
            prefix,
            (0..n).map(|_| Arc::clone(&storage)).collect(),
            DistributeMode::Auto,
        )
    }

    /// From now on this group knows the other one.
    pub(super) fn meet(&self, name: &str, other: &Self, has_data: bool) {
        self.members
            .others
            .lock()
            .push((name.to_owned(), Arc::clone(&other.members), has_data));
    }

    /// A replica for each storage.
    pub(super) fn of_storages(storages: Vec<MemoryStorage>, mode: DistributeMode) -> Self {
        Self::of_shared("n", storages.into_iter().map(Arc::new).collect(), mode)
    }

    /// Replicas that give each other answers of at most so many bytes.
    pub(super) fn of_short_answers(n: usize, storage: MemoryStorage, bytes_max: usize) -> Self {
        let storage = Arc::new(storage);
        let storages = (0..n).map(|_| Arc::clone(&storage)).collect();
        Self::of_answers("n", storages, DistributeMode::Always, bytes_max)
    }

    fn of_shared(prefix: &str, storages: Vec<Arc<MemoryStorage>>, mode: DistributeMode) -> Self {
        Self::of_answers(prefix, storages, mode, ANSWER_BYTES_MAX)
    }

    fn of_answers(
        prefix: &str,
        storages: Vec<Arc<MemoryStorage>>,
        mode: DistributeMode,
        answer_bytes_max: usize,
    ) -> Self {
        let n = storages.len();
        let plains: Vec<_> = storages
            .into_iter()
            .map(|storage| {
                let engine = Engine::new(engine_options());
                Arc::new(Plain {
                    engine,
                    storage,
                    evaluated: AtomicUsize::new(0),
                })
            })
            .collect();

        let names: Vec<NodeName> = (0..n)
            .map(|i| NodeName::new(&format!("{prefix}{i}")))
            .collect();
        let members = Arc::new(Members {
            names: names.clone(),
            spreads: OnceLock::new(),
            others: Mutex::default(),
            faults: Mutex::new(vec![None; n]),
            epochs: Mutex::new(vec![1; n]),
            can_learn: AtomicBool::new(true),
            served: (0..n).map(|_| AtomicUsize::new(0)).collect(),
            told: (0..n).map(|_| AtomicUsize::new(0)).collect(),
        });

        let of_group = |me: usize| {
            let clock = Arc::new(Hasty {
                clock: SystemClock::new(),
                skipped_ns: AtomicU64::new(0),
            });
            let members = Arc::downgrade(&members);
            let names = names.clone();
            let seen = Seen {
                me,
                clock: Arc::clone(&clock),
                members,
                names,
            };

            let options = QuerierOptions {
                engine: engine_options(),
                ..QuerierOptions::default()
            };
            let inner = Arc::clone(&plains[me]) as Arc<dyn Queries>;
            let of_group = GroupQueries::new(inner, options, Arc::new(seen), clock, mode);

            Arc::new(GroupQueries {
                answer_bytes_max,
                ..of_group
            })
        };

        let _ = members.spreads.set((0..n).map(of_group).collect());
        Self { members, plains }
    }

    pub(super) fn of_group(&self, member: usize) -> &Arc<GroupQueries> {
        &self.members.spreads.get().expect("built")[member]
    }

    pub(super) fn undivided(&self) -> &dyn Queries {
        self.plains[0].as_ref()
    }

    /// How many undivided queries each has evaluated.
    pub(super) fn evaluated(&self) -> Vec<usize> {
        self.plains
            .iter()
            .map(|plain| plain.evaluated.load(Ordering::Relaxed))
            .collect()
    }

    pub(super) fn fail(&self, member: usize, fault: Fault) {
        self.members.faults.lock()[member] = Some(fault);
    }

    /// A member has heard of a later ring.
    pub(super) fn hears(&self, member: usize, epoch: u64) {
        self.members.epochs.lock()[member] = epoch;
    }

    /// Nobody can take a later ring any more.
    pub(super) fn learns_nothing(&self) {
        self.members.can_learn.store(false, Ordering::Relaxed);
    }

    /// Epochs of the rings by which the members go.
    pub(super) fn epochs(&self) -> Vec<u64> {
        self.members.epochs.lock().clone()
    }

    pub(super) fn told(&self) -> Vec<usize> {
        self.members
            .told
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .collect()
    }

    pub(super) fn served(&self) -> Vec<usize> {
        self.members
            .served
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .collect()
    }
}
