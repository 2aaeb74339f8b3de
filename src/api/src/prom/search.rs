//! `search/*`: names and values that match a few letters, in lines of JSON as they are found good enough.
//!
//! Everything is bounded: terms, results, the length of a line. Metadata is what senders wrote to us.
//!
//! | module | what |
//! |---|---|
//! | `request` | parameters and their errors |
//! | `score` | how well a text matches a term |
//! | `family` | whose metadata is that of a series' name |

mod family;
mod request;
mod score;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};
use trireme_model::{METRIC_NAME, MetricMetadata};
use trireme_query::{Found, QueryContext, QueryError, Selection};

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::params::Params;
use family::Families;
use request::{Request, Sort, What};

pub(crate) async fn metric_names(ask: Ask) -> Answer {
    search(ask, What::MetricNames).await
}

pub(crate) async fn label_names(ask: Ask) -> Answer {
    search(ask, What::LabelNames).await
}

pub(crate) async fn label_values(ask: Ask) -> Answer {
    search(ask, What::LabelValues).await
}

/// See [`crate::fuzzing::search`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let (encoded, text) = bytes.split_at(
        bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(bytes.len()),
    );

    let text = String::from_utf8_lossy(text);
    let Ok(params) = Params::of_encoded(encoded) else {
        return;
    };

    for what in [What::MetricNames, What::LabelNames, What::LabelValues] {
        let Ok(request) = Request::of(&params, what, 1_700_000_000_000) else {
            continue;
        };
        assert!((1..=request.limit).contains(&request.batch), "{request:?}");
        if let Some(score) = request.score(&text) {
            assert!(
                score > 0.0 && score <= 1.0,
                "{score} for {text:?} by {request:?}"
            );
        }
    }
}

async fn search(ask: Ask, what: What) -> Answer {
    if !ask.state.settings.features.search_api {
        let body = json!({ "status": "error", "errorType": "unavailable", "error": "search API disabled" });
        return Ok(HttpResponse::build(StatusCode::INTERNAL_SERVER_ERROR).json(body));
    }

    let request = Request::read(&ask, what).await?;
    let (context, entry) = ask.begin(what.as_str()).await?;
    let asked = request.clone();
    let answered = ask.run(move |queries| {
        let texts = texts(queries, &context, &asked)?;
        let metadata = if asked.metadata {
            queries.metadata(&context, None)?
        } else {
            Vec::new()
        };
        Ok((texts, metadata))
    });

    let (found, metadata) = answered.await?;
    drop(entry);
    let mut response = HttpResponse::Ok();

    response.content_type("application/x-ndjson; charset=utf-8");
    let lines = lines(&request, found, metadata);
    Ok(answer::bytes(response, &ask.state, &ask.tenant, lines)?)
}

fn texts(
    queries: &dyn trireme_query::Queries,
    context: &QueryContext,
    request: &Request,
) -> Result<Found<String>, QueryError> {
    let selection: &Selection = &request.selection;
    match request.what {
        What::MetricNames => queries.label_values(context, METRIC_NAME, selection),
        What::LabelNames => queries.label_names(context, selection),
        What::LabelValues => queries.label_values(context, &request.label, selection),
    }
}

/// A text and how well it matches.
struct Hit {
    text: String,
    score: f64,
}

/// The best `limit` of the texts in the order asked for, and whether there are more.
fn choose(request: &Request, texts: Vec<String>) -> (Vec<Hit>, bool) {
    let hits = texts.into_iter().filter_map(|text| {
        let score = request.score(&text)?;
        Some(Hit { text, score })
    });

    let mut hits: Vec<Hit> = hits.collect();
    match request.sort {
        // As they come.
        Sort::Rising => {}
        Sort::Falling => hits.reverse(),
        Sort::Score => hits.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| a.text.cmp(&b.text))
        }),
    }

    let more = hits.len() > request.limit;
    hits.truncate(request.limit);
    (hits, more)
}

/// The whole answer.
fn lines(
    request: &Request,
    found: Found<String>,
    metadata: Vec<(String, Vec<MetricMetadata>)>,
) -> Vec<u8> {
    let (hits, more) = choose(request, found.items);
    let families = Families::new(&metadata);
    let records: Vec<Value> = hits
        .iter()
        .map(|hit| record(request, hit, &families))
        .collect();

    let mut lines: Vec<u8> = Vec::new();
    let mut warnings = Some(found.warnings).filter(|w| !w.is_empty());
    let batches: Vec<&[Value]> = match records.is_empty() {
        true => vec![&[]],
        false => records.chunks(request.batch).collect(),
    };

    for batch in batches {
        let mut line = json!({ "results": batch });
        if let Some(warnings) = warnings.take() {
            line["warnings"] = json!(warnings);
        }
        push_line(&mut lines, &line);
    }

    let end = json!({ "status": "success", "has_more": more });
    push_line(&mut lines, &end);
    lines
}

fn push_line(lines: &mut Vec<u8>, line: &Value) {
    lines.extend_from_slice(format!("{line}\n").as_bytes());
}

fn record(request: &Request, hit: &Hit, families: &Families<'_>) -> Value {
    let mut out = Map::new();
    let key = if request.what == What::LabelValues {
        "value"
    } else {
        "name"
    };

    out.insert(key.to_owned(), Value::from(hit.text.as_str()));
    if request.show_score {
        out.insert("score".to_owned(), Value::from(hit.score));
    }

    if let Some(entry) = families.of(&hit.text) {
        out.insert("type".to_owned(), Value::from(entry.kind.as_str()));
        out.insert("help".to_owned(), Value::from(entry.help.as_str()));
        out.insert("unit".to_owned(), Value::from(entry.unit.as_str()));
    }

    Value::Object(out)
}

/// A parameter that cannot be used, in the words of this API.
fn invalid(why: impl Into<String>) -> ApiError {
    ApiError::invalid(why)
}
