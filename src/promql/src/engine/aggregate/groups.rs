//! Which series are aggregated together.

use hashbrown::HashMap;
use trireme_model::{Labels, METRIC_NAME};

use crate::ast::Aggregate;
use crate::engine::row::Meta;

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
            names.push(METRIC_NAME);
        } else {
            names.extend(also);
        }
        Self { names, without: a.without }
    }

    pub(super) fn of(&self, labels: &Labels) -> Labels {
        match (self.without, self.names.is_empty()) {
            (true, _) => labels.without(&self.names),
            (false, true) => Labels::empty(),
            (false, false) => labels.only(&self.names),
        }
    }
}

impl Groups {
    pub(super) fn new(a: &Aggregate, metas: &[Meta]) -> Self {
        let grouping = Grouping::new(a, None);
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        let mut labels = Vec::new();
        let of_series = metas.iter().map(|meta| {
            let key = grouping.of(&meta.labels);
            *by_labels.entry(key).or_insert_with_key(|key| {
                labels.push(key.clone());
                labels.len() - 1
            })
        });
        let of_series = of_series.collect();
        Self { of_series, labels }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }
}
