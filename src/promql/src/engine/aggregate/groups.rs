//! Which series are aggregated together.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use trireme_model::Labels;

use crate::ast::Aggregate;
use crate::engine::block::Block;
use crate::engine::labels::METADATA;
use crate::engine::row::{Meta, Row, Tag};

/// Groups of series, numbered in order of first appearance.
pub(super) struct Groups {
    /// Group of each series.
    pub(super) of_series: Vec<usize>,
    /// Labels of each group.
    pub(super) labels: Vec<Labels>,
}

/// Takes the labels of the result out of those of a series.
pub(super) struct Grouping<'a> {
    names: Vec<&'a str>,
    without: bool,
}

impl<'a> Grouping<'a> {
    /// The grouping of an aggregation; `also` is grouped by as well.
    pub(super) fn new(a: &'a Aggregate, also: Option<&'a str>) -> Self {
        let mut names: Vec<&str> = a.grouping.iter().map(AsRef::as_ref).collect();
        if a.without {
            names.extend(METADATA);
        } else {
            names.extend(also);
        }

        Self {
            names,
            without: a.without,
        }
    }

    pub(super) fn of(&self, labels: &Labels) -> Labels {
        if self.without {
            labels.without(&self.names)
        } else {
            labels.only(&self.names)
        }
    }

    /// The canonical bytes of [`Grouping::of`].
    fn write(&self, labels: &Labels, out: &mut Vec<u8>) {
        out.clear();
        if self.without || !self.names.is_empty() {
            labels.push_part(&self.names, !self.without, out);
        }
    }
}

impl Groups {
    pub(super) fn new(a: &Aggregate, metas: &[Meta]) -> Self {
        let grouping = Grouping::new(a, None);
        let hasher = DefaultHashBuilder::default();
        let mut by_labels: HashTable<usize> = HashTable::new();
        let mut labels: Vec<Labels> = Vec::new();
        let mut key = Vec::with_capacity(256);
        let of_series = metas.iter().map(|meta| {
            // Most series belong to a group that is known: nothing is allocated for them.
            grouping.write(&meta.labels, &mut key);
            let hash = hasher.hash_one(key.as_slice());
            if let Some(group) = by_labels.find(hash, |group| labels[*group].as_bytes() == key) {
                return *group;
            }
            labels.push(Labels::from_canonical_unchecked(&key));
            let group = labels.len() - 1;
            by_labels.insert_unique(hash, group, |group| {
                hasher.hash_one(labels[*group].as_bytes())
            });
            group
        });

        let of_series = of_series.collect();
        Self { of_series, labels }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }
}

/// Which results have to lose their name because an input has.
///
/// Inputs of a group may differ in this, from series to series and so from step to step. Then a group becomes two
/// series, as if each step had been a query of its own.
pub(super) struct Dropped {
    /// What holds for all series, if it is the same for all.
    all: Option<bool>,
    steps: usize,
    /// By group and step, if it is not.
    cells: Vec<bool>,
}

impl Dropped {
    pub(super) fn new(metas: &[Meta], groups: usize, steps: usize) -> Self {
        let any = metas.iter().any(|meta| meta.drop_name);
        let all = (any == metas.iter().all(|meta| meta.drop_name) || !any).then_some(any);
        let cells = if all.is_none() {
            vec![false; groups * steps]
        } else {
            Vec::new()
        };

        Self { all, steps, cells }
    }

    /// What is known of whole groups.
    pub(super) fn of_groups(dropped: &[bool], steps: usize) -> Self {
        let any = dropped.contains(&true);
        let all = (!any || dropped.iter().all(|d| *d)).then_some(any);
        let cells = if all.is_none() {
            dropped.iter().flat_map(|d| vec![*d; steps]).collect()
        } else {
            Vec::new()
        };

        Self { all, steps, cells }
    }

    /// Takes note of a series of a group.
    pub(super) fn see(&mut self, group: usize, meta: &Meta, row: &Row) {
        if self.all.is_some() || !meta.drop_name {
            return;
        }
        for step in (0..self.steps).filter(|step| row.tag(*step) != Tag::Empty) {
            self.cells[group * self.steps + step] = true;
        }
    }

    /// Adds the result of a group.
    pub(super) fn push(&self, out: &mut Block, group: usize, labels: Labels, row: Row) {
        if let Some(drop_name) = self.all {
            out.push(Meta { labels, drop_name }, row);
            return;
        }

        let is_dropped = &self.cells[group * self.steps..(group + 1) * self.steps];
        for drop_name in [false, true] {
            let mut part = row.clone();
            for (step, dropped) in is_dropped.iter().enumerate() {
                if *dropped != drop_name {
                    part.clear(step);
                }
            }

            if !part.is_empty() {
                out.push(
                    Meta {
                        labels: labels.clone(),
                        drop_name,
                    },
                    part,
                );
            }
        }
    }
}
