//! Data points to samples.

use std::fmt::Write;

use trireme_model::{Exemplar, Labels, STALE_NAN};

use super::builder::Builder;
use super::labels::{LabelMap, Target, attributes, text};
use super::{message, native, proto};
use crate::prompb::DecodeError;
use crate::prompb::cursor::Cursor;

/// Flag: the point says that there is no value, which Prometheus calls stale.
const NO_RECORDED_VALUE: u32 = 1;
/// Most characters of an exemplar's labels, Prometheus's bound.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Which message the points are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// A metric whose points are being read.
pub(super) struct Family<'a> {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) target: &'a Target,
}

/// Reads one data point and adds its samples.
pub(super) fn point(family: &Family<'_>, c: Cursor<'_>, out: &mut Builder<'_>) -> Result<(), DecodeError> {
    match family.shape {
        Shape::Gauge | Shape::Sum => number(family, &message(c)?, out),
        Shape::Histogram => histogram(family, &message(c)?, out),
        Shape::Exponential => exponential(family, &message(c)?, out),
        Shape::Summary => summary(family, &message(c)?, out),
    }
}

impl Family<'_> {
    /// Labels of a point: its attributes, then what the resource gives.
    fn labels(&self, of: &[proto::KeyValue]) -> LabelMap {
        let mut labels = attributes(of.iter());
        labels.extend(self.target.labels.clone());
        labels
    }
}

/// Milliseconds of nanoseconds.
fn ms(nanos: u64) -> i64 {
    (nanos / 1_000_000) as i64
}

/// The value, or the stale marker if the point has none.
fn or_stale(flags: u32, v: f64) -> f64 {
    if flags & NO_RECORDED_VALUE != 0 { f64::from_bits(STALE_NAN) } else { v }
}

fn number(family: &Family<'_>, p: &proto::NumberDataPoint, out: &mut Builder<'_>) -> Result<(), DecodeError> {
    let v = match p.value {
        Some(proto::Number::Double(v)) => v,
        Some(proto::Number::Int(n)) => n as f64,
        None => 0.0,
    };
    // Only what accumulates has a start.
    let st = if family.shape == Shape::Sum { ms(p.start_time_unix_nano) } else { 0 };
    let sample = (ms(p.time_unix_nano), st, or_stale(p.flags, v));
    out.float(&family.labels(&p.attributes), &family.name, &[], sample, &exemplars(&p.exemplars))
}

fn histogram(
    family: &Family<'_>,
    p: &proto::HistogramDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    if !p.bucket_counts.is_empty() && p.bucket_counts.len() != p.explicit_bounds.len() + 1 {
        let (counts, bounds) = (p.bucket_counts.len(), p.explicit_bounds.len());
        out.reject("invalid histogram", 1, || {
            format!("{}: {counts} buckets with {bounds} bounds", family.name)
        });
        return Ok(());
    }
    let labels = family.labels(&p.attributes);
    let (t, st) = (ms(p.time_unix_nano), ms(p.start_time_unix_nano));
    let at = |v: f64| (t, st, or_stale(p.flags, v));
    if let Some(sum) = p.sum {
        out.float(&labels, &format!("{}_sum", family.name), &[], at(sum), &[])?;
    }
    out.float(&labels, &format!("{}_count", family.name), &[], at(p.count as f64), &[])?;
    let mut waiting = exemplars(&p.exemplars);
    let name = format!("{}_bucket", family.name);
    let mut cumulative = 0u64;
    for (bound, n) in p.explicit_bounds.iter().zip(&p.bucket_counts) {
        cumulative = cumulative.saturating_add(*n);
        // An exemplar belongs to the smallest bucket that holds its value.
        let (here, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|e| e.v <= *bound);
        waiting = later;
        out.float(&labels, &name, &[("le", &bound.to_string())], at(cumulative as f64), &here)?;
    }
    out.float(&labels, &name, &[("le", "+Inf")], at(p.count as f64), &waiting)
}

fn exponential(
    family: &Family<'_>,
    p: &proto::ExponentialHistogramDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let buckets = [&p.positive, &p.negative].into_iter().flatten().map(|b| b.bucket_counts.len()).sum();
    let stale = p.flags & NO_RECORDED_VALUE != 0;
    match native::sample(p, ms(p.time_unix_nano), ms(p.start_time_unix_nano), stale) {
        Ok(sample) => {
            let labels = family.labels(&p.attributes);
            out.histogram(&labels, &family.name, sample, buckets, &exemplars(&p.exemplars))
        }
        Err(why) => {
            out.reject("invalid histogram", 1, || format!("{}: {why}", family.name));
            Ok(())
        }
    }
}

fn summary(
    family: &Family<'_>,
    p: &proto::SummaryDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let labels = family.labels(&p.attributes);
    let (t, st) = (ms(p.time_unix_nano), ms(p.start_time_unix_nano));
    let at = |v: f64| (t, st, or_stale(p.flags, v));
    out.float(&labels, &format!("{}_sum", family.name), &[], at(p.sum), &[])?;
    out.float(&labels, &format!("{}_count", family.name), &[], at(p.count as f64), &[])?;
    for q in &p.quantile_values {
        out.float(&labels, &family.name, &[("quantile", &q.quantile.to_string())], at(q.value), &[])?;
    }
    Ok(())
}

fn exemplars(all: &[proto::Exemplar]) -> Vec<Exemplar> {
    all.iter().map(exemplar).collect()
}

/// Trace and span always stay; attributes only if everything together is short enough.
fn exemplar(e: &proto::Exemplar) -> Exemplar {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
    };
    let ids = [("trace_id", hex(&e.trace_id)), ("span_id", hex(&e.span_id))];
    let ids: Vec<(String, String)> = ids
        .into_iter()
        .filter(|(_, v)| !v.is_empty() && v.len() <= 64)
        .map(|(n, v)| (n.to_owned(), v))
        .collect();
    let other = e.filtered_attributes.iter().map(|a| (a.key.clone(), text(a.value.as_ref())));
    let mut all: Vec<(String, String)> = other.filter(|(n, _)| !n.is_empty()).chain(ids.clone()).collect();
    let chars: usize = all.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if chars > EXEMPLAR_CHARS_MAX {
        all = ids;
    }
    let v = match e.value {
        Some(proto::ExemplarNumber::Double(v)) => v,
        Some(proto::ExemplarNumber::Int(n)) => n as f64,
        None => 0.0,
    };
    Exemplar { labels: Labels::from_pairs(all), v, t: ms(e.time_unix_nano) }
}
