//! `query_exemplars`.

use std::collections::BTreeMap;

use trireme_model::{Exemplar, Labels};
use trireme_query::ExemplarSeries;

use super::Answer;
use super::query::name_query;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_array, push_labels, push_quoted_float, push_time};

pub(crate) async fn query(ask: Ask) -> Answer {
    let start_ms = ask.params.time("start", i64::MIN)?;
    let end_ms = ask.params.time("end", i64::MAX)?;
    if end_ms < start_ms {
        return Err(ApiError::invalid(
            "end timestamp must not be before start timestamp",
        ));
    }

    let expr = ask.params.text("query").to_owned();
    let (context, entry) = ask.begin(&expr).await?;
    let job = ask.run(move |q| {
        let mut found = q.exemplars(&context, &expr, start_ms, end_ms)?;
        found.items = without(&context.replica_labels, found.items);
        Ok(found)
    });

    let found = job.await.map_err(name_query)?;
    drop(entry);
    let answer = answer::counted(&ask, &found.warnings, |out| {
        push_array(out, &found.items, push_series);
    });

    Ok(answer?)
}

fn push_series(out: &mut Vec<u8>, series: &ExemplarSeries) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    push_labels(out, &series.labels);
    out.extend_from_slice(b",\"exemplars\":");
    push_array(out, &series.exemplars, push_exemplar);
    out.push(b'}');
}

fn push_exemplar(out: &mut Vec<u8>, e: &Exemplar) {
    out.extend_from_slice(b"{\"labels\":");
    push_labels(out, &e.labels);
    out.extend_from_slice(b",\"value\":");
    push_quoted_float(out, e.v);
    out.extend_from_slice(b",\"timestamp\":");
    push_time(out, e.t);
    out.push(b'}');
}

/// Series without the labels of replicas. What then is one series has each exemplar once, by time.
fn without(replica_labels: &[String], items: Vec<ExemplarSeries>) -> Vec<ExemplarSeries> {
    if replica_labels.is_empty() {
        return items;
    }

    let names: Vec<&str> = replica_labels.iter().map(String::as_str).collect();

    let mut by_series: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    for series in items {
        by_series
            .entry(series.labels.without(&names))
            .or_default()
            .extend(series.exemplars);
    }

    by_series
        .into_iter()
        .map(|(labels, mut exemplars): (Labels, Vec<Exemplar>)| {
            exemplars.sort_unstable();
            exemplars.dedup();
            ExemplarSeries { labels, exemplars }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_have_each_exemplar_once() {
        let exemplar = |trace: &str, t: i64| Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            v: 1.0,
            t,
        };

        let series = |replica: &str, exemplars: Vec<Exemplar>| ExemplarSeries {
            labels: Labels::from_pairs([("__name__", "up"), ("replica", replica)]),
            exemplars,
        };
        let both = || {
            vec![
                series("a", vec![exemplar("x", 1), exemplar("z", 3)]),
                series("b", vec![exemplar("x", 1), exemplar("y", 2)]),
            ]
        };

        assert_eq!(without(&[], both()), both());
        let found = without(&["replica".to_owned()], both());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].labels, Labels::from_pairs([("__name__", "up")]));
        assert_eq!(
            found[0].exemplars,
            [exemplar("x", 1), exemplar("y", 2), exemplar("z", 3)]
        );
    }
}
