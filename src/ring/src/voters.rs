//! Who decides about the ring.

use trireme_base::NodeName;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Group, Ring};

/// Members that vote; the others learn. More would make a decision slower without making it safer.
pub const VOTERS_MAX: usize = 5;

/// The voters of a ring: active members by name, in turn from each group that takes series, up to [`VOTERS_MAX`].
///
/// A group that is leaving hands its votes over first: when it goes, all of its members go at once.
pub fn voters(ring: &Ring) -> Vec<NodeName> {
    let groups: Vec<Vec<NodeName>> = ring
        .serving()
        .map(|group: &Group| {
            let mut nodes: Vec<NodeName> = group.active().map(|m| m.node.clone()).collect();
            nodes.sort();
            nodes
        })
        .collect();

    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|i| groups.iter().filter_map(move |g| g.get(i)));
    let mut voters: Vec<NodeName> = in_turn.take(VOTERS_MAX).cloned().collect();

    voters.sort();
    voters
}

/// The number by which Raft knows a member.
pub fn voter_id(node: &NodeName) -> u64 {
    xxh3_64(node.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupPhase, Member, MemberState};

    #[test]
    fn voters_are_active_members_of_all_groups_in_turn() {
        let group = |name: &str, nodes: &[&str]| {
            Group::new(
                name,
                nodes
                    .iter()
                    .map(|n| Member::active(n, &format!("{n}:1")))
                    .collect(),
            )
        };

        let names = |ring: &Ring| {
            voters(ring)
                .iter()
                .map(NodeName::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };

        let mut ring = Ring::new(1, 3, vec![group("g0", &["b", "a", "c"])]).expect("valid");
        assert_eq!(names(&ring), "a b c");
        ring.groups[0].members.push(Member {
            state: MemberState::Joining,
            ..Member::active("d", "d:1")
        });
        assert_eq!(names(&ring), "a b c", "who is being filled learns");
        ring.groups.push(group("g1", &["x", "y", "z"]));
        assert_eq!(names(&ring), "a b c x y");
        ring.groups[0].phase = GroupPhase::Leaving;
        assert_eq!(names(&ring), "x y z");
    }
}
