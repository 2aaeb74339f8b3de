//! Classic histograms converted to native ones with custom buckets, for `load_with_nhcb`.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{
    CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, Span,
};

use super::series::{Description, plain_number};
use super::storage::{MemoryStorage, Stored};
use crate::value::SampleValue;

/// What is known about a classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// Upper bound and cumulative count, by rising bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Converts all classic histograms among `series` and stores them under their base names.
pub(super) fn append_converted<'a>(
    series: impl Iterator<Item = &'a Description>,
    gap_ms: i64,
    storage: &mut MemoryStorage,
) -> Result<(), String> {
    for (labels, times) in classic_histograms(series, gap_ms) {
        for (t, classic) in times {
            let histogram = classic.convert().map_err(|e| format!("{e} in {labels}"))?;
            storage.append(
                &labels,
                Stored {
                    t,
                    st: 0,
                    value: SampleValue::Histogram(Arc::new(histogram)),
                },
            );
        }
    }

    Ok(())
}

/// The classic histograms of each time, by their base labels.
fn classic_histograms<'a>(
    series: impl Iterator<Item = &'a Description>,
    gap_ms: i64,
) -> BTreeMap<Labels, BTreeMap<i64, Classic>> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for description in series {
        let name = description.labels.metric_name();
        let Some((base, part)) = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|s| Some((name.strip_suffix(s)?, *s)))
        else {
            continue;
        };

        let bound = description
            .labels
            .get("le")
            .and_then(plain_number)
            .filter(|v| !v.is_nan());

        if part == "_bucket" && bound.is_none() {
            continue;
        }

        let mut labels: LabelsBuilder = description.labels.without(&["le"]).to_builder();
        labels.set(METRIC_NAME, base);
        let times = found.entry(labels.finish()).or_default();

        let mut t = 0;
        for value in &description.values {
            if let Some(SampleValue::Float(v)) = value.value {
                let classic = times.entry(t).or_default();
                match (part, bound) {
                    ("_bucket", Some(bound)) => classic.set_bucket(bound, v),
                    ("_count", _) => classic.count = Some(v),
                    _ => classic.sum = v,
                }
            }
            t += gap_ms;
        }
    }

    found
}

impl Classic {
    fn set_bucket(&mut self, bound: f64, count: f64) {
        match self.buckets.binary_search_by(|(b, _)| b.total_cmp(&bound)) {
            Ok(i) => self.buckets[i].1 = count,
            Err(i) => self.buckets.insert(i, (bound, count)),
        }
    }

    fn convert(mut self) -> Result<FloatHistogram, String> {
        let count = self
            .count
            .or(self.buckets.last().map(|(_, count)| *count))
            .unwrap_or(0.0);

        if self
            .buckets
            .last()
            .is_none_or(|(bound, _)| *bound != f64::INFINITY)
        {
            self.buckets.push((f64::INFINITY, count));
        }

        let mut below = 0.0;

        let mut positive_buckets = Vec::with_capacity(self.buckets.len());
        for (_, cumulative) in &self.buckets {
            if *cumulative < below {
                return Err("bucket counts are not cumulative".to_owned());
            }
            positive_buckets.push(cumulative - below);
            below = *cumulative;
        }

        if below != count {
            return Err(format!(
                "count {count} is not that of the last bucket, {below}"
            ));
        }

        let custom_values = self.buckets[..self.buckets.len() - 1]
            .iter()
            .map(|(bound, _)| *bound)
            .collect();
        let length = u32::try_from(positive_buckets.len()).map_err(|e| e.to_string())?;

        Ok(FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length }],
            positive_buckets,
            custom_values,
            ..FloatHistogram::default()
        })
    }
}
