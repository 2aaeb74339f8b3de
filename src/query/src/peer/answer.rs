//! The other end: answers a member's question from what this node holds itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use trireme_base::ErrorKind;
use trireme_model::{MatchOp, Matcher, Tenant};
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectHints, SelectRequest};
use trireme_wire::snappy;

use super::message::{Answer, Op, PeerSeries, Request};
use crate::guarded::Guarded;
use crate::source::Catalog;
use crate::{Notes, QueryContext, QueryError, SourceError};

/// Answers a request of [`super::PeerSource`]; over `samples_max` samples it is refused. Blocks: call it on the CPU pool.
pub fn answer_peer(
    catalog: &Arc<dyn Catalog>,
    request: &[u8],
    samples_max: usize,
    cancel: &Cancel,
) -> Result<Vec<u8>, QueryError> {
    let request = Request::decode(request).map_err(|e| QueryError::invalid(e.to_string()))?;
    let tenant = Tenant::new(&request.tenant).map_err(|e| QueryError::invalid(e.to_string()))?;
    let matchers = request.matchers.iter().map(from_message).collect::<Result<Vec<_>, _>>()?;
    let cancel = cancel.with_timeout(Duration::from_millis(request.timeout_ms));
    let mut context = QueryContext::new(tenant, cancel.clone());
    context.local_only = true;
    let notes = Notes::default();
    let storage = Guarded::new(Arc::clone(catalog), context, notes.clone());
    let (start_ms, end_ms) = (request.start_ms, request.end_ms);
    let mut answer = Answer::default();
    if request.op == Op::Select as i32 {
        let select = SelectRequest { matchers, start_ms, end_ms, hints: SelectHints::default() };
        answer.series = series(&storage, &select, samples_max, &cancel)?;
    } else {
        let mut texts = BTreeSet::new();
        let merged = storage.sources(start_ms, end_ms)?;
        for source in merged.overlapping(start_ms, end_ms) {
            cancel.check().map_err(SourceError::from)?;
            let found = match request.op {
                op if op == Op::LabelNames as i32 => source.label_names(&matchers, start_ms, end_ms),
                op if op == Op::LabelValues as i32 => {
                    source.label_values(&request.name, &matchers, start_ms, end_ms)
                }
                op => return Err(QueryError::invalid(format!("question {op} is unknown to this node"))),
            };
            match found {
                Ok(found) => texts.extend(found),
                Err(e) => merged.forgive(source.as_ref(), e)?,
            }
        }
        answer.texts = texts.into_iter().collect();
    }
    answer.warnings = notes.take();
    snappy::deflate(&answer.encode_to_vec()).map_err(|e| QueryError::new(e.kind(), e.to_string()))
}

fn series(
    storage: &Guarded,
    request: &SelectRequest,
    samples_max: usize,
    cancel: &Cancel,
) -> Result<Vec<PeerSeries>, QueryError> {
    let (mut out, mut columns, mut left) = (Vec::new(), Columns::default(), samples_max);
    for series in storage.select(request, cancel)?.series {
        cancel.check().map_err(SelectError::from)?;
        columns.clear();
        series.read(request.start_ms, request.end_ms, &mut columns)?;
        left = left.checked_sub(columns.len()).ok_or_else(|| {
            QueryError::new(ErrorKind::TooLarge, format!("the answer has more than {samples_max} samples"))
        })?;
        if !columns.is_empty() {
            out.push(PeerSeries::new(series.labels(), &columns));
        }
    }
    Ok(out)
}

fn from_message(m: &trireme_wire::prompb::read::LabelMatcher) -> Result<Matcher, QueryError> {
    let op = match m.r#type {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(QueryError::invalid(format!("matcher type {other} is unknown"))),
    };
    Matcher::new(&m.name, op, &m.value).map_err(|e| QueryError::invalid(e.to_string()))
}
