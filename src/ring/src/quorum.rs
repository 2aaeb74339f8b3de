//! How many replicas must have an entry, and which entry they all have.

use std::collections::BTreeSet;

use trireme_base::NodeName;

/// The voters of a group and how many of them a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    voters: BTreeSet<NodeName>,
    needed: usize,
}

impl Quorum {
    /// A quorum over `voters` for a replication factor.
    ///
    /// Needed are ⌊RF/2⌋+1, or a majority of the voters where that is more: while a group has more active members than
    /// its replication factor, two quorums must still have a member in common, or a sealed stream could miss an
    /// acknowledged entry.
    pub fn new(voters: impl IntoIterator<Item = NodeName>, replication_factor: usize) -> Self {
        let voters: BTreeSet<NodeName> = voters.into_iter().collect();
        let needed = (replication_factor / 2 + 1).max(voters.len() / 2 + 1);
        Self { voters, needed }
    }

    /// How many voters are needed.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Those who count.
    pub fn voters(&self) -> impl Iterator<Item = &NodeName> {
        self.voters.iter()
    }

    /// Whether this node counts.
    pub fn is_voter(&self, node: &NodeName) -> bool {
        self.voters.contains(node)
    }

    /// Whether these nodes, each counted once, make a quorum.
    pub fn is_met_by<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeName>) -> bool {
        let distinct: BTreeSet<&NodeName> =
            nodes.into_iter().filter(|n| self.is_voter(n)).collect();
        distinct.len() >= self.needed
    }

    /// The highest seq that a quorum has, given the voters' durable positions of one stream.
    ///
    /// A voter that is not listed has nothing; others than voters are ignored. Each node may be listed once.
    pub fn committed(&self, positions: impl IntoIterator<Item = (NodeName, u64)>) -> u64 {
        let mut counted: Vec<u64> = positions
            .into_iter()
            .filter(|(node, _)| self.is_voter(node))
            .map(|(_, position)| position)
            .collect();
        counted.sort_unstable_by(|a, b| b.cmp(a));
        counted.get(self.needed - 1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
