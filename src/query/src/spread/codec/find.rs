//! Matchers, and what replicas find with them.

use std::sync::Arc;

use trireme_model::{Labels, MatchOp, Matcher};
use trireme_promql::{Columns, HistogramPoint};

use super::{BadMessage, bad, histogram_in, histogram_out, labels_in, wire};

pub(crate) fn matchers_out(sets: &[Vec<Matcher>]) -> Vec<wire::MatcherSet> {
    let matcher = |m: &Matcher| wire::Matcher {
        name: m.name.to_string(),
        op: m.op.as_str().to_owned(),
        value: m.value.to_string(),
    };
    sets.iter().map(|set| wire::MatcherSet { matchers: set.iter().map(matcher).collect() }).collect()
}

pub(crate) fn matchers_in(sets: &[wire::MatcherSet]) -> Result<Vec<Vec<Matcher>>, BadMessage> {
    let matcher = |m: &wire::Matcher| {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let op = ops.into_iter().find(|op| op.as_str() == m.op);
        let op = op.ok_or_else(|| bad(format!("{:?} is no operator of a matcher", m.op)))?;
        Matcher::new(m.name.as_str(), op, m.value.as_str()).map_err(bad)
    };
    sets.iter().map(|set| set.matchers.iter().map(matcher).collect()).collect()
}

pub(crate) fn series_labels_out(labels: &Labels) -> wire::Row {
    wire::Row { labels: labels.as_bytes().to_vec(), ..wire::Row::default() }
}

pub(crate) fn series_labels_in(row: &wire::Row) -> Result<Labels, BadMessage> {
    labels_in(&row.labels)
}

pub(crate) fn columns_out(labels: &Labels, columns: &Columns) -> wire::Row {
    let starts = columns.histograms.iter().map(|p| p.st);
    wire::Row {
        at: columns.float_t.clone(),
        values: columns.float_v.clone(),
        starts: columns.float_st.clone(),
        histograms_at: columns.histograms.iter().map(|p| p.t).collect(),
        histograms: columns.histograms.iter().map(|p| histogram_out(&p.h)).collect(),
        histogram_starts: starts.collect(),
        ..series_labels_out(labels)
    }
}

pub(crate) fn columns_in(row: wire::Row) -> Result<(Labels, Columns), BadMessage> {
    let labels = labels_in(&row.labels)?;
    let (floats, histograms) = (row.at.len(), row.histograms_at.len());
    let rises = |times: &[i64]| times.windows(2).all(|w| w[0] < w[1]);
    let fits = row.values.len() == floats
        && [0, floats].contains(&row.starts.len())
        && row.histograms.len() == histograms
        && row.histogram_starts.len() == histograms;
    if !fits || !rises(&row.at) || !rises(&row.histograms_at) {
        return Err(bad("a series has columns of different lengths, or times that do not rise"));
    }
    let times = row.histograms_at.into_iter().zip(row.histogram_starts);
    let point = |((t, st), h): ((i64, i64), wire::Histogram)| {
        Ok(HistogramPoint { t, st, h: Arc::new(histogram_in(h)?) })
    };
    let histograms = times.zip(row.histograms).map(point).collect::<Result<_, BadMessage>>()?;
    Ok((labels, Columns { float_t: row.at, float_v: row.values, float_st: row.starts, histograms }))
}
