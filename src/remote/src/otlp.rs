//! OTLP metrics to a batch, by Prometheus's rules for names and types.
//!
//! The outer messages are walked in place; resources and data points, each bounded in size, are read with prost. So a
//! body of millions of empty messages cannot be blown up into a hundred times its size of structs.
//!
//! | OTLP | becomes |
//! |---|---|
//! | gauge, sum | one float series; monotonic sums end in `_total` |
//! | histogram | `_bucket`, `_sum`, `_count` |
//! | exponential histogram | one native histogram series |
//! | summary | `{quantile=""}`, `_sum`, `_count` |
//! | resource | labels `job` and `instance`, and a `target_info` series with the other attributes |
//!
//! A point that cannot be read, or whose attributes make no labels, is refused alone and counted.
//! JSON becomes the same bytes first ([`json`]).
//!
//! Deltas are refused: turning them into cumulative values needs state that a stateless receiver does not have.

mod builder;
pub mod json;
mod labels;
mod names;
mod native;
mod points;
pub mod proto;
mod target_info;
mod value;
mod warnings;

#[cfg(test)]
mod tests;

use prost::Message;
use trireme_model::MetricType;

use crate::prompb::cursor::Cursor;
use crate::prompb::{Boundless, DecodeError, DecodeLimits, Decoded, Lend};

use builder::Builder;
use labels::Target;
use points::{Family, Shape};

/// Largest resource or data point that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Nothing is taken for a message up to this size: it is gone before the next one is read.
const MESSAGE_BYTES_FREE: usize = 4 << 10;
/// Memory that a message may take, by its size.
const MESSAGE_FACTOR: usize = 64;
/// `AggregationTemporality` of deltas.
const DELTA: u64 = 1;
/// `AggregationTemporality` of what is stored.
const CUMULATIVE: u64 = 2;

/// How resources become labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpOptions {
    /// Resource attributes that become labels of every series.
    pub promote_resource_attributes: Vec<String>,
    /// Whether the other attributes become a `target_info` series.
    pub target_info: bool,
    /// How far apart samples of `target_info` may be (ms): half of the look-back of queries.
    pub target_info_interval_ms: i64,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self {
            promote_resource_attributes: Vec::new(),
            target_info: true,
            target_info_interval_ms: 150_000,
        }
    }
}

/// Reads an inflated `ExportMetricsServiceRequest`; `seed` is [`trireme_model::Tenant::seed`].
///
/// Needs as much memory as the body decodes to; for bodies of strangers there is [`decode_within`].
pub fn decode(
    body: &[u8],
    seed: u64,
    limits: &DecodeLimits,
    options: &OtlpOptions,
) -> Result<Decoded, DecodeError> {
    decode_within(body, seed, limits, options, &mut Boundless)
}

/// [`decode`] with memory that `lender` gives as it is needed, beside that of the body.
pub fn decode_within(
    body: &[u8],
    seed: u64,
    limits: &DecodeLimits,
    options: &OtlpOptions,
    lender: &mut dyn Lend,
) -> Result<Decoded, DecodeError> {
    let mut builder = Builder::new(seed, limits, lender);

    let mut c = Cursor::new(body);
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => resource_metrics(c.typed_message(wire)?, options, &mut builder)?,
            _ => c.skip(number, wire)?,
        }
    }

    Ok(builder.finish())
}

fn resource_metrics(
    c: Cursor<'_>,
    options: &OtlpOptions,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let (resource, scopes) = parts_of(c, out)?;

    let target = match resource.map(|resource| Target::new(&resource, options, &mut out.warnings)) {
        Some(Ok(target)) => target,
        Some(Err(bad)) => {
            let points = count_in(scopes)?;
            out.reject("invalid attribute name", points, || {
                bad.of("a promoted attribute")
            });
            return Ok(());
        }
        None => {
            let points = count_in(scopes)?;
            out.reject("malformed resource", points, || {
                "a field is malformed or a text is not UTF-8".into()
            });
            return Ok(());
        }
    };

    out.times = None;
    for scope in scopes {
        each_metric(scope, |c| metric(c, &target, out))?;
    }

    target_info::add(&target, options, out)
}

/// The resource and the scopes of a message; no resource if it is malformed. It may stand behind its metrics.
fn parts_of<'a>(
    mut c: Cursor<'a>,
    out: &mut Builder<'_>,
) -> Result<(Option<proto::Resource>, Vec<Cursor<'a>>), DecodeError> {
    let mut resource = Some(proto::Resource::default());

    let mut scopes = Vec::new();
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => match message(c.typed_message(wire)?, out) {
                Ok(read) => resource = Some(read),
                Err(Unreadable::Malformed) => resource = None,
                Err(Unreadable::OverBound(error)) => return Err(error),
            },
            2 => {
                scopes.push(c.typed_message(wire)?);
                out.room.bytes(2 * size_of::<Cursor<'_>>())?;
            }
            _ => c.skip(number, wire)?,
        }
    }

    Ok((resource, scopes))
}

fn each_metric<'a>(
    mut scope: Cursor<'a>,
    mut each: impl FnMut(Cursor<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some((number, wire)) = scope.field()? {
        match number {
            2 => each(scope.typed_message(wire)?)?,
            _ => scope.skip(number, wire)?,
        }
    }
    Ok(())
}

/// How many data points scopes have.
fn count_in(scopes: Vec<Cursor<'_>>) -> Result<u64, DecodeError> {
    let mut points = 0;
    for scope in scopes {
        each_metric(scope, |mut metric| {
            while let Some((number, wire)) = metric.field()? {
                match number {
                    5 | 7 | 9 | 10 | 11 => points += count_points(metric.typed_message(wire)?)?,
                    _ => metric.skip(number, wire)?,
                }
            }
            Ok(())
        })?;
    }

    Ok(points)
}

fn metric(c: Cursor<'_>, target: &Target, out: &mut Builder<'_>) -> Result<(), DecodeError> {
    let Described {
        name,
        help,
        unit,
        data,
    } = described(c)?;
    let Some((number, data)) = data else {
        return Ok(());
    };

    let shape = shape_of(number);

    let (temporality, monotonic) = if shape == Shape::Gauge || shape == Shape::Summary {
        (0, false)
    } else {
        sum_fields(data)?
    };

    let kind = kind_of(shape, monotonic);

    let accumulates = matches!(shape, Shape::Sum | Shape::Histogram | Shape::Exponential);
    if accumulates && temporality != CUMULATIVE {
        let reason = if temporality == DELTA {
            "delta temporality"
        } else {
            "unknown temporality"
        };
        let points = count_points(data)?;
        out.reject(reason, points, || {
            format!("{name}: send cumulative values instead")
        });
        return Ok(());
    }

    let plain_gauge = shape == Shape::Gauge;
    let Some(family_name) = names::metric(&name, &unit, kind, plain_gauge) else {
        let points = count_points(data)?;
        out.reject("invalid metric name", points, || {
            format!("nothing is left of {name:?} as a metric name")
        });
        return Ok(());
    };

    let family = Family {
        name: family_name,
        shape,
        target,
    };

    out.metadata(&family.name, kind, names::unit(&unit), help)?;
    let mut is_empty = true;
    each_point(data, |point| {
        is_empty = false;
        points::point(&family, point, out)
    })?;

    if is_empty {
        out.warnings.add(warnings::EMPTY_DATA_POINTS, &name);
    }

    Ok(())
}

/// The fields of a metric; its data with the number of its field.
#[derive(Default)]
struct Described<'a> {
    name: String,
    help: String,
    unit: String,
    data: Option<(u32, Cursor<'a>)>,
}

fn described(mut c: Cursor<'_>) -> Result<Described<'_>, DecodeError> {
    let mut metric = Described::default();
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => metric.name = text(c.typed_message(wire)?),
            2 => metric.help = text(c.typed_message(wire)?),
            3 => metric.unit = text(c.typed_message(wire)?),
            5 | 7 | 9 | 10 | 11 => metric.data = Some((number, c.typed_message(wire)?)),
            _ => c.skip(number, wire)?,
        }
    }
    Ok(metric)
}

/// The shape of the data in this field.
fn shape_of(number: u32) -> Shape {
    match number {
        5 => Shape::Gauge,
        7 => Shape::Sum,
        9 => Shape::Histogram,
        10 => Shape::Exponential,
        _ => Shape::Summary,
    }
}

fn kind_of(shape: Shape, monotonic: bool) -> MetricType {
    match shape {
        Shape::Gauge => MetricType::Gauge,
        Shape::Sum if monotonic => MetricType::Counter,
        Shape::Sum => MetricType::Gauge,
        Shape::Histogram | Shape::Exponential => MetricType::Histogram,
        Shape::Summary => MetricType::Summary,
    }
}

/// `aggregation_temporality` and `is_monotonic`, which stand at the same place in all three messages that have them.
fn sum_fields(mut c: Cursor<'_>) -> Result<(u64, bool), DecodeError> {
    let mut temporality = 0;

    let mut monotonic = false;
    while let Some((number, wire)) = c.field()? {
        match number {
            2 => temporality = c.typed_varint(wire)?,
            3 => monotonic = c.typed_varint(wire)? != 0,
            _ => c.skip(number, wire)?,
        }
    }

    Ok((temporality, monotonic))
}

fn each_point<'a>(
    mut c: Cursor<'a>,
    mut each: impl FnMut(Cursor<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => each(c.typed_message(wire)?)?,
            _ => c.skip(number, wire)?,
        }
    }
    Ok(())
}

fn count_points(c: Cursor<'_>) -> Result<u64, DecodeError> {
    let mut n = 0;
    each_point(c, |_| {
        n += 1;
        Ok(())
    })?;
    Ok(n)
}

/// Why a resource or data point could not be read.
enum Unreadable {
    /// It is over its bound, which refuses the request.
    OverBound(DecodeError),
    /// It is malformed in itself; what is around it can be read.
    Malformed,
}

/// Reads a message that is kept while its samples are made. Empty parts of it, of two bytes each, become structs of a
/// hundred, so as much is taken for it.
fn message<M: Message + Default>(c: Cursor<'_>, out: &mut Builder<'_>) -> Result<M, Unreadable> {
    let bytes = c.rest().len();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Unreadable::OverBound(
            c.error("a resource or data point is larger than 1 MiB"),
        ));
    }

    if bytes > MESSAGE_BYTES_FREE {
        out.room
            .bytes(bytes * MESSAGE_FACTOR)
            .map_err(Unreadable::OverBound)?;
    }

    M::decode(c.rest()).map_err(|_| Unreadable::Malformed)
}

fn text(c: Cursor<'_>) -> String {
    String::from_utf8_lossy(c.rest()).into_owned()
}
