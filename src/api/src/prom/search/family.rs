//! Which family's metadata describes a series' name: that of its own name, or of the one without the suffix that the type
//! of the family gives its series.

use std::collections::BTreeMap;

use trireme_model::MetricMetadata;

/// Metadata by name of the family.
pub(super) struct Families<'a>(BTreeMap<&'a str, &'a MetricMetadata>);

/// Suffixes and the types whose series have them.
const SUFFIXES: [(&str, &[&str]); 7] = [
    ("_total", &["counter"]),
    ("_bucket", &["histogram", "gaugehistogram"]),
    ("_sum", &["histogram", "gaugehistogram", "summary"]),
    ("_count", &["histogram", "gaugehistogram", "summary"]),
    ("_gsum", &["gaugehistogram"]),
    ("_gcount", &["gaugehistogram"]),
    ("_info", &["info"]),
];

impl<'a> Families<'a> {
    pub(super) fn new(metadata: &'a [(String, Vec<MetricMetadata>)]) -> Self {
        let first = metadata
            .iter()
            .filter_map(|(name, entries)| Some((name.as_str(), entries.first()?)));
        Self(first.collect())
    }

    /// The metadata of a series' name.
    pub(super) fn of(&self, name: &str) -> Option<&'a MetricMetadata> {
        if let Some(own) = self.0.get(name) {
            return Some(own);
        }

        let (suffix, types) = SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix))?;
        let family = name.strip_suffix(suffix)?;

        // A family whose name has the suffix gives it to no series twice.
        let twice = matches!(*suffix, "_total" | "_info") && family.ends_with(suffix);
        let entry = self.0.get(family).filter(|_| !twice)?;

        types.contains(&entry.kind.as_str()).then_some(*entry)
    }
}
