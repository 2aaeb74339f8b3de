//! The samples of one series that several blocks hold, as one.
//!
//! The rule is that of queries and of the head: a sample is there once; of two values at one time, [`prefer`] decides; of two
//! histograms, a stale marker loses, then the greater count, sum, start and encoding wins; a histogram wins over a float.

use std::cmp::Ordering;
use std::sync::Arc;

use trireme_block::{Samples, SeriesInput};
use trireme_model::{AnyHistogram, HistogramSample, ResetHint, is_stale, prefer};
use trireme_wire::entry::encode_histogram;

/// A float with its time and start timestamp (ms, 0 for none).
type Float = (i64, f64, i64);

/// What one block has of a part of a series.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) samples: Samples,
    /// Time of its last histogram in the parts before (ms).
    pub(crate) last_histogram: Option<i64>,
}

/// Puts the union of all parts into `out`, each time once. `last_histogram` is the time of the union's last histogram in the
/// parts before, and is brought up to date, as is that of each part. The parts are used up.
pub(crate) fn unite(parts: &mut [Part], last_histogram: &mut Option<i64>, out: &mut SeriesInput) {
    out.clear();
    unite_floats(parts, out);
    unite_histograms(parts, *last_histogram, out);

    for part in parts {
        if let Some(last) = part.samples.histograms.last() {
            part.last_histogram = Some(last.t);
        }
        part.samples.clear();
    }

    if let Some(last) = out.histograms.last() {
        *last_histogram = Some(last.t);
    }
}

fn unite_floats(parts: &mut [Part], out: &mut SeriesInput) {
    let mut with: Vec<&mut Samples> = parts
        .iter_mut()
        .map(|part| &mut part.samples)
        .filter(|samples| !samples.times.is_empty())
        .collect();

    if let [only] = with.as_mut_slice() {
        swap_floats(only, out);
        return;
    }

    let all = in_order(&with);

    out.times.extend(all.iter().map(|(t, _, _)| *t));
    out.values.extend(all.iter().map(|(_, v, _)| *v));
    if all.iter().any(|(_, _, start)| *start != 0) {
        out.starts.extend(all.iter().map(|(_, _, start)| *start));
    }
}

fn swap_floats(samples: &mut Samples, out: &mut SeriesInput) {
    std::mem::swap(&mut out.times, &mut samples.times);
    std::mem::swap(&mut out.values, &mut samples.values);
    std::mem::swap(&mut out.starts, &mut samples.starts);
}

/// All floats in time order, each time once.
fn in_order(with: &[&mut Samples]) -> Vec<Float> {
    let floats = with.iter().flat_map(|samples| {
        (0..samples.times.len()).map(move |at| {
            let start = samples.starts.get(at).copied().unwrap_or(0);
            (samples.times[at], samples.values[at], start)
        })
    });
    let mut all: Vec<Float> = floats.collect();

    // Blocks of different windows follow each other, which a stable sort finds.
    all.sort_by_key(|(t, _, _)| *t);
    all.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            *kept = prefer_float(*kept, *later);
        }
        is_same
    });
    all
}

/// The winner's start timestamp; equal values keep the greater one.
fn prefer_float(a: Float, b: Float) -> Float {
    let value = prefer(a.1, b.1).to_bits();
    match (value == a.1.to_bits(), value == b.1.to_bits()) {
        (true, true) => (a.0, a.1, a.2.max(b.2)),
        (true, false) => a,
        _ => b,
    }
}

fn unite_histograms(parts: &[Part], last_histogram: Option<i64>, out: &mut SeriesInput) {
    let mut with = parts
        .iter()
        .filter(|part| !part.samples.histograms.is_empty());
    let (Some(first), second) = (with.next(), with.next()) else {
        return;
    };

    let all = &mut out.histograms;
    if second.is_none() {
        all.extend_from_slice(&first.samples.histograms);
    } else {
        unite_many(parts, all);
    }

    // A block says of a sample that it follows a reset of the one before it there. That says nothing where the union has
    // another one before it.
    for at in 0..all.len() {
        if hint_of(&all[at].h) != ResetHint::Reset {
            continue;
        }

        let t = all[at].t;
        let previous = at
            .checked_sub(1)
            .map_or(last_histogram, |at| Some(all[at].t));

        let mut parts = parts.iter();
        if !parts.any(|part| tells_reset(part, t) && part.time_before(t) == previous) {
            forget_reset(&mut all[at].h);
        }
    }
}

/// The histograms of several parts in time order, each time once.
fn unite_many(parts: &[Part], all: &mut Vec<HistogramSample>) {
    all.extend(
        parts
            .iter()
            .flat_map(|part| part.samples.histograms.iter().cloned()),
    );
    all.sort_by(|a, b| a.t.cmp(&b.t).then_with(|| order(b, a)));
    all.dedup_by_key(|sample| sample.t);
}

/// True if a part says of its sample at `t` that it follows a reset.
fn tells_reset(part: &Part, t: i64) -> bool {
    let list = &part.samples.histograms;
    let found = list.binary_search_by_key(&t, |sample| sample.t);
    found.is_ok_and(|own| hint_of(&list[own].h) == ResetHint::Reset)
}

impl Part {
    /// Time of its last histogram before `t`.
    fn time_before(&self, t: i64) -> Option<i64> {
        let list = &self.samples.histograms;
        list.partition_point(|sample| sample.t < t)
            .checked_sub(1)
            .map_or(self.last_histogram, |at| Some(list[at].t))
    }
}

fn hint_of(histogram: &AnyHistogram) -> ResetHint {
    match histogram {
        AnyHistogram::Int(h) => h.reset_hint,
        AnyHistogram::Float(h) => h.reset_hint,
    }
}

fn forget_reset(histogram: &mut AnyHistogram) {
    match histogram {
        AnyHistogram::Int(h) => Arc::make_mut(h).reset_hint = ResetHint::Unknown,
        AnyHistogram::Float(h) => Arc::make_mut(h).reset_hint = ResetHint::Unknown,
    }
}

/// A total order: the greater of two histograms at one time is the one that is read.
fn order(a: &HistogramSample, b: &HistogramSample) -> Ordering {
    let ra = rank(a);
    let rb = rank(b);
    let by_rank =
        ra.0.cmp(&rb.0)
            .then(ra.1.total_cmp(&rb.1))
            .then(ra.2.total_cmp(&rb.2));

    by_rank
        .then(a.st.cmp(&b.st))
        .then_with(|| encoded(a).cmp(&encoded(b)))
}

/// True if it is no stale marker; its count and its sum.
fn rank(sample: &HistogramSample) -> (bool, f64, f64) {
    match &sample.h {
        AnyHistogram::Int(h) => (!is_stale(h.sum), h.count as f64, h.sum),
        AnyHistogram::Float(h) => (!is_stale(h.sum), h.count, h.sum),
    }
}

/// The hint says how a block is cut into chunks, save for gauges and resets.
fn encoded(sample: &HistogramSample) -> Vec<u8> {
    let mut sample = sample.clone();
    if hint_of(&sample.h) == ResetHint::NotReset {
        forget_reset(&mut sample.h);
    }
    let mut bytes = Vec::new();
    encode_histogram(&mut bytes, &sample);
    bytes
}
