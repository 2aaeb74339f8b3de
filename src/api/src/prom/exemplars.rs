//! `query_exemplars`.

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
        return Err(ApiError::invalid("end timestamp must not be before start timestamp"));
    }
    let expr = ask.params.text("query").to_owned();
    let (context, entry) = ask.begin(&expr).await?;
    let job = ask.run(move |q| q.exemplars(&context, &expr, start_ms, end_ms));
    let found = job.await.map_err(name_query)?;
    drop(entry);
    let answer = answer::counted(&ask, &found.warnings, |out| {
        push_array(out, &found.items, |out, series| {
            out.extend_from_slice(b"{\"seriesLabels\":");
            push_labels(out, &series.labels);
            out.extend_from_slice(b",\"exemplars\":");
            push_array(out, &series.exemplars, |out, e| {
                out.extend_from_slice(b"{\"labels\":");
                push_labels(out, &e.labels);
                out.extend_from_slice(b",\"value\":");
                push_quoted_float(out, e.v);
                out.extend_from_slice(b",\"timestamp\":");
                push_time(out, e.t);
                out.push(b'}');
            });
            out.push(b'}');
        });
    });
    Ok(answer?)
}
