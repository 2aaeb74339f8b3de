//! Consensus over the mesh, and the spreading of what was decided.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use prometheus::IntGauge;
use slog::{Logger, debug, info, warn};
use trireme_base::{Clock, NodeName};
use trireme_consensus::{Consensus, ConsensusParts, Timing, Voice};
use trireme_membership::{ChangeRequest, Op, RingController, submit};
use trireme_ring::{Member, MemberState};
use trireme_storage::{Commits, Gate};
use trireme_transport::{CallBook, Hub};
use trireme_wire::rpc::Method;

use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::membership::EPOCH_OUTSIDE;

/// How often this node looks whether a peer is ahead.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A node that knows for so long that others go by a later ring, and does not have it, takes no writes until it does.
const BEHIND_FOR: Duration = Duration::from_secs(1);
/// How often this node looks whether the ring knows its zone.
const DESCRIBE_EVERY: Duration = Duration::from_secs(2);
/// Share of the peer timeout after which a leader's silence starts an election.
const HEARTBEATS_PER_ELECTION: u32 = 4;

/// Calls to peers as consensus wants them.
struct MeshVoice(Arc<CallBook>);

#[async_trait]
impl Voice for MeshVoice {
    async fn call(&self, to: &NodeName, body: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let calls = self
            .0
            .get(to)
            .ok_or_else(|| format!("{to} is not a peer"))?;
        calls
            .call(Method::Ring, body, timeout)
            .await
            .map_err(|e| e.to_string())
    }

    fn reaches(&self, member: &NodeName) -> bool {
        self.0.get(member).is_some_and(|calls| calls.is_connected())
    }
}

/// Starts consensus; its chores begin with [`keep`].
pub(crate) async fn start(
    context: &NodeContext,
    cluster: &Cluster,
) -> anyhow::Result<Arc<Consensus>> {
    let election = context.settings.cluster.peer_timeout.as_duration();
    let parts = ConsensusParts {
        me: context.name.clone(),
        dir: context.data_dir.path("ring"),
        book: Arc::clone(&context.book),
        voice: Arc::new(MeshVoice(Arc::clone(&cluster.calls))),
        timing: Timing {
            heartbeat: election / HEARTBEATS_PER_ELECTION,
            election,
        },
        log: context.part_log("ring"),
    };

    let started = context
        .io
        .spawn(Consensus::start(parts))
        .await
        .context("ring consensus")?;

    Ok(started?)
}

/// Runs the chores for as long as the node runs.
pub(crate) fn keep(
    context: &NodeContext,
    cluster: &Cluster,
    controller: &Arc<RingController>,
) -> anyhow::Result<()> {
    let chores = Arc::clone(controller.consensus());
    context.io.spawn(async move { chores.run().await });
    let gauges = Gauges {
        epoch: context.metrics.gauge(
            "trireme_ring_epoch",
            "Epoch of the ring by which this node goes.",
        )?,
        leads: context.metrics.gauge(
            "trireme_ring_leader",
            "1 on the node that decides about changes of the ring.",
        )?,
    };

    let listener = Listener {
        consensus: Arc::clone(controller.consensus()),
        hubs: [
            Arc::clone(&cluster.hub),
            Arc::clone(cluster.neighbours.hub()),
        ],
        gate: Arc::clone(&context.gate),
        commits: Arc::clone(&controller.store().parts().commits),
        clock: Arc::clone(&context.clock),
        log: context.part_log("ring"),
    };

    context.io.spawn(listener.run(gauges));
    let bringing_forward = Arc::clone(controller);
    context
        .io
        .spawn(async move { bringing_forward.run().await });

    let zone = context.settings.node.zone.clone();
    if !zone.is_empty() {
        context.io.spawn(describe(
            Arc::clone(controller),
            zone,
            context.part_log("ring"),
        ));
    }

    Ok(())
}

struct Gauges {
    epoch: IntGauge,
    leads: IntGauge,
}

/// Sees to it that the ring knows the zone of the settings.
async fn describe(controller: Arc<RingController>, zone: String, log: Logger) {
    loop {
        tokio::time::sleep(DESCRIBE_EVERY).await;

        let ring = controller.consensus().book().current();
        if ring.epoch == EPOCH_OUTSIDE
            || !ring.member(controller.me()).is_some_and(|m: &Member| {
                m.state != MemberState::Left && m.zone.as_deref() != Some(&zone)
            })
        {
            continue;
        }

        let told = ChangeRequest {
            zone: Some(zone.clone()),
            ..ChangeRequest::new(Op::Describe, controller.me().as_str())
        };

        if let Err(err) = submit(&controller, told).await {
            debug!(log, "the ring could not be told this node's zone"; "err" => err.message);
        }
    }
}

/// Hears of later rings.
struct Listener {
    consensus: Arc<Consensus>,
    /// The own group's and that of the members of other groups.
    hubs: [Arc<Hub>; 2],
    gate: Arc<Gate>,
    commits: Arc<Commits>,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Listener {
    /// Fetches the ring from peers that go by a later one, for as long as it is polled. While it knows of one that it
    /// cannot have, the node neither takes writes nor acknowledges any: by its old ring it would count members whom
    /// nobody else counts.
    async fn run(self, gauges: Gauges) {
        let mut behind_since = None;

        let mut complained = String::new();
        loop {
            gauges
                .epoch
                .set(self.consensus.book().current().epoch as i64);
            gauges.leads.set(i64::from(self.consensus.leads()));
            tokio::time::sleep(LOOK_EVERY).await;

            let problem = self.fetch().await;
            if problem != complained && !problem.is_empty() {
                warn!(self.log, "a later ring cannot be taken"; "reason" => &problem);
            }

            complained = problem;

            let now = self.clock.monotonic();
            let since = self.is_behind().then(|| behind_since.unwrap_or(now));
            behind_since = since;
            self.close_or_open(since.is_some_and(|since| now.saturating_sub(since) >= BEHIND_FOR));
        }
    }

    /// Connected peers that go by a later ring than the one this node has.
    fn ahead(&self) -> Vec<NodeName> {
        let epoch = self.consensus.book().current().epoch;
        self.hubs
            .iter()
            .flat_map(|hub| hub.group().lock().ahead_of(epoch))
            .collect()
    }

    fn is_behind(&self) -> bool {
        !self.ahead().is_empty()
    }

    /// Fetches from each peer that is ahead until one gives its ring. Answers what is wrong, if something is.
    async fn fetch(&self) -> String {
        let mut problem = String::new();
        for peer in self.ahead() {
            match self.consensus.fetch(&peer).await {
                Ok(true) => {
                    info!(self.log, "a peer told a later ring"; "peer" => %peer);
                    return String::new();
                }
                Ok(false) => {}
                Err(err) => problem = format!("{peer}: {err}"),
            }
        }

        problem
    }

    fn close_or_open(&self, is_uninformed: bool) {
        if !self.gate.set_uninformed(is_uninformed) {
            return;
        }

        self.commits.suspend(is_uninformed);
        match is_uninformed {
            true => warn!(
                self.log,
                "others go by a later ring, this node takes no writes until it has it"
            ),
            false => info!(
                self.log,
                "this node has the others' ring again and takes writes"
            ),
        }
    }
}

/// Tells peers the ring, so that they need not wait for the next heartbeat, and so that those who are on their way out
/// hear of it before they are disconnected.
pub(crate) async fn tell(consensus: &Consensus, peers: &[NodeName]) {
    futures::future::join_all(peers.iter().map(|peer| consensus.tell(peer))).await;
}
