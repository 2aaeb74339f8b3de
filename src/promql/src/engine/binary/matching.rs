//! Which series of two vectors belong together.

use hashbrown::HashMap;
use trireme_model::Labels;

use crate::ast::VectorMatching;
use crate::engine::block::Block;
use crate::engine::labels::METADATA;

/// Series of both sides that have the same match labels, by index.
#[derive(Debug, Default)]
pub(super) struct MatchGroup {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
}

/// Sorts the series of both sides into groups, in order of first appearance.
pub(super) fn groups(lhs: &Block, rhs: &Block, matching: &VectorMatching) -> Vec<MatchGroup> {
    let mut groups: Vec<MatchGroup> = Vec::with_capacity(lhs.metas.len());
    let mut by_labels: HashMap<Labels, usize> = HashMap::with_capacity(lhs.metas.len());
    let key = MatchKey::new(matching);
    for (series, meta) in lhs.metas.iter().enumerate() {
        let at = group_of(&mut groups, &mut by_labels, key.of(&meta.labels));
        groups[at].left.push(series);
    }

    for (series, meta) in rhs.metas.iter().enumerate() {
        let at = group_of(&mut groups, &mut by_labels, key.of(&meta.labels));
        groups[at].right.push(series);
    }

    groups
}

/// The group of these match labels, a new one if they are new.
#[inline]
fn group_of(
    groups: &mut Vec<MatchGroup>,
    by_labels: &mut HashMap<Labels, usize>,
    labels: Labels,
) -> usize {
    let at = *by_labels.entry(labels).or_insert(groups.len());
    if at == groups.len() {
        groups.push(MatchGroup::default());
    }
    at
}

/// Takes the match labels out of label sets.
pub(super) struct MatchKey<'a> {
    names: Vec<&'a str>,
    on: bool,
}

impl<'a> MatchKey<'a> {
    pub(super) fn new(matching: &'a VectorMatching) -> Self {
        let mut names: Vec<&str> = matching.labels.iter().map(AsRef::as_ref).collect();
        if !matching.on {
            names.extend(METADATA);
        }

        Self {
            names,
            on: matching.on,
        }
    }

    /// The labels that have to be equal.
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        if self.on {
            labels.only(&self.names)
        } else {
            labels.without(&self.names)
        }
    }
}
