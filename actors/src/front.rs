//! `Front`: which member takes a write that this node cannot take.
//!
//! The usual case never comes here: a node whose gate is open accepts what reaches it. While it drains, its disk is full
//! or its log has failed, the front names a healthy member, and the request is forwarded to it over the cluster's TCP.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use slog::{Logger, info};
use trireme_base::NodeName;
use trireme_mailbox::{Call, Port};
use trireme_write::PickForwardTarget;

use crate::canary::Canary;
use crate::delivery::{Delivery, behind, crasher, crashes};
use crate::supervisor::{Start, Started};

/// A replicator's view of its peer; `None` when the connection is down.
pub struct PeerHealth {
    /// The peer.
    pub peer: NodeName,
    /// What the peer says of itself.
    pub health: Option<MemberHealth>,
}

impl Call for PeerHealth {
    type Reply = ();
}

/// What a member reports with its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberHealth {
    /// It takes writes.
    pub ready: bool,
    /// Writes that wait for their acknowledgement there.
    pub writes_waiting: u64,
    /// Its last fsync.
    pub fsync: Duration,
}

/// The members that are connected as this node sees them, for the admin API.
pub struct GetHealth;

impl Call for GetHealth {
    type Reply = BTreeMap<NodeName, Option<MemberHealth>>;
}

/// The ports of the front.
#[derive(Clone)]
pub struct FrontPorts {
    /// Reports of replicators.
    pub health: Port<PeerHealth>,
    /// Questions of the write path.
    pub forward_target: Port<PickForwardTarget>,
    /// Questions of the admin API.
    pub view: Port<GetHealth>,
}

/// Health of the other members.
pub struct Front {
    members: BTreeMap<NodeName, Option<MemberHealth>>,
    log: Logger,
    _canary: Canary,
}

impl Front {
    /// How the supervisor starts it. A new front knows nobody until the next heartbeats, at most half a second.
    pub fn starter(log: Logger, ports: FrontPorts) -> Start {
        Box::new(move |canary| {
            let members = BTreeMap::new();
            let addr = Self {
                members,
                log: log.clone(),
                _canary: canary,
            }
            .start();

            ports.health.target(behind(addr.clone()));
            ports.forward_target.target(behind(addr.clone()));
            ports.view.target(behind(addr.clone()));

            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }
}

/// The ready member with the shortest queue; ties go to the faster disk, then to the name.
fn forward_target(members: &BTreeMap<NodeName, Option<MemberHealth>>) -> Option<NodeName> {
    members
        .iter()
        .filter_map(|(node, health)| {
            health
                .filter(|h| h.ready)
                .map(|h| (h.writes_waiting, h.fsync, node))
        })
        .min()
        .map(|(_, _, node)| node.clone())
}

impl Actor for Front {
    type Context = Context<Self>;
}

crashes!(Front);

impl Handler<Delivery<PeerHealth>> for Front {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<PeerHealth>, _: &mut Context<Self>) {
        let (PeerHealth { peer, health }, work) = envelope.open();

        let ready = |h: &Option<MemberHealth>| h.is_some_and(|h| h.ready);
        if self.members.get(&peer).is_some_and(ready) != ready(&health) {
            info!(self.log, "member changed"; "peer" => %peer, "ready" => ready(&health));
        }

        match health {
            Some(_) => drop(self.members.insert(peer, health)),
            // Down, or not in the ring any more; a member that comes back reports again.
            None => drop(self.members.remove(&peer)),
        }

        work.done(());
    }
}

impl Handler<Delivery<PickForwardTarget>> for Front {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<PickForwardTarget>, _: &mut Context<Self>) {
        let (PickForwardTarget, work) = envelope.open();
        work.done(forward_target(&self.members));
    }
}

impl Handler<Delivery<GetHealth>> for Front {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<GetHealth>, _: &mut Context<Self>) {
        let (GetHealth, work) = envelope.open();
        work.done(self.members.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_ready_member_with_the_shortest_queue() {
        let health = |ready, writes_waiting| {
            Some(MemberHealth {
                ready,
                writes_waiting,
                fsync: Duration::ZERO,
            })
        };

        let mut members = BTreeMap::from([
            (NodeName::new("n1"), health(true, 9)),
            (NodeName::new("n2"), health(true, 2)),
        ]);

        assert_eq!(forward_target(&members), Some(NodeName::new("n2")));
        members.insert(NodeName::new("n2"), health(false, 0));
        assert_eq!(forward_target(&members), Some(NodeName::new("n1")));
        members.insert(NodeName::new("n1"), None);
        assert_eq!(forward_target(&members), None);
    }
}
