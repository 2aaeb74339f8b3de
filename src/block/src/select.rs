//! Which series of an index satisfy matchers.

use std::ops::ControlFlow;

use trireme_model::{Labels, MatchOp, Matcher};

use crate::{BlockError, IndexReader, Postings};

/// Series chosen by postings, and the matchers that are still to be tried on their labels.
pub(crate) struct Selection<'a> {
    pub(crate) ids: Vec<u32>,
    rest: Vec<&'a Matcher>,
}

impl Selection<'_> {
    /// True if the postings decided everything.
    pub(crate) fn is_decided(&self) -> bool {
        self.rest.is_empty()
    }

    /// True if the labels satisfy what the postings did not decide.
    pub(crate) fn accepts(&self, labels: &Labels) -> bool {
        self.rest
            .iter()
            .all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
    }
}

/// Finds series. No matchers mean all series.
///
/// Equalities and small sets of values go first, from the shortest list on. A regular expression or a negation is
/// then tried on the values of its label, or on the labels of the series left, whichever is less work.
pub(crate) fn select<'a>(
    index: &IndexReader,
    matchers: &'a [Matcher],
) -> Result<Selection<'a>, BlockError> {
    let mut places: Vec<Vec<u64>> = Vec::new();

    let mut costly: Vec<&Matcher> = Vec::new();
    for matcher in matchers.iter().filter(|m| !matches_all(m)) {
        match listed(matcher) {
            Some(values) => {
                let found = values.iter().map(|v| index.find(&matcher.name, v));
                places.push(
                    found
                        .filter_map(Result::transpose)
                        .collect::<Result<_, _>>()?,
                );
            }
            None => costly.push(matcher),
        }
    }

    // One that no value satisfies ends it without a look at the lists of the others.
    if places.iter().any(Vec::is_empty) {
        return Ok(Selection {
            ids: Vec::new(),
            rest: Vec::new(),
        });
    }

    let mut cheap: Vec<Vec<Postings>> = Vec::with_capacity(places.len());
    places.iter().for_each(|places| index.want_lists(places));

    for places in &places {
        cheap.push(
            places
                .iter()
                .map(|at| index.list(*at))
                .collect::<Result<_, _>>()?,
        );
    }

    cheap.sort_by_key(|lists| lists.iter().map(Postings::len).sum::<usize>());

    let mut ids: Option<Vec<u32>> = None;
    for lists in &cheap {
        match (&mut ids, lists.as_slice()) {
            (Some(ids), [one]) => one.retain(ids, true),
            (Some(ids), many) => keep_common(ids, &union(many)),
            (none, many) => *none = Some(union(many)),
        }
    }

    // `!=` a value takes one list away, which is cheap once there is something to take it from.
    let (unequal, mut costly): (Vec<&Matcher>, Vec<&Matcher>) = costly
        .into_iter()
        .partition(|m| m.op == MatchOp::NotEqual && !m.value.is_empty());

    // Matchers that an absent label cannot satisfy name the series; the others only take some away.
    costly.sort_by_key(|m| m.matches_empty());

    let mut rest = Vec::new();
    for matcher in costly {
        let values = index.value_count(&matcher.name);
        match &mut ids {
            Some(ids) if ids.len() <= values => rest.push(matcher),
            Some(ids) => {
                let positive = !matcher.matches_empty();
                let lists = value_lists(index, matcher, positive)?;
                if positive {
                    keep_common(ids, &union(&lists));
                } else {
                    lists.iter().for_each(|list| list.retain(ids, false));
                }
            }
            none if !matcher.matches_empty() => {
                *none = Some(union(&value_lists(index, matcher, true)?))
            }
            none => {
                let mut all: Vec<u32> = index.all_postings()?.iter().collect();
                value_lists(index, matcher, false)?
                    .iter()
                    .for_each(|list| list.retain(&mut all, false));
                *none = Some(all);
            }
        }
    }

    let mut ids = match ids {
        Some(ids) => ids,
        None => index.all_postings()?.iter().collect(),
    };

    for matcher in unequal {
        index
            .postings(&matcher.name, &matcher.value)?
            .retain(&mut ids, false);
    }

    Ok(Selection { ids, rest })
}

/// True for `.*`, which every series satisfies.
fn matches_all(matcher: &Matcher) -> bool {
    matcher.op == MatchOp::Regex && matcher.regexp().is_some_and(|r| r.matches_everything())
}

/// The values that satisfy a matcher, if they can be listed and "" is not one of them.
fn listed(matcher: &Matcher) -> Option<Vec<&str>> {
    let values: Vec<&str> = match matcher.op {
        MatchOp::Equal => vec![&matcher.value],
        MatchOp::Regex => matcher.set_matches()?.iter().map(|v| &**v).collect(),
        MatchOp::NotEqual | MatchOp::NotRegex => return None,
    };
    (!values.contains(&"")).then_some(values)
}

/// Lists of the values that match (or, with `matching` false, do not match).
fn value_lists(
    index: &IndexReader,
    matcher: &Matcher,
    matching: bool,
) -> Result<Vec<Postings>, BlockError> {
    // For a negation the prefix says what does not match.
    let of_prefix = (matcher.op == MatchOp::Regex) == matching;
    let prefix = if of_prefix { matcher.prefix() } else { "" };
    let mut places = Vec::new();

    index.each_value(&matcher.name, prefix, &mut |value, reference| {
        if !value.starts_with(prefix) {
            return Ok(ControlFlow::Break(()));
        }
        if matcher.matches(value) == matching {
            places.push(reference);
        }
        Ok(ControlFlow::Continue(()))
    })?;

    index.want_lists(&places);
    places.into_iter().map(|at| index.list(at)).collect()
}

/// All ids of the lists, ascending.
fn union(lists: &[Postings]) -> Vec<u32> {
    match lists {
        [one] => one.iter().collect(),
        many => {
            let mut all: Vec<u32> = many.iter().flat_map(Postings::iter).collect();
            // The lists of one label's values are disjoint, but a hostile file may say otherwise.
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

/// Keeps those of `ids` that are in `others`; both ascend.
fn keep_common(ids: &mut Vec<u32>, others: &[u32]) {
    let mut rest = others;
    ids.retain(|id| {
        rest = &rest[rest.partition_point(|o| o < id)..];
        rest.first() == Some(id)
    });
}
