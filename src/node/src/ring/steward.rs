//! The leader's care for the ring: no change without evidence, and replacements brought to their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use slog::{Logger, info, warn};
use trireme_actors::Store;
use trireme_base::{NodeName, StreamId};
use trireme_consensus::{Asked, Consensus, ConsensusError};
use trireme_replication::PositionVector;
use trireme_ring::{
    Change, Evidence, Group, Member, MemberEvidence, MemberState, Proposal, Refusal, Ring, guard, next_step,
};
use trireme_transport::ReplicaStore;

use super::ask::{Ask, Outcome};

/// How often the leader looks at replacements.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often an operator's change is looked at while it waits for replicas.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How long an operator's change waits for replicas to become level.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far every stream was when everybody who is connected went by this epoch.
///
/// What is acknowledged later is acknowledged under this epoch's quorum; what came before is in here. Who has all of
/// it is level.
struct Fence {
    epoch: u64,
    streams: PositionVector,
}

/// Looks after the ring while this node leads.
pub(crate) struct Steward {
    pub(crate) me: NodeName,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) store: Arc<Store>,
    fence: Mutex<Option<Fence>>,
    log: Logger,
}

impl Steward {
    pub(crate) fn new(me: NodeName, consensus: Arc<Consensus>, store: Arc<Store>, log: Logger) -> Self {
        Self { me, consensus, store, fence: Mutex::default(), log }
    }

    /// Brings replacements forward, for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.consensus.leads() {
                continue;
            }
            let ring = self.consensus.book().current();
            let waits = ring.groups.iter().flat_map(Group::present).any(|m| m.replaces.is_some());
            if !waits {
                continue;
            }
            let Some(evidence) = self.evidence(&ring) else { continue };
            let Some(proposal) = next_step(&ring, &evidence) else { continue };
            let (step, node) = (proposal.change.word(), proposal.change.node().clone());
            match self.consensus.propose(proposal).await {
                Ok(epoch) => {
                    info!(self.log, "replacement goes on"; "step" => step, "peer" => %node, "epoch" => epoch)
                }
                Err(err) => {
                    warn!(self.log, "replacement has to wait"; "step" => step, "peer" => %node, "err" => %err)
                }
            }
        }
    }

    /// What is known now; `None` while somebody who is connected does not know the ring yet.
    fn evidence(&self, ring: &Ring) -> Option<Evidence> {
        let known = self.members(ring, &PositionVector::new());
        let informed = |m: &MemberEvidence| !m.connected || m.epoch == ring.epoch;
        let mut fence = self.fence.lock();
        if fence.as_ref().is_none_or(|f| f.epoch != ring.epoch) {
            if !known.values().all(informed) {
                return None;
            }
            *fence = Some(Fence { epoch: ring.epoch, streams: self.longest() });
        }
        let mut streams = fence.as_ref().map(|f| f.streams.clone()).unwrap_or_default();
        // Streams that nobody writes any more stand still: they must be whole before they are sealed.
        let longest = self.longest();
        let writes = |stream: StreamId| {
            let of = |m: &Member| known.get(&m.node).and_then(|k| k.incarnation);
            let writers = ring.groups.iter().flat_map(Group::present);
            writers.filter(|m| m.state != MemberState::Draining).any(|m| of(m) == Some(stream.incarnation))
        };
        streams.merge(&longest.iter().filter(|(stream, _)| !writes(*stream)).collect());
        let members = self.members(ring, &streams);
        Some(Evidence { streams: longest.iter().collect(), members })
    }

    /// The longest prefix of each stream that anybody connected holds.
    fn longest(&self) -> PositionVector {
        let mut longest = self.store.durable();
        let group = self.store.parts().hub.group().lock();
        for (_, view) in group.peers().filter(|(_, view)| view.connected) {
            longest.merge(&view.positions);
        }
        longest
    }

    fn members(&self, ring: &Ring, streams: &PositionVector) -> BTreeMap<NodeName, MemberEvidence> {
        let behind = |positions: &PositionVector| -> u64 {
            positions.behind(streams).map(|(_, have, others)| others - have).sum()
        };
        // Whoever is being rebuilt lacks blocks as well, of which positions say nothing.
        let lacks =
            |positions: &PositionVector, rebuilding: bool| behind(positions).max(u64::from(rebuilding));
        let parts = self.store.parts();
        let mine = MemberEvidence {
            connected: true,
            epoch: ring.epoch,
            behind_records: lacks(&self.store.durable(), !parts.completeness.is_complete()),
            writing: parts.commits.waiting() > 0,
            incarnation: Some(parts.own.incarnation),
        };
        let group = parts.hub.group().lock();
        let of = |(node, view): (&NodeName, &trireme_replication::PeerView)| {
            let evidence = MemberEvidence {
                connected: view.connected,
                epoch: view.epoch,
                behind_records: lacks(&view.positions, view.health.rebuilding),
                writing: view.health.writes_waiting > 0,
                incarnation: view.identity.as_ref().map(|id| id.incarnation),
            };
            (node.clone(), evidence)
        };
        group.peers().map(of).chain([(self.me.clone(), mine)]).collect()
    }

    /// Decides about an operator's change: waits for replicas as long as that may help, then proposes or refuses.
    async fn decide(&self, ask: &Ask) -> Outcome {
        let rounds = PATIENCE.as_millis() / TRY_EVERY.as_millis();
        let mut refusal = None;
        for round in 0..=rounds {
            if round > 0 {
                tokio::time::sleep(TRY_EVERY).await;
            }
            let ring = self.consensus.book().current();
            let proposal = match self.checked(ask, &ring) {
                Ok(proposal) => proposal,
                Err(error) if error.may_pass() => {
                    refusal = Some(error);
                    continue;
                }
                Err(error) => return Outcome::refused(error.kind(), error.to_string()),
            };
            let change = proposal.change.word();
            match self.consensus.propose(proposal).await {
                Ok(epoch) => {
                    info!(self.log, "ring change decided"; "change" => change, "peer" => &ask.node, "epoch" => epoch,
                        "forced_because" => ask.force.as_deref().unwrap_or("-"));
                    return Outcome::done(ask, epoch, &self.consensus.book().current());
                }
                Err(ConsensusError::Refused { stale: true, .. }) => {}
                Err(error) => return Outcome::refused(error.kind(), error.to_string()),
            }
        }
        let error =
            refusal.map_or_else(|| "the ring keeps changing, ask again".to_owned(), |r| r.to_string());
        warn!(self.log, "ring change refused"; "peer" => &ask.node, "op" => ask.op.word(), "reason" => &error);
        Outcome::refused(trireme_base::ErrorKind::Invalid, error)
    }

    /// The proposal for an operator's change, if it is safe now.
    fn checked(&self, ask: &Ask, ring: &Ring) -> Result<Proposal, Refusal> {
        let evidence = self.evidence(ring);
        let nothing = Evidence { members: self.members(ring, &PositionVector::new()), ..Evidence::default() };
        let evidence = evidence.as_ref().unwrap_or(&nothing);
        let mut change = ask.change();
        if let Change::Leave { node, seals } = &mut change {
            *seals = evidence.seals(ring, node);
        }
        let proposal = Proposal { epoch: ring.epoch, change, force: ask.force.clone() };
        guard(ring, &proposal, evidence)?;
        Ok(proposal)
    }
}

#[async_trait]
impl Asked for Steward {
    async fn answer(&self, ask: Value) -> Value {
        let outcome = match serde_json::from_value::<Ask>(ask) {
            Ok(_) if !self.consensus.leads() => {
                let error = self.consensus.no_leader();
                Outcome::refused(error.kind(), error.to_string())
            }
            Ok(ask) => self.decide(&ask).await,
            Err(error) => Outcome::refused(trireme_base::ErrorKind::Invalid, error.to_string()),
        };
        serde_json::to_value(outcome).unwrap_or(Value::Null)
    }
}
