//! The ring as the settings give it, and what a ring means for one of its nodes.

use std::collections::BTreeMap;

use anyhow::Context;
use trireme_base::NodeName;
use trireme_replication::GroupRing;
use trireme_ring::{Group, GroupPhase, Member, MemberState, Quorum, Ring};
use trireme_settings::Settings;
use trireme_storage::GateState;
use trireme_transport::{PeerAddress, PeerRole};

/// Epoch of a ring that was not decided by anybody: that of a node which waits to be let in.
pub(crate) const EPOCH_OUTSIDE: u64 = 0;

/// The ring of a first start: one group of `cluster.peers`, or of this node alone.
///
/// With `cluster.join` this node is not one of them yet. Its ring is then only good for finding them.
pub(crate) fn ring_of_settings(settings: &Settings) -> anyhow::Result<Ring> {
    let cluster = &settings.cluster;
    let me = &settings.node.name;
    let mut members: Vec<Member> = cluster
        .peers
        .iter()
        .map(|p| Member::active(&p.name, &p.address))
        .collect();

    if members.is_empty() {
        members.push(Member::active(me, &cluster.listen));
    }

    let replication_factor = members.len();

    let mut epoch = 1;
    if members.iter().all(|m| m.node.as_str() != me) {
        epoch = EPOCH_OUTSIDE;
        members.push(Member {
            state: MemberState::Joining,
            ..Member::active(me, &cluster.listen)
        });
    }

    Ring::new(epoch, replication_factor, vec![Group::new("g0", members)]).context("cluster.peers")
}

/// What a ring means for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// For replication.
    pub(crate) group: GroupRing,
    /// Name of the group.
    pub(crate) name: String,
    /// Members of other groups.
    pub(crate) neighbours: GroupRing,
    /// For the mesh: everybody else.
    pub(crate) peers: Vec<PeerAddress>,
    /// For the write gate.
    pub(crate) gate: GateState,
    /// This node counts for the quorum.
    pub(crate) is_active: bool,
}

impl Place {
    /// The place of `me` in `ring`; `None` if the ring does not know it at all.
    pub(crate) fn of(ring: &Ring, me: &NodeName) -> Option<Self> {
        let group = ring.groups.iter().find(|g| g.member(me).is_some())?;
        let state = group.member(me)?.state;
        let gate = match state {
            _ if ring.epoch == EPOCH_OUTSIDE => GateState::Outside,
            MemberState::Joining | MemberState::Active => GateState::Open,
            MemberState::Draining => GateState::Leaving,
            MemberState::Left => GateState::Left,
        };

        let members: Vec<&Member> = match state {
            MemberState::Left => Vec::new(),
            _ => group.peers_of(me).collect(),
        };

        // A node that is not in the ring yet knows members of one group, which need not be the one it will be in.
        let others = ring
            .groups
            .iter()
            .filter(|g| g.name != group.name && state != MemberState::Left);
        let others: Vec<&Member> = others.flat_map(Group::present).collect();
        let seals: BTreeMap<_, _> = ring
            .seals
            .iter()
            .map(|seal| (seal.stream(), seal.seq))
            .collect();

        let address = |role| {
            move |m: &&Member| PeerAddress {
                node: m.node.clone(),
                role,
                address: m.address.clone(),
            }
        };

        let names = |members: &[&Member]| members.iter().map(|m| m.node.clone()).collect();
        Some(Self {
            group: GroupRing {
                epoch: ring.epoch,
                is_forming: group.phase == GroupPhase::Forming,
                quorum: ring.quorum(group),
                peers: names(&members),
                seals,
            },
            name: group.name.clone(),
            neighbours: GroupRing {
                epoch: ring.epoch,
                is_forming: false,
                quorum: Quorum::new([me.clone()], 1),
                peers: names(&others),
                seals: BTreeMap::new(),
            },
            peers: members
                .iter()
                .map(address(PeerRole::Replica))
                .chain(others.iter().map(address(PeerRole::Neighbour)))
                .collect(),
            gate,
            is_active: state == MemberState::Active,
        })
    }
}

#[cfg(test)]
mod tests {
    use trireme_settings::{Sources, load};

    use super::*;

    fn settings(set: &[&str]) -> Settings {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        load(&Sources {
            set,
            ..Sources::default()
        })
        .expect("valid settings")
    }

    fn names(place: &Place) -> Vec<String> {
        place.peers.iter().map(|p| p.node.to_string()).collect()
    }

    const PEERS: &str = "cluster.peers=n0=h:1,n1=h:2,n2=h:3";

    #[test]
    fn every_member_makes_the_same_first_ring_of_its_settings() {
        let of = |name: &str| {
            ring_of_settings(&settings(&[PEERS, &format!("node.name={name}")])).expect("valid")
        };

        assert_eq!((of("n0"), of("n0").epoch), (of("n2"), 1));
        let place = Place::of(&of("n1"), &NodeName::new("n1")).expect("a member");
        assert_eq!(
            (names(&place), place.gate),
            (vec!["n0".to_owned(), "n2".to_owned()], GateState::Open)
        );
    }

    #[test]
    fn who_is_to_join_knows_the_members_and_takes_no_writes() {
        let ring = ring_of_settings(&settings(&[PEERS, "node.name=n3", "cluster.join=true"]))
            .expect("valid");
        assert_eq!(ring.epoch, EPOCH_OUTSIDE);

        let place = Place::of(&ring, &NodeName::new("n3")).expect("waits");
        assert_eq!(
            (names(&place).len(), place.gate, place.is_active),
            (3, GateState::Outside, false)
        );
        assert_eq!(place.group.quorum.needed(), 2, "of those who are in");
    }

    #[test]
    fn members_of_other_groups_are_neighbours_and_no_replicas() {
        let mut ring = ring_of_settings(&settings(&[PEERS, "node.name=n0"])).expect("valid");
        let members = ["m0", "m1", "m2"].map(|n| Member::active(n, &format!("{n}:1")));
        ring.groups.push(Group {
            phase: GroupPhase::Forming,
            ..Group::new("g1", members.to_vec())
        });

        let place = Place::of(&ring, &NodeName::new("m1")).expect("a member");
        let roles: Vec<String> = place
            .peers
            .iter()
            .map(|p| format!("{} {:?}", p.node, p.role))
            .collect();

        assert_eq!(
            roles,
            [
                "m0 Replica",
                "m2 Replica",
                "n0 Neighbour",
                "n1 Neighbour",
                "n2 Neighbour"
            ]
        );

        assert_eq!(
            (place.group.peers.len(), place.neighbours.peers.len()),
            (2, 3)
        );
    }

    #[test]
    fn who_drains_serves_on_and_who_has_left_has_no_peers() {
        let mut ring = ring_of_settings(&settings(&[PEERS, "node.name=n0"])).expect("valid");
        ring.groups[0].members[0].state = MemberState::Draining;
        let me = NodeName::new("n0");
        let place = Place::of(&ring, &me).expect("known");

        assert_eq!((names(&place).len(), place.gate), (2, GateState::Leaving));
        ring.groups[0].members[0].state = MemberState::Left;
        let place = Place::of(&ring, &me).expect("known");

        assert_eq!((names(&place).len(), place.gate), (0, GateState::Left));
        assert!(Place::of(&ring, &NodeName::new("n9")).is_none());
    }
}
