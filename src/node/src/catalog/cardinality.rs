//! Where the series of a tenant come from: `status/tsdb`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use trireme_head::Shard;
use trireme_model::{METRIC_NAME, Tenant};
use trireme_query::{TsdbStatus, TsdbTop};

/// Numbers of all shards together. A value that several shards have is one value, so they are counted label by label:
/// what is held at a time are the values of one label.
pub(super) fn status(shards: &[Arc<Shard>], tenant: &Tenant, limit: usize) -> TsdbStatus {
    let mut status = TsdbStatus {
        min_time_ms: i64::MAX,
        max_time_ms: i64::MIN,
        ..TsdbStatus::default()
    };

    let mut names = BTreeSet::new();
    for shard in shards {
        let counts = shard.counts(tenant);
        status.series += counts.series;
        status.chunks += counts.chunks;
        status.min_time_ms = status
            .min_time_ms
            .min(counts.oldest_window_ms.unwrap_or(i64::MAX));
        status.max_time_ms = status
            .max_time_ms
            .max(shard.newest(tenant).unwrap_or(i64::MIN));
        names.extend(counts.label_names);
    }

    let [mut values, mut bytes, mut pairs] = [const { Vec::new() }; 3];
    for name in names {
        let mut series_of: HashMap<Arc<str>, u64> = HashMap::new();
        for shard in shards {
            shard.each_value(tenant, &name, |value, series| {
                match series_of.get_mut(value) {
                    Some(known) => *known += series,
                    None => drop(series_of.insert(Arc::clone(value), series)),
                }
            });
        }

        status.label_pairs += series_of.len() as u64;
        values.push(TsdbTop {
            name: name.to_string(),
            value: series_of.len() as u64,
        });

        // As Prometheus has it: a value counts once for each of its series.
        let memory = series_of
            .iter()
            .map(|(value, series)| value.len() as u64 * series)
            .sum();

        bytes.push(TsdbTop {
            name: name.to_string(),
            value: memory,
        });

        let top_values = top(series_of.into_iter().collect(), limit);

        let row = |name: String, value| TsdbTop { name, value };
        if &*name == METRIC_NAME {
            status.series_by_metric = top_values
                .iter()
                .map(|(v, n)| row(v.to_string(), *n))
                .collect();
        }

        pairs.extend(
            top_values
                .into_iter()
                .map(|(v, n)| row(format!("{name}={v}"), n)),
        );
    }

    status.values_by_label = top_rows(values, limit);
    status.memory_by_label = top_rows(bytes, limit);
    status.series_by_pair = top_rows(pairs, limit);

    status
}

fn top_rows(rows: Vec<TsdbTop>, limit: usize) -> Vec<TsdbTop> {
    let rows = top(
        rows.into_iter().map(|row| (row.name, row.value)).collect(),
        limit,
    );
    rows.into_iter()
        .map(|(name, value)| TsdbTop { name, value })
        .collect()
}

/// The greatest counts, equal ones by name.
fn top<N: Ord>(mut rows: Vec<(N, u64)>, limit: usize) -> Vec<(N, u64)> {
    rows.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(limit);
    rows
}
