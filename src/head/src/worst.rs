//! Where a tenant's series come from, in the words of a refusal.

use std::cmp::Reverse;
use std::fmt::Write;

use trireme_model::METRIC_NAME;

use crate::index::Index;

/// A refusal's text may be this old; a flood of refusals must not walk the index each time.
const KEPT_MS: i64 = 10_000;
/// Metrics and labels that are named.
const NAMED: usize = 3;

/// The worst offenders of a tenant in a shard, as text, renewed now and then.
#[derive(Debug, Default)]
pub(crate) struct Worst {
    text: String,
    renewed_ms: Option<i64>,
}

impl Worst {
    /// The metrics with the most series and the labels with the most values, as they were at most ten seconds ago.
    pub fn text(&mut self, index: &Index, now_ms: i64) -> &str {
        // A clock that was set back renews, too.
        let is_fresh = self
            .renewed_ms
            .is_some_and(|then| (0..KEPT_MS).contains(&(now_ms - then)));

        if !is_fresh {
            self.text = describe(index);
            self.renewed_ms = Some(now_ms);
        }

        &self.text
    }
}

fn describe(index: &Index) -> String {
    let mut out = String::from("most series: ");
    let metric_name = index.name_id(METRIC_NAME);
    let metrics = metric_name
        .into_iter()
        .flat_map(|name| index.pairs_of(name));

    list(
        &mut out,
        metrics.map(|pair| (pair.postings.len(), &*pair.value)),
    );
    out.push_str("; most values: ");
    list(
        &mut out,
        index
            .names
            .iter()
            .map(|name| (name.pairs.len(), &*name.text)),
    );

    out
}

fn list<'a>(out: &mut String, counted: impl Iterator<Item = (usize, &'a str)>) {
    let mut greatest: Vec<(Reverse<usize>, &str)> = Vec::with_capacity(NAMED + 1);
    for (count, name) in counted {
        let place = greatest.partition_point(|known| *known < (Reverse(count), name));
        if place < NAMED {
            greatest.insert(place, (Reverse(count), name));
            greatest.truncate(NAMED);
        }
    }

    for (n, (Reverse(count), name)) in greatest.iter().enumerate() {
        // Names come from senders: only as much of them as a person needs.
        let short: String = name.chars().take(80).collect();
        let _ = write!(out, "{}{short} {count}", if n > 0 { ", " } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::new();
        for slot in 0..12_u32 {
            let metric = if slot < 9 { "requests_total" } else { "up" };
            let pairs = [
                index.intern(METRIC_NAME, metric, true),
                index.intern("job", "api", true),
                index.intern("user", &format!("u{slot}"), true),
            ];
            index.add_series(slot, &pairs);
        }

        index
    }

    #[test]
    fn names_metrics_by_series_and_labels_by_values() {
        let text = describe(&index());
        assert_eq!(
            text,
            "most series: requests_total 9, up 3; most values: user 12, __name__ 2, job 1"
        );
    }

    #[test]
    fn is_renewed_only_now_and_then() {
        let mut index = index();
        let mut worst = Worst::default();
        let first = worst.text(&index, 1_000).to_owned();
        let user = index.intern("user", "u99", true);
        index.add_series(99, &[user]);
        assert_eq!(worst.text(&index, 10_999), first);
        assert!(worst.text(&index, 11_000).contains("user 13"));
    }
}
