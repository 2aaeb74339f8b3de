//! Between the engine's types and messages. What comes from a peer is checked: it may be of another version.

mod find;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::{FloatHistogram, Labels, ResetHint, Span};
use trireme_promql::ast::PosRange;
use trireme_promql::{
    Partial, PartialGroup, PartialHistogram, PartialNote, PartialRow, Partials, QueryResult,
    QueryStats, Sample, SampleValue, Series, Value,
};

use super::message as wire;
pub(crate) use find::{
    columns_in, columns_out, exemplars_in, exemplars_out, items_out, matchers_in, metadata_in,
    metadata_out, samples_out, series_labels_in, series_labels_out,
};

/// What is wrong with a message.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("a replica's message cannot be used: {0}")]
pub(crate) struct BadMessage(pub(crate) String);

pub(super) fn bad(what: impl ToString) -> BadMessage {
    BadMessage(what.to_string())
}

pub(crate) fn positions_out(positions: &[(StreamId, u64)]) -> Vec<wire::Position> {
    positions
        .iter()
        .map(|(stream, seq): &(StreamId, u64)| wire::Position {
            incarnation: stream.incarnation.0,
            boot: stream.boot.0,
            seq: *seq,
        })
        .collect()
}

pub(crate) fn positions_in(positions: &[wire::Position]) -> Vec<(StreamId, u64)> {
    let stream = |p: &wire::Position| StreamId {
        incarnation: Incarnation(p.incarnation),
        boot: Boot(p.boot),
    };
    positions.iter().map(|p| (stream(p), p.seq)).collect()
}

pub(crate) fn pos_out(pos: PosRange) -> u64 {
    u64::from(pos.start) << 32 | u64::from(pos.end)
}

pub(crate) fn pos_in(pos: u64) -> PosRange {
    PosRange {
        start: (pos >> 32) as u32,
        end: pos as u32,
    }
}

/// A switch that may be left as it is.
pub(crate) fn switch_out(on: Option<bool>) -> u32 {
    match on {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
}

pub(crate) fn switch_in(on: u32) -> Option<bool> {
    match on {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    }
}

/// Numbers of [`stats_out`] before those of the steps.
const STATS: usize = 5;

fn stats_out(s: &QueryStats) -> Vec<u64> {
    let prepare_ns = u64::try_from(s.prepare.as_nanos()).unwrap_or(u64::MAX);
    let mut out = vec![
        s.total_samples,
        s.samples_read,
        s.peak_samples,
        s.series,
        prepare_ns,
    ];

    out.extend(
        s.by_step
            .iter()
            .flat_map(|(t, total, read)| [*t as u64, *total, *read]),
    );

    out
}

fn stats_in(s: &[u64]) -> QueryStats {
    let at = |i: usize| s.get(i).copied().unwrap_or(0);
    let steps = s.get(STATS..).unwrap_or_default().chunks_exact(3);
    QueryStats {
        total_samples: at(0),
        samples_read: at(1),
        peak_samples: at(2),
        series: at(3),
        prepare: Duration::from_nanos(at(4)),
        by_step: steps
            .map(|step| (step[0] as i64, step[1], step[2]))
            .collect(),
    }
}

pub(super) fn histogram_out(h: &FloatHistogram) -> wire::Histogram {
    let spans = |spans: &[Span]| {
        spans
            .iter()
            .flat_map(|s| [i64::from(s.offset), i64::from(s.length)])
            .collect()
    };
    wire::Histogram {
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        count: h.count,
        sum: h.sum,
        positive_spans: spans(&h.positive_spans),
        positive_buckets: h.positive_buckets.clone(),
        negative_spans: spans(&h.negative_spans),
        negative_buckets: h.negative_buckets.clone(),
        custom_values: h.custom_values.clone(),
        is_integer: false,
    }
}

pub(super) fn histogram_in(h: wire::Histogram) -> Result<FloatHistogram, BadMessage> {
    let spans = |flat: &[i64], buckets: usize| -> Result<Vec<Span>, BadMessage> {
        let spans: Option<Vec<Span>> = flat
            .chunks_exact(2)
            .map(|pair: &[i64]| {
                Some(Span {
                    offset: pair[0].try_into().ok()?,
                    length: pair[1].try_into().ok()?,
                })
            })
            .collect();

        let spans = spans.filter(|s| {
            flat.len().is_multiple_of(2)
                && s.iter().map(|s| s.length as usize).sum::<usize>() == buckets
        });

        spans.ok_or_else(|| bad("spans and buckets of a histogram do not fit"))
    };
    Ok(FloatHistogram {
        reset_hint: match h.reset_hint {
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        count: h.count,
        sum: h.sum,
        positive_spans: spans(&h.positive_spans, h.positive_buckets.len())?,
        positive_buckets: h.positive_buckets,
        negative_spans: spans(&h.negative_spans, h.negative_buckets.len())?,
        negative_buckets: h.negative_buckets,
        custom_values: h.custom_values,
    })
}

pub(super) fn labels_in(bytes: &[u8]) -> Result<Labels, BadMessage> {
    Labels::from_wire(bytes).map_err(bad)
}

pub(crate) fn partials_out(partials: &Partials) -> wire::Answer {
    let nodes = partials.nodes.iter().map(|node| wire::Node {
        pos: pos_out(node.pos),
        steps: node.steps as u32,
        groups: node.groups.iter().map(group_out).collect(),
        rows: node.rows.iter().map(row_out).collect(),
        notes: node.notes.iter().map(note_out).collect(),
    });
    wire::Answer {
        nodes: nodes.collect(),
        stats: stats_out(&partials.stats),
        ..wire::Answer::default()
    }
}

pub(crate) fn partials_in(answer: wire::Answer) -> Result<Partials, BadMessage> {
    let node = |node: wire::Node| -> Result<Partial, BadMessage> {
        Ok(Partial {
            pos: pos_in(node.pos),
            steps: node.steps as usize,
            groups: node
                .groups
                .into_iter()
                .map(group_in)
                .collect::<Result<_, _>>()?,
            rows: node
                .rows
                .into_iter()
                .map(row_in)
                .collect::<Result<_, _>>()?,
            notes: node.notes.into_iter().map(note_in).collect(),
        })
    };

    let stats = stats_in(&answer.stats);
    Ok(Partials {
        nodes: answer
            .nodes
            .into_iter()
            .map(node)
            .collect::<Result<_, _>>()?,
        stats,
    })
}

fn note_out(note: &PartialNote) -> wire::Note {
    wire::Note {
        warning: note.warning,
        text: note.text.clone(),
        pos: note.pos.map(pos_out),
    }
}

fn note_in(note: wire::Note) -> PartialNote {
    PartialNote {
        warning: note.warning,
        text: note.text,
        pos: note.pos.map(pos_in),
    }
}

fn group_out(group: &PartialGroup) -> wire::Group {
    let histogram = |h: &PartialHistogram| {
        let flags = [h.incremental, h.reset_seen, h.not_reset_seen, h.reconciled];
        wire::GroupHistogram {
            step: h.step,
            sum: Some(histogram_out(&h.sum[0])),
            rest: Some(histogram_out(&h.sum[1])),
            count: h.count,
            flags: flags
                .iter()
                .enumerate()
                .map(|(bit, flag)| u32::from(*flag) << bit)
                .sum(),
        }
    };
    wire::Group {
        labels: group.labels.as_bytes().to_vec(),
        first: group.first.as_bytes().to_vec(),
        drop_name: group.drop_name,
        seen: group.seen.clone(),
        values: group.values.clone(),
        compensations: group.compensations.clone(),
        counts: group.counts.clone(),
        histograms: group.histograms.iter().map(histogram).collect(),
    }
}

fn group_in(group: wire::Group) -> Result<PartialGroup, BadMessage> {
    let histogram = |h: wire::GroupHistogram| -> Result<PartialHistogram, BadMessage> {
        let flag = |bit: u32| h.flags >> bit & 1 == 1;
        let missing = || bad("a sum of histograms is missing");
        let sum = histogram_in(h.sum.ok_or_else(missing)?)?;
        Ok(PartialHistogram {
            step: h.step,
            sum: [sum, histogram_in(h.rest.ok_or_else(missing)?)?],
            count: h.count,
            incremental: flag(0),
            reset_seen: flag(1),
            not_reset_seen: flag(2),
            reconciled: flag(3),
        })
    };
    Ok(PartialGroup {
        labels: labels_in(&group.labels)?,
        first: labels_in(&group.first)?,
        drop_name: group.drop_name,
        seen: group.seen,
        values: group.values,
        compensations: group.compensations,
        counts: group.counts,
        histograms: group
            .histograms
            .into_iter()
            .map(histogram)
            .collect::<Result<_, _>>()?,
    })
}

fn row_out(row: &PartialRow) -> wire::Row {
    wire::Row {
        labels: row.labels.as_bytes().to_vec(),
        drop_name: row.drop_name,
        at: row
            .floats
            .iter()
            .map(|(step, _)| i64::from(*step))
            .collect(),
        values: row.floats.iter().map(|(_, v)| *v).collect(),
        histograms_at: row
            .histograms
            .iter()
            .map(|(step, _)| i64::from(*step))
            .collect(),
        histograms: row
            .histograms
            .iter()
            .map(|(_, h)| histogram_out(h))
            .collect(),
        ..wire::Row::default()
    }
}

fn row_in(row: wire::Row) -> Result<PartialRow, BadMessage> {
    let drop_name = row.drop_name;
    let series = series_in(row)?;
    let step = |at: i64| u32::try_from(at).map_err(bad);

    Ok(PartialRow {
        labels: series.labels,
        drop_name,
        floats: series
            .floats
            .into_iter()
            .map(|(t, v)| Ok((step(t)?, v)))
            .collect::<Result<_, BadMessage>>()?,
        histograms: series
            .histograms
            .into_iter()
            .map(|(t, h)| Ok((step(t)?, h)))
            .collect::<Result<_, BadMessage>>()?,
    })
}

fn series_out(series: &Series) -> wire::Row {
    wire::Row {
        labels: series.labels.as_bytes().to_vec(),
        drop_name: false,
        at: series.floats.iter().map(|(t, _)| *t).collect(),
        values: series.floats.iter().map(|(_, v)| *v).collect(),
        histograms_at: series.histograms.iter().map(|(t, _)| *t).collect(),
        histograms: series
            .histograms
            .iter()
            .map(|(_, h)| histogram_out(h))
            .collect(),
        ..wire::Row::default()
    }
}

fn series_in(row: wire::Row) -> Result<Series, BadMessage> {
    if row.at.len() != row.values.len() || row.histograms_at.len() != row.histograms.len() {
        return Err(bad("a series has columns of different lengths"));
    }

    let histograms = row
        .histograms
        .into_iter()
        .map(|h| histogram_in(h).map(Arc::new));
    let histograms = histograms.collect::<Result<Vec<_>, _>>()?;

    Ok(Series {
        labels: labels_in(&row.labels)?,
        floats: row.at.into_iter().zip(row.values).collect(),
        histograms: row.histograms_at.into_iter().zip(histograms).collect(),
    })
}

/// `None` if it would have more than `bytes_max` bytes.
pub(crate) fn whole_out(result: &QueryResult, bytes_max: usize) -> Option<wire::Answer> {
    let mut whole = wire::Whole {
        warnings: result.warnings.clone(),
        infos: result.infos.clone(),
        ..wire::Whole::default()
    };

    match &result.value {
        Value::Scalar { t, v } => (whole.kind, whole.t, whole.v) = (1, *t, *v),
        Value::String { t, v } => (whole.kind, whole.t, whole.text) = (2, *t, v.clone()),
        Value::Vector(samples) => {
            whole.kind = 3;
            whole.rows = rows_within(samples.iter().map(|s| series_out(&series_of(s))), bytes_max)?;
        }
        Value::Matrix(series) => {
            whole.kind = 4;
            whole.rows = rows_within(series.iter().map(series_out), bytes_max)?;
        }
    }

    Some(wire::Answer {
        whole: Some(whole),
        stats: stats_out(&result.stats),
        ..wire::Answer::default()
    })
}

/// The rows, unless they have more bytes than `bytes_max`; then they are made no further.
fn rows_within(rows: impl Iterator<Item = wire::Row>, bytes_max: usize) -> Option<Vec<wire::Row>> {
    let mut within = Vec::new();

    let mut bytes = 0;
    for row in rows {
        bytes += row.encoded_len();
        if bytes > bytes_max {
            return None;
        }
        within.push(row);
    }

    Some(within)
}

fn series_of(sample: &Sample) -> Series {
    let mut floats = Vec::new();

    let mut histograms = Vec::new();
    match &sample.value {
        SampleValue::Float(v) => floats.push((sample.t, *v)),
        SampleValue::Histogram(h) => histograms.push((sample.t, Arc::clone(h))),
    }

    Series {
        labels: sample.labels.clone(),
        floats,
        histograms,
    }
}

pub(crate) fn whole_in(answer: wire::Answer) -> Result<QueryResult, BadMessage> {
    let stats = stats_in(&answer.stats);
    let whole = answer.whole.ok_or_else(|| bad("no result"))?;
    let rows = whole
        .rows
        .into_iter()
        .map(series_in)
        .collect::<Result<Vec<_>, _>>()?;

    let sample = |mut series: Series| {
        let (t, value) = match (series.floats.pop(), series.histograms.pop()) {
            (Some((t, v)), _) => (t, SampleValue::Float(v)),
            (None, Some((t, h))) => (t, SampleValue::Histogram(h)),
            (None, None) => return Err(bad("an element has no value")),
        };
        Ok(Sample {
            labels: series.labels,
            t,
            value,
        })
    };

    let value = match whole.kind {
        1 => Value::Scalar {
            t: whole.t,
            v: whole.v,
        },
        2 => Value::String {
            t: whole.t,
            v: whole.text,
        },
        3 => Value::Vector(rows.into_iter().map(sample).collect::<Result<_, _>>()?),
        4 => Value::Matrix(rows),
        other => return Err(bad(format!("result of kind {other}"))),
    };

    Ok(QueryResult {
        value,
        warnings: whole.warnings,
        infos: whole.infos,
        stats,
    })
}
