//! Which group a series belongs to.
//!
//! Each group that takes series has tokens on a circle of 2^64 points, so many for a unit of its weight, at places that
//! follow from its name alone. A series belongs to the group whose token is the first at or after the series' own place. A
//! new group takes the arcs before its tokens from whoever had them, and nothing else moves.
//!
//! The place of a series is the lower half of its `SeriesKey`, the hash of tenant and label bytes that the
//! decoder of each protocol computes anyway (the upper half chooses the shard, so that the two do not depend on each
//! other). Remote write 2.0 and OTLP make the canonical label bytes; with remote write 1.0 they are those of the sender. A
//! sender that does not sort its labels therefore has another place for the same series. That costs room, not truth: who
//! answers a query unites the groups by canonical labels, with the conflict rule that every replica applies.

use xxhash_rust::xxh3::xxh3_64_with_seed;
use xxhash_rust::xxh64::xxh64;

use crate::Ring;

/// Tokens of a group for a unit of its weight: shares are true to about 1.5 %.
const TOKENS_PER_WEIGHT: u32 = 4_096;

/// The circle of one ring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Names of the groups that take series, in the order of the ring.
    groups: Vec<String>,
    /// Place and index of the group, by place. Empty if there is one group: then nothing is looked up.
    tokens: Vec<(u64, u16)>,
}

impl Placement {
    /// The circle of the groups that take series.
    pub fn of(ring: &Ring) -> Self {
        let groups: Vec<_> = ring
            .serving()
            .map(|g| (g.name.as_str(), g.weight))
            .collect();
        Self::of_groups(&groups)
    }

    fn of_groups(groups: &[(&str, u32)]) -> Self {
        let mut tokens = Vec::new();
        if groups.len() > 1 {
            for (index, (name, weight)) in (0_u16..).zip(groups) {
                // The name's hash is the seed: small seeds with short inputs would give tokens that lie close together.
                let seed = xxh64(name.as_bytes(), 0);
                let count = weight.saturating_mul(TOKENS_PER_WEIGHT);
                tokens
                    .extend((0..count).map(|i| (xxh3_64_with_seed(&i.to_le_bytes(), seed), index)));
            }
            tokens.sort_unstable();
        }

        Self {
            groups: groups.iter().map(|(name, _)| (*name).to_owned()).collect(),
            tokens,
        }
    }

    /// Names of the groups, in the order in which [`Placement::group_of`] counts them.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// The group of the series with this place. A ring has a group that takes series; without one the answer is 0.
    #[inline]
    pub fn group_of(&self, place: u64) -> usize {
        if self.tokens.is_empty() {
            return 0;
        }
        let at = self.tokens.partition_point(|(token, _)| *token < place);
        // Behind the last token comes the first one.
        usize::from(self.tokens[if at == self.tokens.len() { 0 } else { at }].1)
    }

    /// Which part of all places each group has, from 0 to 1.
    pub fn shares(&self) -> Vec<f64> {
        let mut points = vec![0_u64; self.groups.len()];
        let Some((mut before, _)) = self.tokens.last().copied() else {
            return vec![1.0; self.groups.len()];
        };

        for (token, group) in &self.tokens {
            let arc = &mut points[usize::from(*group)];
            *arc = arc.saturating_add(token.wrapping_sub(before));
            before = *token;
        }

        points
            .into_iter()
            .map(|arc| arc as f64 / 2_f64.powi(64))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: u64 = 200_000;

    fn place(series: u64) -> u64 {
        xxh3_64_with_seed(&series.to_le_bytes(), 77)
    }

    fn named(names: &[String]) -> Placement {
        Placement::of_groups(&names.iter().map(|n| (n.as_str(), 1)).collect::<Vec<_>>())
    }

    #[test]
    fn a_new_group_takes_its_share_and_nothing_else_moves() {
        for groups in 1..=8_usize {
            let names: Vec<String> = (0..=groups).map(|i| format!("g{i}")).collect();
            let before = named(&names[..groups]);
            let after = named(&names);

            let mut moved = 0;
            for series in 0..SERIES {
                let old = before.group_of(place(series));
                let new = after.group_of(place(series));
                if old != new {
                    assert_eq!(new, groups, "moved between old groups");
                    moved += 1;
                }
            }

            let wanted = SERIES as f64 / (groups + 1) as f64;
            let off = (f64::from(moved) - wanted).abs() / wanted;
            assert!(
                off < 0.03,
                "{groups} groups: {moved} moved, {wanted} wanted"
            );
        }
    }

    #[test]
    fn shares_follow_weights_and_are_what_series_see() {
        let placement = Placement::of_groups(&[("g0", 1), ("g1", 2), ("spare", 5)]);
        let mut counts = [0_f64; 3];
        (0..SERIES).for_each(|series| counts[placement.group_of(place(series))] += 1.0);

        let shares = placement.shares();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);

        for (i, wanted) in [1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0].into_iter().enumerate() {
            assert!((shares[i] - wanted).abs() / wanted < 0.05, "{shares:?}");
            assert!(
                (counts[i] / SERIES as f64 - shares[i]).abs() < 0.005,
                "{counts:?} {shares:?}"
            );
        }
    }

    #[test]
    fn places_follow_from_names_and_weights_alone() {
        let ab = Placement::of_groups(&[("a", 1), ("b", 1)]);

        let ba = Placement::of_groups(&[("b", 1), ("a", 1)]);
        for series in 0..1_000 {
            let name = |p: &Placement| p.groups()[p.group_of(place(series))].clone();
            assert_eq!(name(&ab), name(&ba));
        }

        // Part of the format: another answer would send every series elsewhere after an update.
        let golden: Vec<usize> = (0..12).map(|series| ab.group_of(place(series))).collect();
        assert_eq!(golden, [1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn one_group_has_everything_and_no_tokens() {
        let one = Placement::of_groups(&[("g0", 3)]);
        assert!(one.tokens.is_empty());
        assert_eq!((one.group_of(7), one.shares()), (0, vec![1.0]));
        let ring =
            crate::table::ring("a*forming: x\ng: n0 n1 n2\nb*leaving: m0 m1 m2\nc*gone: k*left");
        assert_eq!(Placement::of(&ring).groups(), ["g"]);
    }
}
