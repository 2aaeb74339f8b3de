//! `GET /api/v1/export`: raw samples as JSON lines.
//!
//! One line per series, `{"metric":{},"values":[],"timestamps":[]}`; a series with very many samples continues on further
//! lines of the same labels. Timestamps are milliseconds. Values are JSON numbers in shortest form, or the texts `NaN`,
//! `Infinity`, `-Infinity` and `StaleNaN`. Native histograms stand in `"histograms"` beside their own
//! `"histogram_timestamps"`; the sum of a stale one is `StaleNaN`.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use trireme_model::is_stale;
use trireme_promql::{Columns, SelectHints, SelectRequest, SeriesRead};
use trireme_query::{Queries, QueryContext, QueryError, Selection};

use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_array, push_labels, push_raw_histogram, put};
use crate::prom::Answer;
use crate::selected::{PIECE_BYTES, Produce, respond};

/// Samples of one line.
const LINE_SAMPLES_MAX: usize = 10_000;

/// Adds the path.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/api/v1/export")
            .route(web::get().to(export))
            .route(web::post().to(export)),
    );
}

async fn export(ask: Ask) -> Answer {
    let selection = ask.selection().await?.ok_or_else(|| {
        ApiError::parameter("end", "end timestamp must not be before start timestamp")
    })?;
    if selection.matchers.is_empty() {
        return Err(ApiError::invalid("no match[] parameter provided"));
    }

    let (context, stream) = ask.stream("export").await?;
    let queries = Arc::clone(&ask.state.queries);
    let (lines, warnings) = stream
        .step(&ask.state, move || {
            open(queries.as_ref(), &context, selection)
        })
        .await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/stream+json; charset=utf-8");

    // The lines have no room for warnings, so an incomplete export says so in a header.
    if let Some(warning) = warnings.first() {
        response.insert_header(("X-Trireme-Warning", header_text(warning)));
    }

    Ok(respond(response, &ask.state, lines, stream).await?)
}

/// Selects the series to export: their lines, and warnings.
fn open(
    queries: &dyn Queries,
    context: &QueryContext,
    selection: Selection,
) -> Result<(Lines, Vec<String>), QueryError> {
    let start_ms = selection.start_ms;
    let end_ms = selection.end_ms;

    let mut sets = Vec::with_capacity(selection.matchers.len());
    for matchers in selection.matchers {
        let request = SelectRequest {
            matchers,
            start_ms,
            end_ms,
            hints: SelectHints::default(),
        };
        sets.push(queries.select(context, &request)?);
    }

    let warnings: Vec<_> = sets.iter().flat_map(|s| s.warnings.clone()).collect();
    let mut series: Vec<_> = sets.into_iter().flat_map(|s| s.series).collect();

    // Several selectors may choose the same series.
    series.sort_by(|a, b| a.labels().cmp(b.labels()));
    series.dedup_by(|a, b| a.labels() == b.labels());

    if let Some(warning) = warnings.first().filter(|_| !context.partial_response) {
        return Err(QueryError::new(
            trireme_base::ErrorKind::Unavailable,
            warning.clone(),
        ));
    }

    let lines = Lines::new(series, context, start_ms, end_ms);
    Ok((lines, warnings))
}

/// As much of a text as fits into a header.
fn header_text(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(500)
        .collect()
}

/// Writes series as lines.
struct Lines {
    series: std::vec::IntoIter<Box<dyn SeriesRead>>,
    cancel: trireme_promql::Cancel,
    start_ms: i64,
    end_ms: i64,
    columns: Columns,
    /// What of the present series is not written yet.
    open: Option<(Box<dyn SeriesRead>, usize)>,
}

impl Lines {
    fn new(
        series: Vec<Box<dyn SeriesRead>>,
        context: &QueryContext,
        start_ms: i64,
        end_ms: i64,
    ) -> Self {
        let cancel = context.cancel.clone();
        Self {
            series: series.into_iter(),
            cancel,
            start_ms,
            end_ms,
            columns: Columns::default(),
            open: None,
        }
    }

    /// Writes the next line of the open series from float `at` on; histograms go with the first line.
    fn line(&self, out: &mut Vec<u8>, series: &dyn SeriesRead, at: usize) -> usize {
        let end = (at + LINE_SAMPLES_MAX).min(self.columns.float_t.len());
        out.extend_from_slice(b"{\"metric\":");
        push_labels(out, series.labels());
        out.extend_from_slice(b",\"values\":");
        push_array(out, &self.columns.float_v[at..end], |o, v| {
            push_value(o, *v)
        });
        out.extend_from_slice(b",\"timestamps\":");
        push_array(out, &self.columns.float_t[at..end], |o, t| {
            put(o, format_args!("{t}"))
        });

        if at == 0 && !self.columns.histograms.is_empty() {
            out.extend_from_slice(b",\"histograms\":");
            push_array(out, &self.columns.histograms, |o, p| {
                push_raw_histogram(o, &p.h)
            });
            out.extend_from_slice(b",\"histogram_timestamps\":");
            push_array(out, &self.columns.histograms, |o, p| {
                put(o, format_args!("{}", p.t))
            });
        }

        out.extend_from_slice(b"}\n");
        end
    }
}

impl Produce for Lines {
    fn produce(&mut self, out: &mut Vec<u8>) -> Result<bool, QueryError> {
        while out.len() < PIECE_BYTES {
            let (series, at) = match self.open.take() {
                Some(open) => open,
                None => {
                    let Some(series) = self.series.next() else {
                        return Ok(false);
                    };
                    self.cancel
                        .check()
                        .map_err(trireme_promql::SelectError::from)?;
                    self.columns.clear();
                    series.read(self.start_ms, self.end_ms, &mut self.columns)?;
                    if self.columns.is_empty() {
                        continue;
                    }
                    (series, 0)
                }
            };

            let end = self.line(out, series.as_ref(), at);
            if end < self.columns.float_t.len() {
                self.open = Some((series, end));
            }
        }
        Ok(true)
    }
}

/// A value as a JSON number if JSON can say it.
fn push_value(out: &mut Vec<u8>, v: f64) {
    if is_stale(v) {
        out.extend_from_slice(b"\"StaleNaN\"");
    } else if v.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    } else {
        crate::json::push_float(out, v);
    }
}
