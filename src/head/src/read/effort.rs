//! What finding series takes, before any is looked for.

use trireme_model::{MatchOp, Matcher, Tenant};

use crate::Shard;
use crate::index::Index;
use crate::index::select::VALUES_PER_SERIES;

/// With more values of a label than this, trying a regular expression on all of them is no small thing.
const VALUES_MAX: usize = 1_000;
/// Trying an expression on a value takes about as long as looking at so many entries of a list.
const ENTRIES_PER_VALUE: usize = 16;
/// Looking for a label of a series and trying an expression on it takes about as long as looking at so many.
const ENTRIES_PER_SERIES: usize = 64;

/// An upper bound of what a selection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Effort {
    /// Series that may match.
    pub series: usize,
    /// Entries of the index's lists that may have to be looked at.
    pub entries: usize,
}

impl Shard {
    /// What it takes to find the tenant's series that satisfy all matchers, by the lengths of lists. `None` if the shard
    /// cannot be looked at without waiting.
    pub fn effort(&self, tenant: &Tenant, matchers: &[Matcher]) -> Option<Effort> {
        let state = self.state.try_read()?;
        Some(
            state
                .index(tenant)
                .map_or_else(Effort::default, |index| index.effort(matchers)),
        )
    }

    /// Number of values of a label, if the shard can be looked at without waiting.
    pub fn value_count(&self, tenant: &Tenant, name: &str) -> Option<usize> {
        let state = self.state.try_read()?;
        Some(
            state
                .index(tenant)
                .and_then(|index: &Index| {
                    Some(index.names[index.name_id(name)? as usize].pairs.len())
                })
                .unwrap_or(0),
        )
    }
}

impl Index {
    fn effort(&self, matchers: &[Matcher]) -> Effort {
        let mut effort = Effort {
            series: self.all.len(),
            entries: 0,
        };

        let mut tried = Vec::new();
        for matcher in matchers {
            let Some(name) = self.name_id(&matcher.name) else {
                if matcher.matches_empty() {
                    continue;
                }
                return Effort {
                    series: 0,
                    ..effort
                };
            };

            let listed = self.listed_series(name, matcher);

            if let Some(listed) = listed.filter(|_| !matcher.matches_empty()) {
                effort.series = effort.series.min(listed);
                effort.entries = effort.entries.saturating_add(listed);
                continue;
            }

            match matcher.op {
                MatchOp::NotEqual if !matcher.value.is_empty() => {
                    let of_value = self.series_with(name, &matcher.value);
                    effort.entries = effort.entries.saturating_add(of_value);
                }
                _ => tried.push(name),
            }
        }

        for name in tried {
            effort.entries = effort
                .entries
                .saturating_add(self.entries_of(name, effort.series));
        }

        effort
    }

    /// How many series the values have that a matcher names, if it names them.
    fn listed_series(&self, name: u32, matcher: &Matcher) -> Option<usize> {
        match matcher.op {
            MatchOp::Equal if !matcher.value.is_empty() => {
                Some(self.series_with(name, &matcher.value))
            }
            MatchOp::Regex => matcher
                .set_matches()
                .map(|values| values.iter().map(|v| self.series_with(name, v)).sum()),
            _ => None,
        }
    }

    /// How many series have this value of a label.
    fn series_with(&self, name: u32, value: &str) -> usize {
        self.pair_id(name, value)
            .and_then(|id| self.pair(id))
            .map_or(0, |pair| pair.postings.len())
    }

    /// What it takes to try all values of a name and to put their lists together or, as [`Index::select`] does where they
    /// are few, to try the labels of `series`.
    fn entries_of(&self, name: u32, series: usize) -> usize {
        let values = self.names[name as usize].pairs.len();
        if series <= values / VALUES_PER_SERIES {
            return series * ENTRIES_PER_SERIES;
        }
        if values > VALUES_MAX {
            return usize::MAX;
        }

        values * ENTRIES_PER_VALUE
            + self
                .pairs_of(name)
                .map(|pair| pair.postings.len())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_for_every_kind_of_matcher() {
        let mut index = Index::new();

        let mut lists = Vec::new();
        for slot in 0..20 {
            let job = if slot % 2 == 0 { "even" } else { "odd" };
            let pod = format!("p{slot}");
            let pairs = [("__name__", "up"), ("job", job), ("pod", pod.as_str())];
            let pairs: Vec<u32> = pairs
                .iter()
                .map(|(n, v)| index.intern(n, v, false))
                .collect();
            index.add_series(slot, &pairs);
            lists.push(pairs);
        }

        let cases = [
            (vec![("job", MatchOp::Equal, "even")], 10),
            (
                vec![
                    ("__name__", MatchOp::Equal, "up"),
                    ("pod", MatchOp::Regex, "p1|p2|none"),
                ],
                2,
            ),
            (
                vec![
                    ("job", MatchOp::Equal, "odd"),
                    ("pod", MatchOp::Regex, "p1.*"),
                ],
                10,
            ),
            (vec![("job", MatchOp::NotEqual, "odd")], 20),
            (vec![("job", MatchOp::Equal, "none")], 0),
            (vec![("absent", MatchOp::Regex, ".+")], 0),
            (vec![("absent", MatchOp::Regex, ".*")], 20),
            (vec![("job", MatchOp::Equal, "")], 20),
        ];

        for (matchers, series) in cases {
            let matchers: Vec<_> = matchers
                .iter()
                .map(|(n, op, v)| Matcher::new(n, *op, v).expect("valid"))
                .collect();
            let effort = index.effort(&matchers);
            assert_eq!(effort.series, series, "{matchers:?}");
            assert!(
                index.select(&matchers, |slot| &lists[slot as usize]).len() <= series,
                "{matchers:?}"
            );
        }
    }
}
