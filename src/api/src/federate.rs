//! `GET /federate`: the newest sample of each chosen series in an exposition format.
//!
//! | module | what |
//! |---|---|
//! | `negotiate` | which format, and how names are escaped, by `Accept` |
//! | `escape` | names in a form that the scraper can read |
//! | `text` | the text format 0.0.4, floats only |
//! | `protobuf` | protobuf, native histograms too, in bytes or as text |
//! | `prototext` | the text form of protobuf |

mod escape;
mod negotiate;
mod protobuf;
mod prototext;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::header::ACCEPT;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use trireme_model::{FloatHistogram, Labels, METRIC_NAME, is_stale};
use trireme_promql::{Columns, SelectError, SelectHints, SelectRequest, SeriesSet};

use crate::ask::Ask;
use escape::Escaping;
use negotiate::{Format, negotiate};

/// The newest sample of a series.
#[derive(Clone, Debug)]
struct Newest {
    labels: Labels,
    /// Milliseconds.
    t: i64,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// Adds the path.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/federate").route(web::get().to(federate)));
}

/// Errors are plain text here, as a scraper expects.
async fn federate(request: HttpRequest, ask: Ask) -> HttpResponse {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();

    let (format, escaping) = negotiate(accept);
    match newest(&ask).await {
        Ok(found) => {
            let body = expose(&found, format, escaping);
            HttpResponse::Ok()
                .content_type(format.content_type(escaping))
                .body(body)
        }
        Err(e) => {
            let status = actix_web::ResponseError::status_code(&e);
            HttpResponse::build(status)
                .content_type("text/plain; charset=utf-8")
                .body(format!("{e}\n"))
        }
    }
}

/// The newest samples of all series that match, sorted by name, then by labels.
async fn newest(ask: &Ask) -> Result<Vec<Newest>, crate::error::ApiError> {
    let matchers = ask.any_matchers().await?;
    let end_ms = ask.state.clock.now_ms();
    let lookback = i64::try_from(ask.state.settings.lookback_delta.as_millis()).unwrap_or(i64::MAX);
    let start_ms = end_ms.saturating_sub(lookback);
    let (mut context, entry) = ask.begin("federate").await?;

    // There is no room for a warning, and what is missing would be taken for gone.
    context.partial_response = ask.params.flag("partial_response", false)?;
    let mut found = ask
        .run(move |queries| {
            let mut found: Vec<Newest> = Vec::new();

            for matchers in matchers {
                let request = SelectRequest {
                    matchers,
                    start_ms,
                    end_ms,
                    hints: SelectHints::default(),
                };
                let set = queries.select(&context, &request)?;
                add_newest(&mut found, set, start_ms, end_ms)?;
            }

            Ok(found)
        })
        .await?;

    drop(entry);
    sort(&mut found);
    Ok(found)
}

/// Adds the newest sample of each series of a set, of those that have one in that time.
fn add_newest(
    found: &mut Vec<Newest>,
    set: SeriesSet,
    start_ms: i64,
    end_ms: i64,
) -> Result<(), SelectError> {
    let mut columns = Columns::default();
    for series in set.series {
        columns.clear();
        series.read(start_ms, end_ms, &mut columns)?;
        if let Some((t, value)) = last_of(&columns) {
            found.push(Newest {
                labels: series.labels().clone(),
                t,
                value,
            });
        }
    }

    Ok(())
}

/// Sorts by name, then by labels, and leaves each series once.
fn sort(found: &mut Vec<Newest>) {
    found.sort_by(|a, b| {
        let by_name = a.labels.metric_name().cmp(b.labels.metric_name());
        by_name.then_with(|| a.labels.cmp(&b.labels))
    });
    found.dedup_by(|a, b| a.labels == b.labels);
}

fn expose(found: &[Newest], format: Format, escaping: Escaping) -> Vec<u8> {
    match format {
        Format::Text => text::expose(found, escaping),
        Format::Protobuf(form) => protobuf::expose(found, escaping, form),
    }
}

/// See [`crate::fuzzing::federate`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let (format, escaping) = negotiate(parts.next().unwrap_or_default());

    let mut found = fuzzed_series(parts);
    sort(&mut found);

    let body = expose(&found, format, escaping);
    if format == Format::Text {
        check_lines(&found, body);
    }
}

/// Series of what three parts each hold: the metric's name, and name and value of a label.
fn fuzzed_series<'a>(mut parts: impl Iterator<Item = &'a str>) -> Vec<Newest> {
    let mut found = Vec::new();
    while let (Some(metric), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) {
        if metric.is_empty() || name.is_empty() || value.is_empty() || name == METRIC_NAME {
            continue;
        }

        let labels = Labels::from_pairs([(METRIC_NAME, metric), (name, value)]);
        let n = found.len() as f64;
        let t = found.len() as i64;
        let h = FloatHistogram {
            count: n,
            ..FloatHistogram::default()
        };
        let value = if t % 3 == 2 {
            Value::Histogram(Arc::new(h))
        } else {
            Value::Float(n)
        };

        found.push(Newest { labels, t, value });
    }

    found
}

/// Whatever is in a name or value, each series has one line, and each name one before it.
fn check_lines(found: &[Newest], body: Vec<u8>) {
    let floats: Vec<_> = found
        .iter()
        .filter(|newest| matches!(newest.value, Value::Float(_)))
        .map(|newest| newest.labels.metric_name())
        .collect();
    let names: BTreeSet<_> = floats.iter().collect();

    let body = String::from_utf8(body).expect("the text format is text");
    assert_eq!(
        body.split_terminator('\n').count(),
        floats.len() + names.len(),
        "{body}"
    );
}

/// The newest sample, unless it is a stale marker.
fn last_of(columns: &Columns) -> Option<(i64, Value)> {
    let float = columns
        .float_t
        .last()
        .copied()
        .zip(columns.float_v.last().copied());

    let histogram = columns.histograms.last();
    match (float, histogram) {
        (Some((t, v)), h) if h.is_none_or(|h| h.t < t) => {
            (!is_stale(v)).then_some((t, Value::Float(v)))
        }
        (_, Some(h)) => (!is_stale(h.h.sum)).then(|| (h.t, Value::Histogram(Arc::clone(&h.h)))),
        _ => None,
    }
}
