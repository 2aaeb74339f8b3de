//! `GET /federate`: the newest sample of each chosen series in the text exposition format.

use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use trireme_model::{Labels, METRIC_NAME, is_stale};
use trireme_promql::{Columns, SelectHints, SelectRequest};

use crate::ask::Ask;
use crate::json;

/// Adds the path.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/federate").route(web::get().to(federate)));
}

/// Errors are plain text here, as a scraper expects.
async fn federate(ask: Ask) -> HttpResponse {
    match answer(&ask).await {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(e) => {
            let status = actix_web::ResponseError::status_code(&e);
            HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(format!("{e}\n"))
        }
    }
}

async fn answer(ask: &Ask) -> Result<String, crate::error::ApiError> {
    let matchers = ask.any_matchers()?;
    let end_ms = ask.state.clock.now_ms();
    let lookback = i64::try_from(ask.state.settings.lookback_delta.as_millis()).unwrap_or(i64::MAX);
    let start_ms = end_ms.saturating_sub(lookback);
    let (context, entry) = ask.begin("federate")?;
    let mut found = ask
        .run(move |queries| {
            let mut found: Vec<(Labels, i64, f64)> = Vec::new();
            let mut columns = Columns::default();
            for matchers in matchers {
                let request = SelectRequest { matchers, start_ms, end_ms, hints: SelectHints::default() };
                for series in queries.select(&context, &request)?.series {
                    columns.clear();
                    series.read(start_ms, end_ms, &mut columns)?;
                    let newest = columns.float_t.last().zip(columns.float_v.last());
                    // The text format has no native histograms; a series that ends in one has nothing to show.
                    let histogram = columns.histograms.last().map(|h| h.t);
                    if let Some((t, v)) =
                        newest.filter(|(t, v)| !is_stale(**v) && histogram.is_none_or(|h| h < **t))
                    {
                        found.push((series.labels().clone(), *t, *v));
                    }
                }
            }
            Ok(found)
        })
        .await?;
    drop(entry);
    found.sort_by(|a, b| a.0.metric_name().cmp(b.0.metric_name()).then_with(|| a.0.cmp(&b.0)));
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(expose(&found))
}

fn expose(found: &[(Labels, i64, f64)]) -> String {
    let mut out = String::new();
    let mut last = None;
    for (labels, t, v) in found {
        let name = labels.metric_name();
        if last != Some(name) {
            let _ = writeln!(out, "# TYPE {name} untyped");
            last = Some(name);
        }
        out.push_str(name);
        let mut separator = '{';
        for (n, value) in labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
            let _ = write!(out, "{separator}{n}=\"{}\"", escape(value));
            separator = ',';
        }
        // Prometheus adds an empty instance, so that the scraper does not put its own there.
        if labels.get("instance").is_none() {
            let _ = write!(out, "{separator}instance=\"\"");
        }
        let mut number = Vec::new();
        json::push_float(&mut number, *v);
        let _ = writeln!(out, "}} {} {t}", String::from_utf8_lossy(&number));
    }
    out
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_text_format() {
        let found = [
            (Labels::from_pairs([("__name__", "a"), ("x", "q\"\n")]), 1, 1.5),
            (Labels::from_pairs([("__name__", "a"), ("instance", "i")]), 2, f64::INFINITY),
        ];
        let want = "# TYPE a untyped\na{x=\"q\\\"\\n\",instance=\"\"} 1.5 1\na{instance=\"i\"} +Inf 2\n";
        assert_eq!(expose(&found), want);
    }
}
