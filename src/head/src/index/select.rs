//! Which series match.

use std::borrow::Cow;

use trireme_model::{MatchOp, Matcher};

use super::postings::{intersect, subtract, union};
use super::{Index, Pair};
use crate::state::State;

/// Looking at the labels of a series takes about as long as looking at so many values of a label.
pub(crate) const VALUES_PER_SERIES: usize = 2;

impl State {
    /// Slots of the series in `index` that satisfy all matchers, ascending.
    pub fn select(&self, index: &Index, matchers: &[Matcher]) -> Vec<u32> {
        index.select(matchers, |slot| {
            self.series
                .get(slot)
                .map_or(&[], |series| self.lists.get(series.labels))
        })
    }
}

impl Index {
    /// Slots of the series that satisfy all matchers, ascending. `pairs_at` gives the pairs of the series at a slot.
    ///
    /// Matchers whose lists are found by a look-up go first, the shortest list before all. Any other is then tried on the
    /// values of its label or on the labels of the series that are left, whichever are fewer.
    pub fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        pairs_at: impl Fn(u32) -> &'a [u32],
    ) -> Vec<u32> {
        let Some(sorted) = self.sort(matchers) else {
            return Vec::new();
        };
        let Sorted {
            mut wanted,
            unwanted,
            mut rest,
        } = sorted;

        wanted.sort_by_key(|list| list.len());
        let mut found = wanted
            .into_iter()
            .reduce(|a, b| Cow::Owned(intersect(&a, &b)));

        // Those that an absent label cannot satisfy name the series; the others only take some away.
        rest.sort_by_key(|matcher| matcher.matches_empty());

        for matcher in rest {
            found = match found {
                Some(some) if some.len() <= self.value_count(&matcher.name) / VALUES_PER_SERIES => {
                    Some(Cow::Owned(self.accepted(&some, matcher, &pairs_at)))
                }
                found => self.by_values(found, matcher),
            };
        }

        let found = found.unwrap_or_else(|| self.all.ascending());
        if unwanted.is_empty() {
            found.into_owned()
        } else {
            subtract(&found, &union(&unwanted))
        }
    }

    /// Looks up the lists of those matchers that name one; `None` if one of the series wanted is empty.
    fn sort<'m>(&self, matchers: &'m [Matcher]) -> Option<Sorted<'_, 'm>> {
        let mut sorted = Sorted::default();
        for matcher in matchers {
            match self.listed(matcher) {
                Some(list) if matcher.matches_empty() => sorted.unwanted.push(list),
                Some(list) if list.is_empty() => return None,
                Some(list) => sorted.wanted.push(list),
                None => sorted.rest.push(matcher),
            }
        }
        Some(sorted)
    }

    /// The series that a matcher names, if its values can be listed: those with one of them or, if an absent label
    /// satisfies the matcher, those that do not satisfy it.
    fn listed(&self, matcher: &Matcher) -> Option<Cow<'_, [u32]>> {
        let fits_absent = matcher.matches_empty();
        let values: &[Box<str>] = match matcher.op {
            MatchOp::Equal if fits_absent => return None,
            MatchOp::NotEqual if !fits_absent => return None,
            MatchOp::Equal | MatchOp::NotEqual => {
                return Some(self.of_value(&matcher.name, &matcher.value));
            }
            MatchOp::Regex if fits_absent => return None,
            MatchOp::NotRegex if !fits_absent => return None,
            MatchOp::Regex | MatchOp::NotRegex => matcher.set_matches()?,
        };

        let lists: Vec<_> = values
            .iter()
            .map(|value| self.of_value(&matcher.name, value))
            .collect();

        Some(one_list(lists))
    }

    fn of_value(&self, name: &str, value: &str) -> Cow<'_, [u32]> {
        let pair = self
            .name_id(name)
            .and_then(|name| self.pair_id(name, value))
            .and_then(|id| self.pair(id));
        pair.map_or(Cow::Borrowed(&[]), |pair| pair.postings.ascending())
    }

    fn value_count(&self, name: &str) -> usize {
        self.name_id(name)
            .map_or(0, |name| self.names[name as usize].pairs.len())
    }

    /// The series among `slots` whose labels satisfy a matcher.
    fn accepted<'a>(
        &'a self,
        slots: &[u32],
        matcher: &Matcher,
        pairs_at: impl Fn(u32) -> &'a [u32],
    ) -> Vec<u32> {
        let Some(name) = self.name_id(&matcher.name) else {
            return if matcher.matches_empty() {
                slots.to_vec()
            } else {
                Vec::new()
            };
        };

        // Series that follow each other often share the value.
        let mut last: Option<(u32, bool)> = None;
        let fits_absent = matcher.matches_empty();
        let accepted = slots.iter().copied().filter(|slot| {
            let Some((id, pair)) = pairs_at(*slot).iter().find_map(|id: &u32| {
                self.pair(*id)
                    .filter(|pair| pair.name == name)
                    .map(|pair| (*id, pair))
            }) else {
                return fits_absent;
            };
            match last {
                Some((known, fits)) if known == id => fits,
                _ => last.insert((id, matcher.matches(&pair.value))).1,
            }
        });

        accepted.collect()
    }

    /// The series of `found` (none: of all) that satisfy a matcher, by the values of its label.
    fn by_values<'a>(
        &'a self,
        found: Option<Cow<'a, [u32]>>,
        matcher: &Matcher,
    ) -> Option<Cow<'a, [u32]>> {
        let fits_absent = matcher.matches_empty();
        let Some(name) = self.name_id(&matcher.name) else {
            return if fits_absent {
                found
            } else {
                Some(Cow::Borrowed(&[]))
            };
        };

        let lists: Vec<_> = self
            .pairs_of(name)
            .filter(|pair: &&Pair| matcher.matches(&pair.value) != fits_absent)
            .map(|pair| pair.postings.ascending())
            .collect();

        if fits_absent {
            return self.without(found, lists);
        }

        // A series has one value of a label at most: lists of so many series are those of all.
        let are_all = lists.iter().map(|list| list.len()).sum::<usize>() == self.all.len();
        if are_all {
            return found.or_else(|| Some(self.all.ascending()));
        }

        let listed = one_list(lists);
        Some(match found {
            Some(found) => Cow::Owned(intersect(&found, &listed)),
            None => listed,
        })
    }

    /// The series of `found` (none: of all) that are in no list.
    fn without<'a>(
        &'a self,
        found: Option<Cow<'a, [u32]>>,
        lists: Vec<Cow<'_, [u32]>>,
    ) -> Option<Cow<'a, [u32]>> {
        if lists.is_empty() {
            return found;
        }

        let found = found.unwrap_or_else(|| self.all.ascending());
        Some(Cow::Owned(subtract(&found, &one_list(lists))))
    }

    /// True if a series with these pairs satisfies all matchers.
    pub fn fits(&self, pairs: &[u32], matchers: &[Matcher]) -> bool {
        matchers.iter().all(|m| {
            m.matches(self.name_id(&m.name).map_or("", |name: u32| {
                pairs
                    .iter()
                    .find_map(|id: &u32| self.pair(*id).filter(|p| p.name == name))
                    .map_or("", |p| &*p.value)
            }))
        })
    }

    /// Pairs of a name that series have.
    pub fn pairs_of(&self, name: u32) -> impl Iterator<Item = &Pair> {
        self.names[name as usize]
            .pairs
            .iter()
            .filter_map(|id| self.pair(*id))
            .filter(|p| !p.postings.is_empty())
    }
}

/// Matchers by how the series that satisfy them are found.
#[derive(Default)]
struct Sorted<'i, 'm> {
    /// A series must be in each of these.
    wanted: Vec<Cow<'i, [u32]>>,
    /// A series must be in none of these.
    unwanted: Vec<Cow<'i, [u32]>>,
    /// These name no list.
    rest: Vec<&'m Matcher>,
}

fn one_list(lists: Vec<Cow<'_, [u32]>>) -> Cow<'_, [u32]> {
    match <[_; 1]>::try_from(lists) {
        Ok([one]) => one,
        Err(many) => Cow::Owned(union(&many)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Matchers of every kind over the values `a0`, `a1`, ..., of which an absent label satisfies some.
    fn matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];

        let value = prop_oneof![
            Just(""),
            Just("a1"),
            Just("a1|a2"),
            Just("a1|"),
            Just("a[12]"),
            Just("a.*"),
            Just(".*"),
            Just(".+")
        ];

        ("[x-z]", op, value)
            .prop_map(|(name, op, value)| Matcher::new(&name, op, value).expect("valid"))
    }

    proptest! {
        #[test]
        fn lists_values_and_labels_give_the_same_series(
            series in proptest::collection::vec(proptest::collection::btree_map("[xy]", "a[0-9]", 0..3), 0..40),
            matchers in proptest::collection::vec(matcher(), 0..4),
        ) {
            let mut index = Index::new();
            let mut lists: Vec<Vec<u32>> = Vec::new();
            for labels in &series {
                let pairs: Vec<u32> = labels.iter().map(|(n, v)| index.intern(n, v, false)).collect();
                index.add_series(lists.len() as u32, &pairs);
                lists.push(pairs);
            }
            let value = |slot: usize, name: &str| series[slot].get(name).map_or("", String::as_str);
            let fits = |slot: &u32| matchers.iter().all(|m| m.matches(value(*slot as usize, &m.name)));
            let want: Vec<u32> = (0..series.len() as u32).filter(fits).collect();
            prop_assert_eq!(index.select(&matchers, |slot| &lists[slot as usize]), want);
        }
    }
}
