//! The ring as the settings give it.

use anyhow::Context;
use trireme_base::NodeName;
use trireme_ring::{Group, Member, Ring};
use trireme_settings::Settings;

/// The ring: one group of `cluster.peers`, or of this node alone.
pub(crate) fn ring_from(settings: &Settings) -> anyhow::Result<Ring> {
    let cluster = &settings.cluster;
    let me = &settings.node.name;
    let mut members: Vec<Member> =
        cluster.peers.iter().map(|p| Member::active(&p.name, &p.address)).collect();
    if members.is_empty() {
        members.push(Member::active(me, &cluster.listen));
    }
    for member in members.iter_mut().filter(|m| m.node.as_str() == me && !settings.node.zone.is_empty()) {
        member.zone = Some(settings.node.zone.clone());
    }
    let replication_factor = members.len();
    Ring::new(1, replication_factor, vec![Group::new("g0", members)]).context("cluster.peers")
}

/// The other members of this node's group with their addresses.
pub(crate) fn peers_of(ring: &Ring, me: &NodeName) -> Vec<Member> {
    ring.group_of(me).map(|group| group.peers_of(me).cloned().collect()).unwrap_or_default()
}
