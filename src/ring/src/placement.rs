//! Which group a series belongs to.
//!
//! Each group owns points ("tokens") on a circle of 2^64; a series belongs to the group of the next token at or after
//! its hash. A new group takes its share from all others alike and nothing moves between those: 1/(G+1) of the series.

use xxhash_rust::xxh3::xxh3_64_with_seed;
use xxhash_rust::xxh64::Xxh64;

use crate::Ring;

/// Tokens of a group of weight 1. The share of a group deviates from the ideal by about 1/√tokens of itself.
const TOKENS: u64 = 8192;
/// Largest weight that counts.
const WEIGHT_MAX: u32 = 16;

/// The tokens of a ring's groups. Depends on the groups' names and weights only, not on their members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// By token; the index of the group in the ring.
    tokens: Vec<(u64, u16)>,
}

impl Placement {
    /// Places the groups of a ring.
    pub fn new(ring: &Ring) -> Self {
        let mut tokens = Vec::new();
        for (index, group) in (0_u16..).zip(&ring.groups) {
            let count = TOKENS * u64::from(group.weight.clamp(1, WEIGHT_MAX));
            tokens.extend((0..count).map(|i| (xxh3_64_with_seed(group.name.as_bytes(), i), index)));
        }
        tokens.sort_unstable();
        Self { tokens }
    }

    /// The group, as its index in the ring, of a series with this [`Placement::series_hash`].
    pub fn group(&self, hash: u64) -> usize {
        let at = self.tokens.partition_point(|(token, _)| *token < hash);
        let (_, group) = self.tokens.get(at).or(self.tokens.first()).copied().unwrap_or_default();
        usize::from(group)
    }

    /// The hash of a series: xxh64 over the tenant and the labels in canonical form.
    pub fn series_hash(tenant: &str, labels: &[u8]) -> u64 {
        let mut hash = Xxh64::new(0);
        hash.update(&(tenant.len() as u64).to_le_bytes());
        hash.update(tenant.as_bytes());
        hash.update(labels);
        hash.digest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Group, Member};

    const SERIES: u64 = 100_000;

    fn ring(names: &[String]) -> Ring {
        let group = |name: &String| Group::new(name, vec![Member::active(name, &format!("{name}:1"))]);
        Ring::new(1, 1, names.iter().map(group).collect()).expect("valid")
    }

    fn hash(i: u64) -> u64 {
        Placement::series_hash("default-tenant", format!("__name__\0up\0instance\0host-{i}").as_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn a_new_group_takes_its_share_and_nothing_else_moves(
            groups in 1_usize..6, name in "[a-z]{1,8}",
        ) {
            let names: Vec<String> = (0..=groups).map(|i| format!("{name}{i}")).collect();
            let (before, after) = (Placement::new(&ring(&names[..groups])), Placement::new(&ring(&names)));
            let mut moved = 0;
            for i in 0..SERIES {
                let (old, new) = (before.group(hash(i)), after.group(hash(i)));
                prop_assert!(new == old || new == groups, "series {i} moved between old groups");
                moved += u64::from(new != old);
            }
            let (share, ideal) = (moved as f64 / SERIES as f64, 1.0 / (groups + 1) as f64);
            prop_assert!((share - ideal).abs() < 0.03, "{share} instead of {ideal}");
        }
    }

    #[test]
    fn a_group_of_twice_the_weight_takes_twice_the_series() {
        let mut two = ring(&["a".to_owned(), "b".to_owned()]);
        two.groups[1].weight = 2;
        let placement = Placement::new(&two);
        let second = (0..SERIES).filter(|i| placement.group(hash(*i)) == 1).count() as f64;
        assert!((second / SERIES as f64 - 2.0 / 3.0).abs() < 0.02, "{second}");
    }
}
