//! The leader's care for the ring: no change without evidence, and replacements brought to their end.
//!
//! Evidence about a group is a member's of that group: it alone hears how far the others are. A leader of another group asks
//! one for its word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use slog::{Logger, info, warn};
use trireme_base::{Clock, NodeName, StreamId};
use trireme_consensus::{Asked, Consensus, ConsensusError};
use trireme_replication::PositionVector;
use trireme_ring::{
    Change, Evidence, Group, Holdings, Member, MemberEvidence, MemberState, Proposal, Refusal,
    Ring, goes_on, guard, next_step,
};
use trireme_storage::Store;
use trireme_transport::ReplicaStore;
use trireme_write::Neighbours;

use crate::change_request::{ChangeRequest, Outcome};
use crate::holdings::LocalHoldings;
use crate::messages::{EvidenceMessage, Message, Question};

/// How often the leader looks at replacements.
const STEP_INTERVAL: Duration = Duration::from_millis(500);
/// How often an operator's change is looked at while it waits for replicas.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long an operator's change waits for replicas to become level.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(10);

/// A barrier counts for so long: longer than an operator's change waits, so that it does not move away from who runs after it.
const BARRIER_FOR: Duration = Duration::from_secs(15);

/// How long a member of another group may take to tell what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How far every stream was when everybody who is connected went by this epoch.
///
/// What is acknowledged later is acknowledged under this epoch's quorum; what came before is in here. Who has all of
/// it is level. A barrier is renewed now and then, so that "level" says how things are.
struct EpochBarrier {
    epoch: u64,
    taken_at: Duration,
    streams: PositionVector,
}

/// What a controller works with; all of it outlives the controller.
pub struct RingControllerParts {
    /// This node.
    pub me: NodeName,
    /// Decides about the ring.
    pub consensus: Arc<Consensus>,
    /// What this node has.
    pub store: Arc<Store>,
    /// The members of other groups.
    pub neighbours: Arc<Neighbours>,
    /// What this node has that the bucket has not.
    pub holdings: LocalHoldings,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Logger.
    pub log: Logger,
}

/// Looks after the ring while this node leads, and says what it knows of its group to a leader elsewhere.
pub struct RingController {
    me: NodeName,
    consensus: Arc<Consensus>,
    store: Arc<Store>,
    neighbours: Arc<Neighbours>,
    holdings: LocalHoldings,
    barrier: Mutex<Option<EpochBarrier>>,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl RingController {
    /// A controller that takes care of nothing until [`RingController::run`] is polled.
    pub fn new(parts: RingControllerParts) -> Self {
        let RingControllerParts {
            me,
            consensus,
            store,
            neighbours,
            holdings,
            clock,
            log,
        } = parts;
        Self {
            me,
            consensus,
            store,
            neighbours,
            holdings,
            barrier: Mutex::default(),
            clock,
            log,
        }
    }

    /// This node.
    pub fn me(&self) -> &NodeName {
        &self.me
    }

    /// What decides about the ring.
    pub fn consensus(&self) -> &Arc<Consensus> {
        &self.consensus
    }

    /// What this node has.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Brings replacements and new groups forward, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(STEP_INTERVAL).await;
            if !self.consensus.leads() {
                continue;
            }

            let ring = self.consensus.book().current();
            for group in ring.groups.iter().filter(|group| goes_on(group)) {
                let Ok(evidence) = self.evidence_of(&ring, group).await else {
                    continue;
                };
                let Some(proposal) = next_step(&ring, group, &evidence) else {
                    continue;
                };

                let step = proposal.change.word();

                let subject = proposal.change.subject().to_owned();
                match self.consensus.propose(proposal).await {
                    Ok(epoch) => {
                        info!(self.log, "ring change goes on"; "step" => step, "peer" => subject,
                        "group" => &group.name, "epoch" => epoch)
                    }
                    Err(err) => {
                        warn!(self.log, "ring change has to wait"; "step" => step, "peer" => subject,
                        "group" => &group.name, "err" => %err)
                    }
                }

                // The epoch has moved on; the next look is at another ring.
                break;
            }
        }
    }

    /// What is known of a group: by this node's own view, or by the word of a member.
    async fn evidence_of(&self, ring: &Ring, group: &Group) -> Result<Evidence, Refusal> {
        if ring
            .group_of(&self.me)
            .is_some_and(|own| own.name == group.name)
        {
            return self.evidence(ring);
        }

        // Members that count know most; of those that do not, one is as good as another.
        let mut members = self.neighbours.witnesses(&group.name);
        let state = |node: &NodeName| group.member(node).map_or(MemberState::Left, |m| m.state);

        members.sort_by_key(|node| state(node) != MemberState::Active);
        for member in members {
            let asked = serde_json::to_value(Message::Question(Question::Evidence(ring.epoch)))
                .unwrap_or(Value::Null);
            let Ok(answer) = self.consensus.ask(&member, asked, ANSWER_TIMEOUT).await else {
                continue;
            };
            if let Ok(Some(word)) = serde_json::from_value::<Option<EvidenceMessage>>(answer) {
                return Ok(word.into());
            }
        }

        Err(Refusal::NoWord {
            group: group.name.clone(),
        })
    }

    /// What the members of a group still have; those who do not answer are left out.
    async fn holdings_of(&self, ring: &Ring, group: &Group) -> BTreeMap<NodeName, Holdings> {
        let asked = group.present().map(|member| async move {
            if member.node == self.me {
                return Some((member.node.clone(), self.holdings.holdings(ring.epoch)));
            }
            let asked =
                serde_json::to_value(Message::Question(Question::Holdings(ring.epoch))).ok()?;
            let answer = self
                .consensus
                .ask(&member.node, asked, ANSWER_TIMEOUT)
                .await
                .ok()?;
            Some((member.node.clone(), serde_json::from_value(answer).ok()?))
        });
        futures::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// What is known of the own group now; refused while somebody who is connected does not know the ring yet.
    fn evidence(&self, ring: &Ring) -> Result<Evidence, Refusal> {
        let known = self.members(&PositionVector::new());
        let uninformed = known
            .iter()
            .find(|(_, m)| m.connected && m.epoch != ring.epoch);

        if let Some((node, member)) = uninformed {
            return Err(Refusal::NotInformed {
                node: node.clone(),
                epoch: member.epoch,
            });
        }

        let now = self.clock.monotonic();
        let mut streams = {
            let mut barrier = self.barrier.lock();
            if !barrier.as_ref().is_some_and(|f: &EpochBarrier| {
                f.epoch == ring.epoch && now.saturating_sub(f.taken_at) < BARRIER_FOR
            }) {
                *barrier = Some(EpochBarrier {
                    epoch: ring.epoch,
                    taken_at: now,
                    streams: self.longest(),
                });
            }

            barrier
                .as_ref()
                .map(|f| f.streams.clone())
                .unwrap_or_default()
        };

        // Streams that nobody writes any more stand still: they must be whole before they are sealed.
        let longest = self.longest();
        let writes = |stream: StreamId| {
            let of = |m: &Member| known.get(&m.node).and_then(|k| k.incarnation);
            let writers = ring.group_of(&self.me).into_iter().flat_map(Group::present);
            writers
                .filter(|m| m.state != MemberState::Draining)
                .any(|m| of(m) == Some(stream.incarnation))
        };

        streams.merge(
            &longest
                .iter()
                .filter(|(stream, _)| !writes(*stream))
                .collect(),
        );

        let members = self.members(&streams);
        let fenced_at = Some(ring.epoch);
        let streams = longest.iter().collect();

        Ok(Evidence {
            fenced_at,
            streams,
            members,
            ..Evidence::default()
        })
    }

    /// What is known of the own group for a change that is forced: streams to seal, and nothing that was measured.
    fn unmeasured(&self) -> Evidence {
        let members = self.members(&PositionVector::new());
        Evidence {
            streams: self.longest().iter().collect(),
            members,
            ..Evidence::default()
        }
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

    fn members(&self, streams: &PositionVector) -> BTreeMap<NodeName, MemberEvidence> {
        let behind = |positions: &PositionVector| -> u64 {
            positions
                .behind(streams)
                .map(|(_, have, others)| others - have)
                .sum()
        };

        // Whoever is being rebuilt lacks blocks as well, of which positions say nothing.
        let lacks = |positions: &PositionVector, rebuilding: bool| {
            behind(positions).max(u64::from(rebuilding))
        };
        let parts = self.store.parts();
        let mine = MemberEvidence {
            connected: true,
            // Not that of the book: by that one this node may not acknowledge yet.
            epoch: parts.hub.epoch(),
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

        group
            .peers()
            .map(of)
            .chain([(self.me.clone(), mine)])
            .collect()
    }

    /// Decides about an operator's change: waits for replicas as long as that may help, then proposes or refuses.
    async fn decide(&self, ask: &ChangeRequest) -> Outcome {
        let rounds = REPLICAS_TIMEOUT.as_millis() / RETRY_INTERVAL.as_millis();

        let mut refusal = None;
        for round in 0..=rounds {
            if round > 0 {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }

            let ring = self.consensus.book().current();
            let proposal = match self.checked(ask, &ring).await {
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
                    info!(self.log, "ring change decided"; "change" => change, "peer" => ask.subject(), "epoch" => epoch,
                        "forced_because" => ask.force.as_deref().unwrap_or("-"));
                    return Outcome::done(ask, epoch, &self.consensus.book().current());
                }
                Err(ConsensusError::Refused { stale: true, .. }) => {}
                Err(error) => return Outcome::refused(error.kind(), error.to_string()),
            }
        }

        let error = refusal.map_or_else(
            || "the ring keeps changing, ask again".to_owned(),
            |r| r.to_string(),
        );

        warn!(self.log, "ring change refused"; "peer" => ask.subject(), "op" => ask.op.as_str(), "reason" => &error);
        Outcome::refused(trireme_base::ErrorKind::Invalid, error)
    }

    /// The proposal for an operator's change, if it is safe now.
    async fn checked(&self, ask: &ChangeRequest, ring: &Ring) -> Result<Proposal, Refusal> {
        let mut change = ask.change();
        let as_asked = Proposal {
            epoch: ring.epoch,
            change: change.clone(),
            force: ask.force.clone(),
        };

        // What the ring alone refuses needs no evidence.
        ring.apply(&as_asked)?;
        let mut evidence = self
            .evidence_for(&change, ask.force.is_some(), ring)
            .await?;

        if let (Change::Dissolve { .. }, Some(group)) = (&change, change.group(ring)) {
            if group
                .present()
                .any(|m: &Member| self.consensus.voters().contains(&m.node.to_string()))
            {
                return Err(Refusal::StillVoting(group.name.clone()));
            }
            evidence.holdings = self.holdings_of(ring, group).await;
        }

        if let Change::Leave { node, seals } = &mut change {
            *seals = evidence.seals(ring, node);
        }

        let proposal = Proposal {
            epoch: ring.epoch,
            change,
            force: ask.force.clone(),
        };

        guard(ring, &proposal, &evidence)?;
        Ok(proposal)
    }

    /// The evidence about the member that a change concerns.
    async fn evidence_for(
        &self,
        change: &Change,
        forced: bool,
        ring: &Ring,
    ) -> Result<Evidence, Refusal> {
        let group = match change {
            Change::Activate { node } | Change::Drain { node } | Change::Leave { node, .. } => {
                ring.group_of(node)
            }
            _ => None,
        };

        let Some(group) = group else {
            return Ok(Evidence::default());
        };

        match self.evidence_of(ring, group).await {
            Ok(evidence) => Ok(evidence),
            Err(_) if forced && group.member(&self.me).is_some() => Ok(self.unmeasured()),
            Err(_) if forced => Ok(Evidence::default()),
            Err(refusal) => Err(refusal),
        }
    }

    /// What a leader in another group wants to know.
    fn reply(&self, question: Question) -> Value {
        let ring = self.consensus.book().current();
        let value = match question {
            Question::Evidence(epoch) if epoch == ring.epoch => {
                serde_json::to_value(self.evidence(&ring).ok().map(EvidenceMessage::from))
            }
            Question::Evidence(_) => Ok(Value::Null),
            Question::Holdings(_) => serde_json::to_value(self.holdings.holdings(ring.epoch)),
        };

        value.unwrap_or(Value::Null)
    }
}

#[async_trait]
impl Asked for RingController {
    async fn answer(&self, ask: Value) -> Value {
        let outcome = match serde_json::from_value::<Message>(ask) {
            Ok(Message::Question(question)) => return self.reply(question),
            Ok(Message::Change(_)) if !self.consensus.leads() => {
                let error = self.consensus.no_leader();
                Outcome::refused(error.kind(), error.to_string())
            }
            Ok(Message::Change(request)) => self.decide(&request).await,
            Err(error) => Outcome::refused(
                trireme_base::ErrorKind::Invalid,
                format!("what is asked of the ring is not understood: {error}"),
            ),
        };

        serde_json::to_value(outcome).unwrap_or(Value::Null)
    }
}
