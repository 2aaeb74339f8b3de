//! Which series match.

use std::borrow::Cow;

use trireme_model::{MatchOp, Matcher};

use super::postings::{intersect, subtract, union};
use super::{Index, Pair};

impl Index {
    /// Slots of the series that satisfy all matchers, ascending.
    ///
    /// A matcher that an absent label cannot satisfy gives a list to intersect, smallest first. Any other matcher
    /// takes away the series of the values that fail it, because series without the label stay.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let mut wanted: Vec<Cow<'_, [u32]>> = Vec::new();
        let mut unwanted: Vec<Cow<'_, [u32]>> = Vec::new();
        for matcher in matchers {
            if matcher.matches_empty() {
                if let Some(name) = self.name_id(&matcher.name) {
                    let fails = |pair: &&Pair| !matcher.matches(&pair.value);
                    unwanted.extend(self.pairs_of(name).filter(fails).map(|p| p.postings.ascending()));
                }
            } else {
                let list = self.positive(matcher);
                if list.is_empty() {
                    return Vec::new();
                }
                wanted.push(list);
            }
        }
        wanted.sort_by_key(|list| list.len());
        let mut lists = wanted.into_iter();
        let mut found = lists.next().unwrap_or_else(|| self.all.ascending());
        for list in lists {
            found = Cow::Owned(intersect(&found, &list));
        }
        if unwanted.is_empty() { found.into_owned() } else { subtract(&found, &union(&unwanted)) }
    }

    /// Series with a value that satisfies the matcher.
    fn positive(&self, matcher: &Matcher) -> Cow<'_, [u32]> {
        let Some(name) = self.name_id(&matcher.name) else { return Cow::Borrowed(&[]) };
        let of_value = |value: &str| self.pair_id(name, value).and_then(|id| self.pair(id));
        if matcher.op == MatchOp::Equal {
            return of_value(&matcher.value).map_or(Cow::Borrowed(&[]), |p| p.postings.ascending());
        }
        let lists: Vec<_> = match matcher.set_matches().filter(|_| matcher.op == MatchOp::Regex) {
            Some(values) => {
                values.iter().filter_map(|v| of_value(v)).map(|p| p.postings.ascending()).collect()
            }
            None => {
                let fits = |pair: &&Pair| matcher.matches(&pair.value);
                self.pairs_of(name).filter(fits).map(|p| p.postings.ascending()).collect()
            }
        };
        if lists.len() == 1 {
            return lists.into_iter().next().expect("BUG: one list");
        }
        Cow::Owned(union(&lists))
    }

    /// True if a series with these pairs satisfies all matchers.
    pub fn fits(&self, pairs: &[u32], matchers: &[Matcher]) -> bool {
        let value = |name: u32| {
            let of_name = |id: &u32| self.pair(*id).filter(|p| p.name == name);
            pairs.iter().find_map(of_name).map_or("", |p| &*p.value)
        };
        matchers.iter().all(|m| m.matches(self.name_id(&m.name).map_or("", value)))
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
