//! What the admin API shows of this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use trireme_actors::{
    BlockWriterPorts, Checkpoint, FrontPorts, GetHealth, GetRing, GetWindows, SupervisorHandle,
};
use trireme_api::{Admin, AdminError};
use trireme_base::{Clock, ErrorKind, NodeName};
use trireme_mailbox::{Port, PortError};
use trireme_membership::{ChangeRequest, Op, RequestError, RingController, submit};
use trireme_model::Tenant;
use trireme_replication::{ClockWord, RebuildReason, may_cancel};
use trireme_ring::Placement;
use trireme_storage::Store;
use trireme_transport::{Mesh, ReplicaStore};
use trireme_write::Neighbours;

use crate::node::ASKED_BY_OPERATOR;

/// The node as an operator sees it.
pub(crate) struct NodeAdmin {
    pub(crate) me: NodeName,
    pub(crate) membership: Port<GetRing>,
    pub(crate) controller: Arc<RingController>,
    pub(crate) front: FrontPorts,
    pub(crate) block_writer: BlockWriterPorts,
    pub(crate) store: Arc<Store>,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) supervisor: SupervisorHandle,
    pub(crate) fault_injection: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Runtime of sockets.
    pub(crate) io: Handle,
    /// Asks the node to stop in order.
    pub(crate) drain: tokio::sync::mpsc::Sender<String>,
}

const DEADLINE: Duration = Duration::from_secs(5);
/// A checkpoint of a large head takes a while.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(300);

fn port_error(error: PortError) -> AdminError {
    AdminError {
        kind: error.kind(),
        message: error.to_string(),
    }
}

#[derive(Serialize)]
struct MemberRow {
    node: String,
    address: String,
    zone: Option<String>,
    state: Value,
    this: bool,
    connected: bool,
    ready: Option<bool>,
    incarnation: Option<String>,
    boot: Option<u32>,
    problem: Option<String>,
    clock_offset_ms: Option<i64>,
    /// Records that this node knows of and the member has not made durable.
    lag_records: Option<u64>,
    /// Epoch of the ring by which it goes.
    epoch: Option<u64>,
    /// The member that leaves once this one is active.
    replaces: Option<String>,
    /// How far a member is that does not have everything yet and answers no queries.
    rebuild: Option<String>,
}

#[derive(Serialize)]
struct StreamRow {
    stream: String,
    origin: Option<String>,
    own: u64,
    applied: u64,
    peers: BTreeMap<String, u64>,
    committed: Option<u64>,
    records_behind: u64,
}

/// What a peer says about its rebuild.
fn rebuild_of(view: &trireme_replication::PeerView) -> Option<String> {
    let health = view
        .connected
        .then_some(view.health)
        .filter(|health| health.rebuilding)?;
    Some(format!("{}%", health.rebuilt_permille / 10))
}

fn admin_error(error: RequestError) -> AdminError {
    AdminError {
        kind: error.kind,
        message: error.message,
    }
}

impl NodeAdmin {
    /// On the runtime of sockets, where consensus lives; the request may go away meanwhile without undoing anything.
    async fn change_ring(
        &self,
        asked: Result<ChangeRequest, RequestError>,
    ) -> Result<Value, AdminError> {
        let asked = asked.map_err(admin_error)?;
        let controller = Arc::clone(&self.controller);
        let changing = self
            .io
            .spawn(async move { submit(&controller, asked).await });

        match changing.await {
            Ok(answer) => answer.map_err(admin_error),
            Err(error) => Err(AdminError {
                kind: ErrorKind::Internal,
                message: format!("the change was interrupted: {error}"),
            }),
        }
    }

    fn own_rebuild(&self) -> Option<String> {
        let completeness = &self.store.parts().completeness;
        if completeness.is_complete() {
            return None;
        }

        let progress = completeness.progress();
        let Some(source) = progress.source else {
            let problem = completeness.rebuild().problem;
            let why = if problem.is_empty() {
                String::new()
            } else {
                format!(": {problem}")
            };
            return Some(format!("waits for a source{why}"));
        };

        let percent = completeness.permille() / 10;
        let bytes = progress.bytes;
        Some(format!(
            "{percent}% from {source}, {bytes} of {} bytes",
            progress.bytes_total
        ))
    }

    /// Who of the group has a wrong clock, for people.
    fn clock_warnings(&self) -> Vec<String> {
        let wall_ms = self.clock.now_ms();
        let now = self.clock.monotonic();
        let group = self.store.parts().hub.group().lock();
        let wrong = group.wrong_clocks(wall_ms, now);
        let is_clear = group.clock_word(wall_ms, now) != ClockWord::Unknown;
        let warning = |(node, ahead_ms): (NodeName, i64)| {
            let seconds = ahead_ms.unsigned_abs() / 1_000;
            let way = if ahead_ms < 0 { "behind" } else { "ahead of" };
            match is_clear {
                true => format!(
                    "the clock of {node} is {seconds} s {way} that of the majority; it takes no writes until it is set"
                ),
                false => format!(
                    "the clock of {node} is {seconds} s {way} that of {}; no majority says which one is right",
                    self.me
                ),
            }
        };

        wrong.into_iter().map(warning).collect()
    }

    fn member_row(&self, member: &trireme_ring::Member) -> MemberRow {
        let group = self.store.parts().hub.group().lock();
        let others = self.neighbours.hub().group().lock();
        let this = member.node == self.me;
        let replica = group
            .peers()
            .find(|(node, _)| **node == member.node)
            .map(|(_, view)| view);
        let view = replica.or_else(|| {
            others
                .peers()
                .find(|(node, _)| **node == member.node)
                .map(|(_, view)| view)
        });

        let identity = if this {
            Some(group.me().clone())
        } else {
            view.and_then(|v| v.identity.clone())
        };

        let lag = |theirs: &trireme_replication::PositionVector| {
            theirs
                .behind(group.mine())
                .map(|(_, have, other)| other - have)
                .sum()
        };

        MemberRow {
            node: member.node.to_string(),
            address: member.address.clone(),
            zone: member.zone.clone(),
            state: serde_json::to_value(member.state).unwrap_or(Value::Null),
            this,
            connected: this || view.is_some_and(|v| v.connected),
            ready: if this {
                Some(self.store.parts().gate.is_open())
            } else {
                view.filter(|v| v.connected).map(|v| v.health.ready)
            },
            incarnation: identity.as_ref().map(|i| i.incarnation.to_string()),
            boot: identity.as_ref().map(|i| i.boot.0),
            problem: self.mesh.slot(&member.node).and_then(|slot| slot.problem()),
            clock_offset_ms: view.map(|v| v.clock_offset_ms),
            // Of another group's records this node knows nothing.
            lag_records: replica.map(|v| lag(&v.positions)),
            epoch: if this {
                Some(group.epoch())
            } else {
                view.filter(|v| v.connected).map(|v| v.epoch)
            },
            replaces: member.replaces.as_ref().map(NodeName::to_string),
            rebuild: if this {
                self.own_rebuild()
            } else {
                view.and_then(rebuild_of)
            },
        }
    }
}

#[async_trait]
impl Admin for NodeAdmin {
    async fn ring(&self) -> Result<Value, AdminError> {
        let ring = self
            .membership
            .call(GetRing, DEADLINE)
            .await
            .map_err(port_error)?;

        let health = self
            .front
            .view
            .call(GetHealth, DEADLINE)
            .await
            .map_err(port_error)?;

        let placement = Placement::of(&ring);
        let shares: BTreeMap<&String, f64> =
            placement.groups().iter().zip(placement.shares()).collect();
        let groups: Vec<Value> = ring
            .groups
            .iter()
            .map(|group| {
                let members: Vec<MemberRow> = group.members.iter().map(|m| self.member_row(m)).collect();
                // Of all series, rounded to a thousandth.
                let share = shares.get(&group.name).map_or(0.0, |share| (share * 1_000.0).round() / 1_000.0);
                json!({ "name": group.name, "phase": group.phase.word(), "weight": group.weight, "share": share,
                    "members": members })
            })
            .collect();

        let mut warnings: Vec<String> = ring.warnings();
        warnings.extend(self.clock_warnings());
        let healthy = health
            .values()
            .filter(|h| h.is_some_and(|h| h.ready))
            .count();

        Ok(json!({
            "epoch": ring.epoch,
            "replication_factor": ring.replication_factor,
            "node": self.me.as_str(),
            "healthy_peers": healthy,
            "leader": self.controller.consensus().leader().map(|node| node.to_string()),
            "voters": self.controller.consensus().voters(),
            "warnings": warnings,
            "groups": groups,
        }))
    }

    async fn replication(&self) -> Result<Value, AdminError> {
        let parts = self.store.parts();
        let durable = self.store.durable();
        let group = parts.hub.group().lock();

        let mut known = durable.clone();
        for (_, view) in group.peers() {
            known.merge(&view.positions);
        }

        let origin = |stream: trireme_base::StreamId| {
            let all = group
                .peers()
                .filter_map(|(_, v)| v.identity.as_ref())
                .chain([group.me()]);
            all.into_iter()
                .find(|i| i.incarnation == stream.incarnation)
                .map(|i| i.node.to_string())
        };

        let rows: Vec<StreamRow> = known
            .iter()
            .map(|(stream, longest)| StreamRow {
                stream: stream.to_string(),
                origin: origin(stream),
                own: durable.get(stream),
                applied: self.store.applied_position(stream),
                // It has ended for a peer that has no position of it.
                peers: group
                    .peers()
                    .map(|(node, v)| (node.to_string(), v.positions.get(stream).min(longest)))
                    .collect(),
                committed: (stream == parts.own).then(|| parts.commits.committed()),
                records_behind: longest - durable.get(stream),
            })
            .collect();

        let peers: Vec<Value> = group
            .peers()
            .map(|(node, view)| json!({ "node": node.as_str(), "connected": view.connected, "clock_offset_ms": view.clock_offset_ms }))
            .collect();

        Ok(json!({
            "node": self.me.as_str(),
            "stream": parts.own.to_string(),
            "writes_waiting": parts.commits.waiting(),
            "time_ms": self.clock.now_ms(),
            "peers": peers,
            "streams": rows,
        }))
    }

    async fn rebuild(&self) -> Result<Value, AdminError> {
        let completeness = &self.store.parts().completeness;
        let state = completeness.rebuild();
        let progress = completeness.progress();
        let is_complete = completeness.is_complete();

        Ok(json!({
            "node": self.me.as_str(),
            "state": if is_complete { "complete" } else { "rebuilding" },
            "reason": state.reason.map(RebuildReason::text),
            "source": progress.source.map(|source| source.to_string()),
            "copied_bytes": progress.bytes,
            "of_bytes": progress.bytes_total,
            "problem": Some(state.problem).filter(|problem| !problem.is_empty()),
            "can_be_cancelled": may_cancel(state.reason).is_ok(),
        }))
    }

    async fn cancel_rebuild(&self) -> Result<Value, AdminError> {
        let asked = self.store.parts().completeness.ask_cancel();
        asked.map_err(|error| AdminError {
            kind: error.kind(),
            message: error.to_string(),
        })?;
        Ok(json!({ "node": self.me.as_str(), "state": "cancelling" }))
    }

    async fn windows(&self, tenant: Option<Tenant>) -> Result<Value, AdminError> {
        let rows = self
            .block_writer
            .windows
            .call(GetWindows { tenant }, DEADLINE)
            .await
            .map_err(port_error)?;
        rows.map_err(|message| AdminError {
            kind: ErrorKind::Unavailable,
            message,
        })
    }

    async fn drain(&self) -> Result<Value, AdminError> {
        // A second request finds the node draining already.
        let _ = self.drain.try_send(ASKED_BY_OPERATOR.to_owned());
        Ok(json!({ "node": self.me.as_str(), "state": "draining" }))
    }

    async fn checkpoint(&self) -> Result<Value, AdminError> {
        let done = self
            .block_writer
            .checkpoint
            .call(Checkpoint, CHECKPOINT_DEADLINE)
            .await
            .map_err(port_error)?;
        done.map_err(|message| AdminError {
            kind: ErrorKind::Internal,
            message,
        })
    }

    async fn add_member(&self, body: Value) -> Result<Value, AdminError> {
        self.change_ring(ChangeRequest::join(body, None)).await
    }

    async fn remove_member(&self, node: &str, body: Value) -> Result<Value, AdminError> {
        self.change_ring(ChangeRequest::about(Op::Remove, node, body))
            .await
    }

    async fn change_member(
        &self,
        node: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError> {
        let asked = match action {
            "activate" => ChangeRequest::about(Op::Activate, node, body),
            "drain" => ChangeRequest::about(Op::Drain, node, body),
            "move" => ChangeRequest::moved(node, body),
            "replace" => ChangeRequest::join(body, Some(node)),
            other => {
                let message = format!(
                    "no action {other:?} on a member; there are activate, drain, move and replace"
                );
                return Err(AdminError {
                    kind: ErrorKind::NotFound,
                    message,
                });
            }
        };
        self.change_ring(asked).await
    }

    async fn change_group(
        &self,
        group: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError> {
        let op = match action {
            "activate" => Op::ActivateGroup,
            "drain" => Op::DrainGroup,
            "remove" => Op::RemoveGroup,
            "weigh" => Op::Weigh,
            other => {
                let message = format!(
                    "no action {other:?} on a group; there are activate, drain, remove and weigh"
                );
                return Err(AdminError {
                    kind: ErrorKind::NotFound,
                    message,
                });
            }
        };
        self.change_ring(ChangeRequest::about_group(op, group, body))
            .await
    }

    async fn crash(&self, actor: &str) -> Result<Value, AdminError> {
        if !self.fault_injection {
            let message = "set telemetry.fault_injection=true to allow this; it is meant for tests and game days";
            return Err(AdminError {
                kind: ErrorKind::Invalid,
                message: message.to_owned(),
            });
        }

        if self.supervisor.crash(actor) {
            return Ok(json!({ "crashed": actor }));
        }

        let message = format!(
            "no actor {actor:?}; there are {}",
            self.supervisor.names().join(", ")
        );

        Err(AdminError {
            kind: ErrorKind::NotFound,
            message,
        })
    }
}
