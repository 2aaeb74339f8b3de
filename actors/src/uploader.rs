//! `Uploader`: one copy of every block in the bucket.
//!
//! Every replica has the same block, so uploading is a matter of turn: the first of the live replicas in the block's own
//! ranking uploads once the bucket was listed anew, the next ones wait their turn and look first. All of them compare the
//! bucket's digests with their own before they count the block as shipped.
//!
//! Several blocks are looked at side by side, and sent as far as there is room for their bytes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Context};
use futures::StreamExt;
use object_store::ObjectStore;
use prometheus::{IntCounterVec, IntGauge};
use slog::{Logger, error, info, warn};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trireme_base::Clock;
use trireme_base::pool::CpuPool;
use trireme_bucket::{
    BucketError, CopyState, HashedBlock, MetaCache, Published, check_holder, compare, publish,
};
use trireme_model::Tenant;
use trireme_storage::{LocalBlock, LocalBlocks};
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::Hub;
use ulid::Ulid;

use crate::canary::Canary;
use crate::delivery::{crasher, crashes};
use crate::supervisor::{Start, Started};
use crate::turn::Live;

/// Bytes of blocks that are being sent, at once. The largest block takes all of it and goes alone.
const ROOM_BYTES: u64 = HashedBlock::SENDING_BYTES_MAX;
/// Permits of the semaphore are of so many bytes.
const PERMIT_BYTES: u64 = 1 << 10;

/// Metrics of shipping.
#[derive(Clone)]
pub struct UploaderMetrics {
    uploads: IntCounterVec,
    failures: IntCounterVec,
    unshipped: IntGauge,
}

impl UploaderMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let outcomes =
            "Blocks shipped: uploaded by this node, found there, or found in a compacted block.";
        Ok(Self {
            uploads: metrics.counters("trireme_bucket_blocks_shipped_total", outcomes, &["by"])?,
            failures: metrics.counters(
                "trireme_bucket_upload_failures_total",
                "Failed attempts.",
                &["reason"],
            )?,
            unshipped: metrics.gauge(
                "trireme_bucket_blocks_unshipped",
                "Local blocks without a verified copy.",
            )?,
        })
    }
}

/// What the uploader works with; all of it outlives the actor.
#[derive(Clone)]
pub struct UploaderParts {
    /// The bucket.
    pub bucket: Arc<dyn ObjectStore>,
    /// Which blocks it has; somebody refreshes it.
    pub listed: Arc<MetaCache>,
    /// Local blocks.
    pub local_blocks: Arc<LocalBlocks>,
    /// Says who is alive.
    pub hub: Arc<Hub>,
    /// Hashing runs here.
    pub pool: Arc<CpuPool>,
    /// Requests to the bucket run here.
    pub runtime: Handle,
    /// External labels beside the tenant's.
    pub external_labels: BTreeMap<String, String>,
    /// Label that holds the tenant.
    pub tenant_label: String,
    /// How long a replica waits for the one before it.
    pub turn: Duration,
    /// Time between looks.
    pub interval: Duration,
    /// Blocks that are looked at side by side.
    pub at_once: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: UploaderMetrics,
    /// Logger.
    pub log: Logger,
}

/// A block on its way to the bucket.
struct Shipment {
    first_seen: Duration,
    /// How often the bucket had been listed then.
    listings: u64,
    hashed: Option<Arc<HashedBlock>>,
}

/// Blocks on their way. A name alone says whose a block is only since tenants are part of it.
type Shipments = HashMap<(Tenant, Ulid), Shipment>;

/// The actor.
pub struct Uploader {
    parts: UploaderParts,
    shipments: Shipments,
    busy: bool,
    _canary: Canary,
}

impl Uploader {
    /// How the supervisor starts it.
    pub fn starter(parts: UploaderParts) -> Start {
        Box::new(move |canary| {
            let addr = Self {
                parts: parts.clone(),
                shipments: HashMap::new(),
                busy: false,
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

    fn look(&mut self, ctx: &mut Context<Self>) {
        let waiting: Vec<Arc<LocalBlock>> = self
            .parts
            .local_blocks
            .blocks()
            .into_iter()
            .filter(|b| !b.is_shipped() && !b.is_damaged())
            .collect();

        self.parts.metrics.unshipped.set(waiting.len() as i64);
        let still: HashSet<_> = waiting.iter().map(|block| key_of(block)).collect();
        self.shipments.retain(|key, _| still.contains(key));

        if self.busy || waiting.is_empty() {
            return;
        }

        self.busy = true;
        let now = self.parts.clock.monotonic();
        let shipments = std::mem::take(&mut self.shipments);
        let round = round(self.parts.clone(), waiting, shipments, now);
        let done = round.into_actor(self).map(|shipments, actor, _| {
            actor.shipments = shipments;
            actor.busy = false;
        });

        ctx.spawn(done);
    }
}

crashes!(Uploader);

impl Actor for Uploader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.parts.interval, |actor, ctx| actor.look(ctx));
    }
}

fn key_of(block: &LocalBlock) -> (Tenant, Ulid) {
    (block.tenant.clone(), block.meta().ulid)
}

/// One look at every block that is not shipped, oldest first.
async fn round(
    parts: UploaderParts,
    mut waiting: Vec<Arc<LocalBlock>>,
    mut shipments: Shipments,
    now: Duration,
) -> Shipments {
    waiting.sort_by_key(|b| b.meta().max_time);
    let listings = parts.listed.generation();
    let room = Arc::new(Semaphore::new((ROOM_BYTES / PERMIT_BYTES) as usize));
    let looks = waiting.into_iter().map(|block| {
        let mut shipment = shipments.remove(&key_of(&block)).unwrap_or_else(|| Shipment { first_seen: now, listings, hashed: None });
        let parts = &parts;
let room = &room;
        async move {
            if let Err(err) = ship(parts, &block, &mut shipment, room, now).await {
                parts.metrics.failures.with_label_values(&[reason(&err)]).inc();
                warn!(parts.log, "block was not shipped, it will be tried again"; "tenant" => %block.tenant,
                    "block_id" => %block.meta().ulid, "err" => %err);
            }
            (key_of(&block), shipment)
        }
    });

    futures::stream::iter(looks)
        .buffer_unordered(parts.at_once.max(1))
        .collect()
        .await
}

/// Permits for sending a block.
fn permits_of(block: &HashedBlock) -> u32 {
    (block
        .sending_bytes()
        .clamp(1, ROOM_BYTES)
        .div_ceil(PERMIT_BYTES)) as u32
}

fn reason(error: &BucketError) -> &'static str {
    match error {
        BucketError::Differs { .. } => "differs",
        BucketError::Config(_) => "config",
        _ => "store",
    }
}

async fn ship(
    parts: &UploaderParts,
    block: &Arc<LocalBlock>,
    shipment: &mut Shipment,
    room: &Arc<Semaphore>,
    now: Duration,
) -> Result<(), BucketError> {
    let local = match &shipment.hashed {
        Some(local) => Arc::clone(local),
        None => {
            let local = hash(parts, block).await?;
            shipment.hashed = Some(Arc::clone(&local));
            local
        }
    };

    let waited = now.saturating_sub(shipment.first_seen);
    let my_turn = waited
        >= parts.turn * Live::now(&parts.hub).before_me(&block.tenant, block.meta().max_time);

    // A replica that was away may have a block that was uploaded, compacted and deleted meanwhile, which only a list that
    // is newer than the question tells.
    let is_listed = parts.listed.generation() > shipment.listings;
    let holder = parts.listed.holder_of(local.meta()).filter(|_| is_listed);
    let is_there = parts.listed.get(local.meta().ulid).is_some();
    if !is_there && holder.is_none() && !(my_turn && is_listed) {
        // Somebody else uploads it, and the list will show it.
        return Ok(());
    }

    let room = Arc::clone(room);
    let store = Arc::clone(&parts.bucket);
    let runtime = &parts.runtime;

    // On the runtime for I/O: the actor's thread only waits.
    let shipped = runtime.spawn(async move {
        match compare(store.as_ref(), &local).await? {
            CopyState::Same => Ok(Some(Published::AlreadyThere)),
            CopyState::Absent if let Some(holder) = holder => {
                check_holder(store.as_ref(), &holder.meta).await?;
                Ok(Some(Published::Compacted))
            }
            CopyState::Absent if my_turn && is_listed => {
                // It is never closed.
                let _room = room.acquire_many(permits_of(&local)).await;
                publish(store.as_ref(), &local).await.map(Some)
            }
            CopyState::Absent => Ok(None),
            CopyState::Different(what) => Err(BucketError::Differs {
                place: local.meta().ulid.to_string(),
                what,
            }),
        }
    });

    let Some(how) = shipped
        .await
        .map_err(|e| BucketError::Config(format!("upload was interrupted: {e}")))??
    else {
        return Ok(());
    };

    if let Err(err) = block.set_shipped() {
        error!(parts.log, "cannot note that a block is shipped"; "block_id" => %block.meta().ulid, "err" => %err);
    }

    let by = match how {
        Published::Uploaded => "self",
        Published::AlreadyThere => "peer",
        Published::Compacted => "compaction",
    };

    parts.metrics.uploads.with_label_values(&[by]).inc();
    info!(parts.log, "block is in the bucket and verified"; "tenant" => %block.tenant,
        "block_id" => %block.meta().ulid, "by" => by);

    Ok(())
}

async fn hash(
    parts: &UploaderParts,
    block: &Arc<LocalBlock>,
) -> Result<Arc<HashedBlock>, BucketError> {
    let mut labels = parts.external_labels.clone();
    labels.insert(parts.tenant_label.clone(), block.tenant.to_string());
    let dir = block.dir.clone();
    let hashed = parts
        .pool
        .call(move || HashedBlock::open(&dir, &labels, "trireme").map(Arc::new))
        .await;

    hashed.map_err(|e| BucketError::Config(format!("block could not be hashed: {e}")))?
}
