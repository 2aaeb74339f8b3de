//! `Scrubber`: finds blocks that are damaged or missing, and gets good copies of them.
//!
//! ```text
//!  every storage.scrub_interval   each local block is read again from the disk ── bytes changed ──▶ damaged
//!  then, and at a start           names of blocks are compared with each replica ── not here ──▶ missing, differs
//!  each of these                  fetched from a replica or the bucket, verified, put into its place
//! ```
//!
//! A damaged block answers what can be read of it until a good copy is here, and is then set aside. While a peer has
//! something that is missing here, queries are passed to peers. Only blocks are looked at: heads are equal once
//! positions are, and what is different in them becomes a different block.

mod compare;
mod copy;
mod error;
mod metrics;
mod pace;
mod plan;
mod reading;
mod rounds;
mod source;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Context};
use object_store::ObjectStore;
use slog::{Logger, error, info, warn};
use tokio::runtime::Handle;
use trireme_base::pool::CpuPool;
use trireme_base::{Backoff, Clock};
use trireme_block::Reread;
use trireme_storage::{Cutting, LocalBlock};
use trireme_transport::{CallBook, Hub};

use crate::canary::Canary;
use crate::delivery::{crasher, crashes};
use crate::supervisor::{Start, Started};
use compare::Compared;
use error::ScrubError;
pub use metrics::ScrubberMetrics;
use pace::Pace;
use plan::{Key, Lack, Wanted};
use reading::{on_pool, read_through};
use rounds::Rounds;

/// Time between looks whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// Bounds of the wait before a comparison or a copy that did not get everything is repeated.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(600);
/// A peer that has made cuts which this node has not made is compared with all the same after this time.
const BEHIND_MAX: Duration = Duration::from_secs(600);

/// Times, rates and bounds.
#[derive(Debug, Clone)]
pub struct ScrubberOptions {
    /// Time between two readings of all blocks.
    pub interval: Duration,
    /// Bytes a second at which blocks are read again; 0 means no bound.
    pub read_rate: u64,
    /// Bytes a second at which blocks are fetched; 0 means no bound.
    pub copy_rate: u64,
    /// Length of a window.
    pub window_ms: i64,
    /// How long local blocks are kept.
    pub retention_ms: i64,
    /// Size over which the oldest local blocks go; 0 means no bound.
    pub retention_bytes: u64,
    /// Where the time of the last reading is noted.
    pub note: PathBuf,
}

/// What the scrubber works with; all of it outlives the actor.
#[derive(Clone)]
pub struct ScrubberParts {
    /// Local blocks, and which cuts they come from.
    pub cutting: Cutting,
    /// Says who is in the group.
    pub hub: Arc<Hub>,
    /// Calls to the members.
    pub calls: Arc<CallBook>,
    /// The bucket, if there is one.
    pub bucket: Option<Arc<dyn ObjectStore>>,
    /// Requests to the bucket run here.
    pub runtime: Handle,
    /// Files are read and written here.
    pub pool: Arc<CpuPool>,
    /// Bytes that may be written before the disk is too full.
    pub room: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Times, rates and bounds.
    pub options: ScrubberOptions,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: ScrubberMetrics,
    /// Logger.
    pub log: Logger,
}

/// What one piece of work leaves for the next.
struct State {
    rounds: Rounds,
    pace: Pace,
    /// Blocks are compared then; none while that waits for the end of a round.
    compare_at: Option<Duration>,
    again: Backoff,
    /// A peer has made more cuts since then.
    behind_since: Option<Duration>,
    /// What was told and counted of what is wanted, so that it is once.
    told: BTreeSet<Key>,
    /// What nobody has, as was told.
    hopeless: BTreeSet<Key>,
}

/// The actor.
pub struct Scrubber {
    parts: ScrubberParts,
    /// None while work is under way.
    state: Option<State>,
    _canary: Canary,
}

impl Scrubber {
    /// How the supervisor starts it.
    pub fn starter(parts: ScrubberParts) -> Start {
        Box::new(move |canary| {
            let state = Some(State::new(&parts));
            let addr = Self {
                parts: parts.clone(),
                state,
                _canary: canary,
            }
            .start();
            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if !self.parts.may_work() {
            return;
        }
        let Some(state) = self.state.take() else {
            return;
        };

        let work = work(self.parts.clone(), state);
        ctx.spawn(
            work.into_actor(self)
                .map(|state, actor, _| actor.state = Some(state)),
        );
    }
}

crashes!(Scrubber);

impl Actor for Scrubber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |actor, ctx| actor.tick(ctx));
    }
}

impl ScrubberParts {
    /// A node that is being rebuilt gets its blocks by that, and one that replays its log has enough to do.
    fn may_work(&self) -> bool {
        let store = &self.cutting.store;
        store.replay().is_done() && store.parts().completeness.is_complete()
    }
}

impl State {
    fn new(parts: &ScrubberParts) -> Self {
        let now = parts.clock.monotonic();
        let again_max = AGAIN_MAX.min(parts.options.interval).max(AGAIN_MIN);
        let seed = parts.clock.now_ms().unsigned_abs();

        Self {
            rounds: Rounds::new(
                &parts.options.note,
                parts.options.interval,
                parts.clock.now_ms(),
                now,
            ),
            pace: Pace::new(parts.options.read_rate, &parts.clock),
            compare_at: Some(now),
            again: Backoff::new(AGAIN_MIN, again_max, seed),
            behind_since: None,
            told: BTreeSet::new(),
            hopeless: BTreeSet::new(),
        }
    }
}

/// Does what is due: a comparison, or blocks to be read again until one is damaged. Those in which a query met damage
/// come before their turn.
async fn work(parts: ScrubberParts, mut state: State) -> State {
    let is_due = |state: &State| {
        state
            .compare_at
            .is_some_and(|at| at <= parts.clock.monotonic())
    };

    if parts.cutting.store.parts().completeness.take_doubt() {
        state.compare_at = Some(parts.clock.monotonic());
    }

    if is_due(&state) {
        mend(&parts, &mut state).await;
        return state;
    }

    state.rounds.begin_if_due(parts.clock.monotonic(), || {
        parts.cutting.local_blocks.blocks()
    });

    while let Some(block) = doubted(&parts).or_else(|| state.rounds.next_block()) {
        if read_again(&parts, &mut state, &block).await == Reading::Damaged {
            state.compare_at = Some(parts.clock.monotonic());
        }
        if is_due(&state) || !parts.may_work() {
            return state;
        }
    }

    finish_round(&parts, &mut state);
    state
}

/// A block that a query could not read and that is not known to be damaged.
fn doubted(parts: &ScrubberParts) -> Option<Arc<LocalBlock>> {
    let block = parts
        .cutting
        .local_blocks
        .blocks()
        .into_iter()
        .find(|block: &Arc<LocalBlock>| block.block.take_doubt() && !block.is_damaged())?;

    warn!(parts.log, "a query met damage in a block, all of it is read again"; "tenant" => %block.tenant,
        "block_id" => %block.meta().ulid);
    Some(block)
}

#[derive(PartialEq, Eq)]
enum Reading {
    Good,
    Damaged,
    /// It went meanwhile, or could not be read for a reason that says nothing about it.
    Unknown,
}

async fn read_again(parts: &ScrubberParts, state: &mut State, block: &Arc<LocalBlock>) -> Reading {
    let dir = block.dir.clone();
    let ulid = block.meta().ulid;
    let begun = on_pool(parts, move || Reread::begin(&dir, ulid)).await;
    let read = match begun {
        Ok(Ok(reread)) => read_through(parts, reread, &mut state.pace).await,
        Ok(Err(err)) => Err(err.into()),
        Err(err) => Err(err.into()),
    };

    match read {
        Ok(bytes) => {
            parts.metrics.read_bytes.inc_by(bytes);
            state.rounds.read(bytes);
            Reading::Good
        }
        Err(err) => judge(parts, state, block, &err),
    }
}

/// Whether an error of reading a block is one of the block.
fn judge(
    parts: &ScrubberParts,
    state: &mut State,
    block: &Arc<LocalBlock>,
    err: &ScrubError,
) -> Reading {
    let shelved = parts
        .cutting
        .local_blocks
        .find(&block.tenant, block.meta().ulid);
    if !shelved.is_some_and(|now| Arc::ptr_eq(&now, block)) {
        // Retention dropped it, or a copy took its place.
        return Reading::Unknown;
    }
    let ScrubError::Block(fault) = err else {
        parts
            .metrics
            .failures
            .with_label_values(&[err.reason()])
            .inc();
        return Reading::Unknown;
    };

    if !fault.is_damage() {
        parts
            .metrics
            .failures
            .with_label_values(&[err.reason()])
            .inc();
        warn!(parts.log, "a block could not be read again"; "tenant" => %block.tenant,
            "block_id" => %block.meta().ulid, "err" => %err);
        return Reading::Unknown;
    }

    if !block.is_damaged() {
        block.set_damaged();
        parts.metrics.damaged.inc();
        error!(parts.log, "a block is damaged, a good copy is looked for"; "tenant" => %block.tenant,
            "block_id" => %block.meta().ulid, "start_ms" => block.meta().min_time, "reason" => %err);
    }

    state.rounds.damaged();
    Reading::Damaged
}

fn finish_round(parts: &ScrubberParts, state: &mut State) {
    let now = parts.clock.monotonic();
    let Some(done) = state.rounds.finish(now, parts.clock.now_ms()) else {
        return;
    };

    parts.metrics.rounds.inc();
    parts.metrics.finished.set(parts.clock.now_ms() / 1_000);
    info!(parts.log, "local blocks were read again"; "blocks" => done.blocks, "bytes" => done.bytes,
        "damaged" => done.damaged, "elapsed_ms" => done.elapsed.as_millis() as u64);

    if let Err(err) = done.noted {
        warn!(parts.log, "cannot note that, the next start reads them earlier"; "err" => %err);
    }

    state.compare_at = Some(now);
}

/// Compares with the other replicas and fetches what is missing.
async fn mend(parts: &ScrubberParts, state: &mut State) {
    let now = parts.clock.monotonic();
    let not_behind = state
        .behind_since
        .is_none_or(|since| now.saturating_sub(since) < BEHIND_MAX);
    let found = compare::compare(parts, not_behind).await;

    state.behind_since = found.is_behind.then(|| state.behind_since.unwrap_or(now));
    state.tell(parts, &found);
    let completeness = &parts.cutting.store.parts().completeness;

    completeness.set_lacks_blocks(found.wanted.iter().any(|wanted| !wanted.peers.is_empty()));
    let mut left = found.wanted.len();
    let mut peer_has = false;

    parts.metrics.wanted.set(left as i64);
    for wanted in &found.wanted {
        if !parts.may_work() {
            break;
        }
        match copy::fetch(parts, wanted).await {
            Ok(()) => {
                left -= 1;
                parts.metrics.wanted.set(left as i64);
            }
            Err(err) => {
                peer_has |= !wanted.peers.is_empty() && !err.is_sources_fault();
                if !found.is_partial {
                    state.despair(parts, wanted, &err);
                }
            }
        }
    }

    completeness.set_lacks_blocks(peer_has);
    if !found.is_partial && !peer_has {
        completeness.compared();
    }

    if left > 0 || found.is_partial {
        state.compare_at = Some(parts.clock.monotonic() + state.again.next_wait());
    } else {
        state.again.reset();
        state.compare_at = None;
    }
}

impl State {
    /// Counts and logs what is new among what is wanted.
    fn tell(&mut self, parts: &ScrubberParts, found: &Compared) {
        let mut keys: BTreeSet<Key> = found
            .wanted
            .iter()
            .map(|w| (w.tenant.clone(), w.ulid))
            .collect();

        for wanted in found
            .wanted
            .iter()
            .filter(|w| !self.told.contains(&(w.tenant.clone(), w.ulid)))
        {
            let names: Vec<String> = wanted.peers.iter().map(ToString::to_string).collect();
            let start_ms = wanted.listed.as_ref().map(|block| block.start_ms);

            let peers = names.join(" ");
            match wanted.lack {
                // Told where it was found.
                Lack::Damaged => continue,
                Lack::Missing => {
                    warn!(parts.log, "a block is missing here"; "tenant" => %wanted.tenant,
                    "block_id" => %wanted.ulid, "start_ms" => start_ms, "peers" => peers)
                }
                Lack::Differs => {
                    warn!(parts.log, "a window differs from a replica's, both blocks are kept";
                    "tenant" => %wanted.tenant, "block_id" => %wanted.ulid, "start_ms" => start_ms,
                    "peers" => peers)
                }
            }

            parts
                .metrics
                .differences
                .with_label_values(&[wanted.lack.text()])
                .inc();
        }

        if found.is_partial {
            // What was not seen this time may be seen again.
            keys.append(&mut self.told);
        }

        self.hopeless.retain(|key| keys.contains(key));
        self.told = keys;
    }

    /// Says once that nobody has a good copy of a block.
    fn despair(&mut self, parts: &ScrubberParts, wanted: &Wanted, err: &ScrubError) {
        if err.is_sources_fault() && self.hopeless.insert((wanted.tenant.clone(), wanted.ulid)) {
            error!(parts.log, "no replica has a good copy of a block, it is tried again";
                "tenant" => %wanted.tenant, "block_id" => %wanted.ulid, "lack" => wanted.lack.text(),
                "err" => %err);
        }
    }
}
