//! Native histograms of both remote write versions; version 2 only adds field 17.

mod check;

use std::sync::Arc;

use trireme_model::{AnyHistogram, FloatHistogram, Histogram, HistogramSample, ResetHint, Span};

use crate::prompb::DecodeError;
use crate::prompb::cursor::{Cursor, FIXED64, VARINT, zigzag, zigzag32};
use crate::prompb::limits::Room;

pub use check::check;

/// Every field of the message, both halves of each `oneof`.
#[derive(Default)]
struct Fields {
    h: Histogram,
    f: FloatHistogram,
    is_float: bool,
    t: i64,
    st: i64,
}

/// Reads a `Histogram` message. `room` is what the request may still hold; `with_start`: field 17 has a meaning.
pub(crate) fn read(
    mut c: Cursor<'_>,
    with_start: bool,
    room: &mut Room<'_>,
) -> Result<HistogramSample, DecodeError> {
    room.histogram()?;

    let mut x = Fields::default();
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => (x.h.count, x.is_float) = (c.typed_varint(wire)?, false),
            2 => (x.f.count, x.is_float) = (c.typed_double(wire)?, true),
            3 => x.h.sum = c.typed_double(wire)?,
            4 => x.h.schema = zigzag32(c.typed_varint(wire)?),
            5 => x.h.zero_threshold = c.typed_double(wire)?,
            6 => (x.h.zero_count, x.f.zero_count) = (c.typed_varint(wire)?, 0.0),
            7 => (x.h.zero_count, x.f.zero_count) = (0, c.typed_double(wire)?),
            8 => push_span(&mut x.h.negative_spans, c.typed_message(wire)?, room)?,
            9 => push_deltas(&mut x.h.negative_buckets, &mut c, wire, room)?,
            10 => push_counts(&mut x.f.negative_buckets, &mut c, wire, room)?,
            11 => push_span(&mut x.h.positive_spans, c.typed_message(wire)?, room)?,
            12 => push_deltas(&mut x.h.positive_buckets, &mut c, wire, room)?,
            13 => push_counts(&mut x.f.positive_buckets, &mut c, wire, room)?,
            14 => x.h.reset_hint = hint(c.typed_varint(wire)? as i32),
            15 => x.t = c.typed_varint(wire)? as i64,
            16 => push_counts(&mut x.h.custom_values, &mut c, wire, room)?,
            17 if with_start => x.st = c.typed_varint(wire)? as i64,
            _ => c.skip(number, wire)?,
        }
    }

    Ok(x.finish())
}

impl Fields {
    /// The form that the count's type announces; the other form's buckets are dropped, as Prometheus does.
    fn finish(self) -> HistogramSample {
        let Self {
            h,
            f,
            is_float,
            t,
            st,
        } = self;

        let h = if is_float {
            AnyHistogram::Float(Arc::new(FloatHistogram {
                reset_hint: h.reset_hint,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                sum: h.sum,
                positive_spans: h.positive_spans,
                negative_spans: h.negative_spans,
                custom_values: h.custom_values,
                ..f
            }))
        } else {
            AnyHistogram::Int(Arc::new(h))
        };

        HistogramSample { t, st, h }
    }
}

fn hint(n: i32) -> ResetHint {
    match n {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

fn push_span(
    spans: &mut Vec<Span>,
    mut c: Cursor<'_>,
    room: &mut Room<'_>,
) -> Result<(), DecodeError> {
    room.bucket()?;

    let mut span = Span::default();
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => span.offset = zigzag32(c.typed_varint(wire)?),
            2 => span.length = c.typed_varint(wire)? as u32,
            _ => c.skip(number, wire)?,
        }
    }

    spans.push(span);
    Ok(())
}

fn push_deltas(
    out: &mut Vec<i64>,
    c: &mut Cursor<'_>,
    wire: u8,
    room: &mut Room<'_>,
) -> Result<(), DecodeError> {
    c.repeated(wire, VARINT, |n| {
        room.bucket()?;
        out.push(zigzag(n));
        Ok(())
    })
}

fn push_counts(
    out: &mut Vec<f64>,
    c: &mut Cursor<'_>,
    wire: u8,
    room: &mut Room<'_>,
) -> Result<(), DecodeError> {
    c.repeated(wire, FIXED64, |n| {
        room.bucket()?;
        out.push(f64::from_bits(n));
        Ok(())
    })
}
