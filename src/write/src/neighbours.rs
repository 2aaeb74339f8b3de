//! The members of other groups: who of them can take a part of a write, and who can answer for their group.
//!
//! This node is connected to every member of the ring. With those of other groups it exchanges calls and signs of life, no
//! records; they have a view of their own beside that of the group, so that nothing which counts copies sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::RwLock;
use trireme_base::{Incarnation, NodeName, StreamId};
use trireme_replication::{DisconnectReason, PeerIdentity, PositionVector, ReadFault};
use trireme_ring::{Group, GroupPhase, Ring};
use trireme_transport::{AppendRefused, Hub, Intake, ReplicaStore};
use trireme_wire::frame::Health;
use trireme_wire::record::Record;

/// A group other than this node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourGroup {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub phase: GroupPhase,
    /// Members that have not left.
    pub members: Vec<NodeName>,
}

/// What this node knows of the members of other groups.
#[derive(Debug)]
pub struct Neighbours {
    hub: Arc<Hub>,
    groups: RwLock<Arc<Vec<NeighbourGroup>>>,
    turn: AtomicUsize,
}

impl Neighbours {
    /// Neighbours with the view and feeds of `hub`; no group yet.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            groups: RwLock::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Their view.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The groups of a ring that are not the one of `me` and not gone.
    pub fn groups_of(ring: &Ring, me: &NodeName) -> Vec<NeighbourGroup> {
        let others = ring
            .groups
            .iter()
            .filter(|g| g.member(me).is_none() && g.phase != GroupPhase::Gone);
        others
            .map(|g: &Group| NeighbourGroup {
                name: g.name.clone(),
                phase: g.phase,
                members: g.present().map(|m| m.node.clone()).collect(),
            })
            .collect()
    }

    /// The ring has changed.
    pub fn set_ring(&self, ring: &Ring, me: &NodeName) {
        *self.groups.write() = Arc::new(Self::groups_of(ring, me));
    }

    /// The groups as of the last ring.
    pub fn groups(&self) -> Arc<Vec<NeighbourGroup>> {
        Arc::clone(&self.groups.read())
    }

    /// The members of a group that take writes, in another order each time, so that all get their share.
    pub fn takers(&self, group: &str) -> Vec<NodeName> {
        self.of_group(group, |health| health.ready)
    }

    /// The members of a group that can be asked for what it has, in another order each time.
    pub fn witnesses(&self, group: &str) -> Vec<NodeName> {
        self.of_group(group, |health| !health.rebuilding)
    }

    fn of_group(&self, group: &str, able: impl Fn(&Health) -> bool) -> Vec<NodeName> {
        let groups = self.groups();
        let Some(group) = groups.iter().find(|g| g.name == group) else {
            return Vec::new();
        };

        let mut found: Vec<NodeName> = {
            let view = self.hub.group().lock();
            let able = view
                .peers()
                .filter(|(_, peer)| peer.connected && peer.is_heard && able(&peer.health));
            able.map(|(node, _)| node)
                .filter(|node| group.members.contains(node))
                .cloned()
                .collect()
        };

        if !found.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            found.rotate_left(turn);
        }

        found
    }
}

/// What the connection with a member of another group has of this node: its health, and no records.
pub struct NeighbourStore(pub Arc<dyn ReplicaStore>);

impl ReplicaStore for NeighbourStore {
    fn written(&self) -> PositionVector {
        PositionVector::new()
    }

    fn durable(&self) -> PositionVector {
        PositionVector::new()
    }

    fn taken(&self) -> PositionVector {
        PositionVector::new()
    }

    fn intake(&self) -> Intake {
        Intake::default()
    }

    fn append(&self, _: Vec<Record>) -> Result<(), AppendRefused> {
        Err(AppendRefused::Failed(
            "a member of another group sent records".to_owned(),
        ))
    }

    fn read(
        &self,
        _: StreamId,
        _: u64,
        _: u64,
    ) -> BoxFuture<'static, Result<Vec<Record>, ReadFault>> {
        let fault = ReadFault::Failed("records stay in their group".to_owned());
        Box::pin(std::future::ready(Err(fault)))
    }

    fn peer_up(&self, _: &PeerIdentity) {}

    fn peer_durable(
        &self,
        _: &NodeName,
        _: Incarnation,
        _: &PositionVector,
        _: u64,
    ) -> Result<(), DisconnectReason> {
        Ok(())
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trireme_base::Boot;
    use trireme_replication::GroupView;
    use trireme_ring::Member;

    use super::*;

    fn identity(node: &str, incarnation: u64) -> PeerIdentity {
        PeerIdentity {
            node: NodeName::new(node),
            incarnation: Incarnation(incarnation),
            boot: Boot(1),
        }
    }

    /// A member of `a` that knows the members of `b`; `a` serves, `b` leaves, `c` is gone.
    fn neighbours() -> Neighbours {
        let group = |name: &str, phase| {
            let members =
                [0, 1, 2].map(|i| Member::active(&format!("{name}{i}"), &format!("{name}{i}:1")));
            Group {
                phase,
                ..Group::new(name, members.to_vec())
            }
        };

        let groups = vec![
            group("a", GroupPhase::Serving),
            group("b", GroupPhase::Leaving),
            group("c", GroupPhase::Gone),
        ];

        let ring = Ring::new(3, 3, groups).expect("valid");
        let me = identity("a0", 1);
        let names = ["b0", "b1", "b2"].map(NodeName::new);
        let view = GroupView::of_neighbours(me.clone(), names, Duration::ZERO);
        let neighbours = Neighbours::new(Arc::new(Hub::new(view, 0)));

        neighbours.set_ring(&ring, &me.node);
        neighbours
    }

    #[test]
    fn groups_are_the_others_that_are_not_gone() {
        let groups = neighbours().groups();
        let shown: Vec<_> = groups
            .iter()
            .map(|g| (g.name.as_str(), g.phase, g.members.len()))
            .collect();
        assert_eq!(shown, [("b", GroupPhase::Leaving, 3)]);
    }

    #[test]
    fn members_take_turns_and_have_to_be_able() {
        let neighbours = neighbours();
        assert!(neighbours.takers("b").is_empty(), "nobody is connected");

        for (i, node) in ["b0", "b1", "b2"].into_iter().enumerate() {
            let mut view = neighbours.hub().group().lock();
            view.admit(&identity(node, 10 + i as u64), Duration::ZERO)
                .expect("known");
            if node == "b2" {
                continue;
            }
            let health = Health {
                ready: node == "b0",
                rebuilding: node == "b0",
                ..Health::default()
            };
            view.heard(&NodeName::new(node), health, 0, 0, Duration::ZERO);
        }

        assert_eq!(neighbours.takers("b"), [NodeName::new("b0")]);
        assert_eq!(neighbours.witnesses("b"), [NodeName::new("b1")]);
        neighbours.hub().group().lock().heard(
            &NodeName::new("b2"),
            Health {
                ready: true,
                ..Health::default()
            },
            0,
            0,
            Duration::ZERO,
        );

        let firsts: std::collections::BTreeSet<_> = (0..2)
            .filter_map(|_| neighbours.takers("b").into_iter().next())
            .collect();

        assert_eq!(firsts.len(), 2, "each gets its share");
        assert!(neighbours.takers("c").is_empty());
    }
}
