//! Data points to samples.

use std::fmt::Write;

use trireme_model::{Exemplar, Labels, STALE_NAN};

use super::builder::{Builder, FloatPoint};
use super::labels::{LabelMap, Target};
use super::value::{special, text};
use super::warnings::{PLUS_INF_BOUND, ZERO_COUNT_NON_ZERO_SUM};
use super::{Unreadable, message, native, proto};
use crate::prompb::DecodeError;
use crate::prompb::cursor::Cursor;

/// Flag: the point says that there is no value, which Prometheus calls stale.
const NO_RECORDED_VALUE: u32 = 1;
/// Most characters of an exemplar's labels, Prometheus's bound.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// Longest trace or span id (bytes) that is one.
const ID_BYTES_MAX: usize = 32;

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

/// Reads one data point and adds its samples. A point that cannot be read is refused alone.
pub(super) fn point(
    family: &Family<'_>,
    c: Cursor<'_>,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    match family.shape {
        Shape::Gauge | Shape::Sum => each(family, c, out, number),
        Shape::Histogram => each(family, c, out, histogram),
        Shape::Exponential => each(family, c, out, exponential),
        Shape::Summary => each(family, c, out, summary),
    }
}

/// Reads a point and hands it on with its labels.
fn each<P: Point>(
    family: &Family<'_>,
    c: Cursor<'_>,
    out: &mut Builder<'_>,
    add: impl Fn(&Family<'_>, &LabelMap, &P, &mut Builder<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let point: P = match message(c, out) {
        Ok(point) => point,
        Err(Unreadable::OverBound(error)) => return Err(error),
        Err(Unreadable::Malformed) => {
            out.reject("malformed data point", 1, || {
                format!(
                    "{}: a field is malformed or a text is not UTF-8",
                    family.name
                )
            });
            return Ok(());
        }
    };

    out.note_time(ms(point.time_unix_nano()));
    match family.target.labels(point.attributes(), &mut out.warnings) {
        Ok(labels) => add(family, &labels, &point, out),
        Err(bad) => {
            out.reject("invalid attribute name", 1, || bad.of(&family.name));
            Ok(())
        }
    }
}

/// What all kinds of points have.
trait Point: prost::Message + Default {
    fn attributes(&self) -> &[proto::KeyValue];
    fn time_unix_nano(&self) -> u64;
}

macro_rules! points {
    ($($name:ident),*) => {
        $(impl Point for proto::$name {
            fn attributes(&self) -> &[proto::KeyValue] {
                &self.attributes
            }

            fn time_unix_nano(&self) -> u64 {
                self.time_unix_nano
            }
        })*
    };
}

points!(
    NumberDataPoint,
    HistogramDataPoint,
    ExponentialHistogramDataPoint,
    SummaryDataPoint
);

/// Milliseconds of nanoseconds.
fn ms(nanos: u64) -> i64 {
    (nanos / 1_000_000) as i64
}

/// A bound or quantile as a label value.
fn decimal(n: f64) -> String {
    if n.is_finite() {
        n.to_string()
    } else {
        special(n).to_owned()
    }
}

/// The value, or the stale marker if the point has none.
fn or_stale(flags: u32, v: f64) -> f64 {
    if flags & NO_RECORDED_VALUE != 0 {
        f64::from_bits(STALE_NAN)
    } else {
        v
    }
}

fn number(
    family: &Family<'_>,
    labels: &LabelMap,
    p: &proto::NumberDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let v = match p.value {
        Some(proto::Number::Double(v)) => v,
        Some(proto::Number::Int(n)) => n as f64,
        None => 0.0,
    };

    // Only what accumulates has a start.
    let st = if family.shape == Shape::Sum {
        ms(p.start_time_unix_nano)
    } else {
        0
    };

    let sample = (ms(p.time_unix_nano), st, or_stale(p.flags, v));
    out.float(labels, &family.name, &[], sample, &exemplars(&p.exemplars))
}

fn histogram(
    family: &Family<'_>,
    labels: &LabelMap,
    p: &proto::HistogramDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    if !p.bucket_counts.is_empty() && p.bucket_counts.len() != p.explicit_bounds.len() + 1 {
        let counts = p.bucket_counts.len();
        let bounds = p.explicit_bounds.len();
        out.reject("invalid histogram", 1, || {
            format!("{}: {counts} buckets with {bounds} bounds", family.name)
        });
        return Ok(());
    }

    check_sum("", p.flags, p.count, p.sum, out);
    let stamp = Stamp {
        t: ms(p.time_unix_nano),
        st: ms(p.start_time_unix_nano),
        flags: p.flags,
    };
    sum_and_count(family, labels, stamp, (p.sum, p.count), out)?;
    buckets(family, labels, p, stamp, out)
}

/// What the samples made of one data point have alike.
#[derive(Clone, Copy)]
struct Stamp {
    t: i64,
    st: i64,
    flags: u32,
}

impl Stamp {
    fn at(self, v: f64) -> FloatPoint {
        (self.t, self.st, or_stale(self.flags, v))
    }
}

/// The series of all observations together.
fn sum_and_count(
    family: &Family<'_>,
    labels: &LabelMap,
    stamp: Stamp,
    (sum, count): (Option<f64>, u64),
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    if let Some(sum) = sum {
        let name = format!("{}_sum", family.name);
        out.float(labels, &name, &[], stamp.at(sum), &[])?;
    }

    let name = format!("{}_count", family.name);
    out.float(labels, &name, &[], stamp.at(count as f64), &[])
}

/// The series of the buckets of a classic histogram.
fn buckets(
    family: &Family<'_>,
    labels: &LabelMap,
    p: &proto::HistogramDataPoint,
    stamp: Stamp,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let mut waiting = exemplars(&p.exemplars);
    let name = format!("{}_bucket", family.name);

    let mut cumulative = 0u64;
    for (bound, n) in p.explicit_bounds.iter().zip(&p.bucket_counts) {
        cumulative = cumulative.saturating_add(*n);
        // The bucket of all comes from the count, once.
        if *bound == f64::INFINITY {
            out.warnings.add(PLUS_INF_BOUND, "");
            continue;
        }

        // An exemplar belongs to the smallest bucket that holds its value.
        let (here, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|e| e.v <= *bound);
        waiting = later;
        out.float(
            labels,
            &name,
            &[("le", &decimal(*bound))],
            stamp.at(cumulative as f64),
            &here,
        )?;
    }

    out.float(
        labels,
        &name,
        &[("le", "+Inf")],
        stamp.at(p.count as f64),
        &waiting,
    )
}

fn exponential(
    family: &Family<'_>,
    labels: &LabelMap,
    p: &proto::ExponentialHistogramDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let buckets = [&p.positive, &p.negative]
        .into_iter()
        .flatten()
        .map(|b| b.bucket_counts.len())
        .sum();

    let stale = p.flags & NO_RECORDED_VALUE != 0;
    check_sum("exponential ", p.flags, p.count, p.sum, out);

    match native::sample(p, ms(p.time_unix_nano), ms(p.start_time_unix_nano), stale) {
        Ok(sample) => out.histogram(
            labels,
            &family.name,
            sample,
            buckets,
            &exemplars(&p.exemplars),
        ),
        Err(why) => {
            out.reject("invalid histogram", 1, || format!("{}: {why}", family.name));
            Ok(())
        }
    }
}

/// Warns of a histogram that counts nothing and has a sum nevertheless.
fn check_sum(kind: &str, flags: u32, count: u64, sum: Option<f64>, out: &mut Builder<'_>) {
    let Some(sum) = sum.filter(|sum| *sum != 0.0) else {
        return;
    };
    if count == 0 && flags & NO_RECORDED_VALUE == 0 {
        out.warnings
            .add(ZERO_COUNT_NON_ZERO_SUM, &format!("{kind}{sum:.6}"));
    }
}

fn summary(
    family: &Family<'_>,
    labels: &LabelMap,
    p: &proto::SummaryDataPoint,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let stamp = Stamp {
        t: ms(p.time_unix_nano),
        st: ms(p.start_time_unix_nano),
        flags: p.flags,
    };
    sum_and_count(family, labels, stamp, (Some(p.sum), p.count), out)?;

    for q in &p.quantile_values {
        out.float(
            labels,
            &family.name,
            &[("quantile", &decimal(q.quantile))],
            stamp.at(q.value),
            &[],
        )?;
    }

    Ok(())
}

fn exemplars(all: &[proto::Exemplar]) -> Vec<Exemplar> {
    all.iter().map(exemplar).collect()
}

/// Trace and span always stay; attributes only if everything together is short enough.
fn exemplar(e: &proto::Exemplar) -> Exemplar {
    let mut labels = ids_of(e);

    let attributes: Vec<(String, String)> = e
        .filtered_attributes
        .iter()
        .filter(|a| !a.key.is_empty() && labels.iter().all(|(id, _)| *id != a.key))
        .map(|a| (a.key.clone(), text(a.value.as_ref())))
        .collect();

    let all = labels.iter().chain(&attributes);
    let chars: usize = all
        .map(|(name, value)| name.chars().count() + value.chars().count())
        .sum();

    if chars <= EXEMPLAR_CHARS_MAX {
        labels.extend(attributes);
    }

    Exemplar {
        labels: Labels::from_pairs(labels),
        v: value_of(e),
        t: ms(e.time_unix_nano),
    }
}

fn ids_of(e: &proto::Exemplar) -> Vec<(String, String)> {
    let ids = [("trace_id", &e.trace_id), ("span_id", &e.span_id)];
    let ids = ids
        .into_iter()
        .filter(|(_, id)| (1..=ID_BYTES_MAX).contains(&id.len()));
    ids.map(|(name, id)| (name.to_owned(), hex(id))).collect()
}

fn value_of(e: &proto::Exemplar) -> f64 {
    match e.value {
        Some(proto::ExemplarNumber::Double(v)) => v,
        Some(proto::ExemplarNumber::Int(n)) => n as f64,
        None => 0.0,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}
