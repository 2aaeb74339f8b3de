//! Label sets of results.

use hashbrown::HashSet;
use trireme_model::{Labels, METRIC_NAME, is_plain_label_name, quote};

use super::row::Meta;

/// Labels that describe the metric rather than the series: series are matched without them, and they go when a value is
/// no longer that metric.
pub(crate) const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Labels without the metric's name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if METADATA.iter().any(|name| labels.get(name).is_some()) {
        labels.without(&METADATA)
    } else {
        labels.clone()
    }
}

/// True if no two series have the same labels.
pub(crate) fn are_distinct(metas: &[Meta]) -> bool {
    let mut seen = HashSet::with_capacity(metas.len());
    metas.len() < 2 || metas.iter().all(|meta| seen.insert(meta.labels.as_bytes()))
}

/// Labels as Prometheus's error messages show them: the metric name is a label like others.
pub(crate) fn display(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| {
        let name = if is_plain_label_name(name) {
            name.to_owned()
        } else {
            quote(name)
        };
        format!("{name}={}", quote(value))
    });

    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// True for a name that a label may have: any text that is not empty.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
}
