//! `metadata`: type, help and unit of metrics.

use trireme_model::MetricMetadata;

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::json::{push_array, push_str};

pub(crate) async fn metadata(ask: Ask) -> Answer {
    let metric = ask.params.get("metric").map(str::to_owned);
    // Negative means none in both, and 0 is a limit of metrics only, as in Prometheus.
    let limit = ask.params.limit_or_none("limit")?.unwrap_or(usize::MAX);
    let per_metric = ask
        .params
        .limit_or_none("limit_per_metric")?
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);

    let (context, entry) = ask.enter("metadata")?;
    let found = ask
        .run(move |q| q.metadata(&context, metric.as_deref()))
        .await?;

    drop(entry);
    let answer = answer::counted(&ask, &[], |out| {
        out.push(b'{');
        for (i, (name, entries)) in found.iter().take(limit).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            push_str(out, name);
            out.push(b':');
            push_array(out, entries.iter().take(per_metric), push_entry);
        }
        out.push(b'}');
    });

    Ok(answer?)
}

fn push_entry(out: &mut Vec<u8>, entry: &MetricMetadata) {
    out.extend_from_slice(b"{\"type\":");
    push_str(out, entry.kind.as_str());
    out.extend_from_slice(b",\"help\":");
    push_str(out, &entry.help);
    out.extend_from_slice(b",\"unit\":");
    push_str(out, &entry.unit);
    out.push(b'}');
}
