//! Native histograms in an entry.
//!
//! ```text
//! form u8 (bit 0: float counts, bits 1-2: reset hint), zigzag start timestamp, zigzag schema, zero threshold f64,
//! zero count, count (varint, or f64 for float counts), sum f64,
//! positive then negative: varint spans, each zigzag offset and varint length; varint buckets, each zigzag or f64
//! varint custom values, each f64
//! ```

use std::sync::Arc;

use trireme_model::{
    AnyHistogram, FloatHistogram, Histogram, HistogramSample, MetricType, ResetHint, Span,
};

use super::EntryError;
use super::varint::{Cursor, put, put_signed};

const FLOAT_FORM: u8 = 1;

/// Appends one histogram with its start timestamp, without its time.
pub fn encode_histogram(buf: &mut Vec<u8>, sample: &HistogramSample) {
    encode(buf, sample);
}

/// Reads what [`encode_histogram`] wrote at the front of `bytes`; answers the sample and its length.
pub fn decode_histogram(bytes: &[u8], t: i64) -> Result<(HistogramSample, usize), EntryError> {
    let mut cursor = Cursor::new(bytes);
    let sample = decode(&mut cursor, t)?;
    Ok((sample, cursor.at))
}

pub(super) fn encode(buf: &mut Vec<u8>, sample: &HistogramSample) {
    match &sample.h {
        AnyHistogram::Int(h) => encode_integer(buf, sample.st, h),
        AnyHistogram::Float(h) => encode_float(buf, sample.st, h),
    }
}

fn encode_integer(buf: &mut Vec<u8>, st: i64, h: &Histogram) {
    head(buf, 0, h.reset_hint, st, h.schema, h.zero_threshold);
    put(buf, h.zero_count);
    put(buf, h.count);
    double(buf, h.sum);
    side(buf, &h.positive_spans, &h.positive_buckets, |buf, b| {
        put_signed(buf, *b)
    });
    side(buf, &h.negative_spans, &h.negative_buckets, |buf, b| {
        put_signed(buf, *b)
    });
    list(buf, &h.custom_values, |buf, v| double(buf, *v));
}

fn encode_float(buf: &mut Vec<u8>, st: i64, h: &FloatHistogram) {
    head(
        buf,
        FLOAT_FORM,
        h.reset_hint,
        st,
        h.schema,
        h.zero_threshold,
    );

    double(buf, h.zero_count);
    double(buf, h.count);
    double(buf, h.sum);
    side(buf, &h.positive_spans, &h.positive_buckets, |buf, b| {
        double(buf, *b)
    });
    side(buf, &h.negative_spans, &h.negative_buckets, |buf, b| {
        double(buf, *b)
    });
    list(buf, &h.custom_values, |buf, v| double(buf, *v));
}

pub(super) fn decode(cursor: &mut Cursor<'_>, t: i64) -> Result<HistogramSample, EntryError> {
    let form = cursor.u8()?;
    let reset_hint = match form >> 1 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => {
            return Err(EntryError::Unknown {
                what: "histogram form",
                code: form,
            });
        }
    };

    let st = cursor.signed()?;
    let start = Start {
        reset_hint,
        schema: i32::try_from(cursor.signed()?).map_err(|_| EntryError::Range(cursor.at))?,
        zero_threshold: cursor.f64()?,
    };

    let h = if form & FLOAT_FORM == 0 {
        AnyHistogram::Int(Arc::new(decode_integer(cursor, start)?))
    } else {
        AnyHistogram::Float(Arc::new(decode_float(cursor, start)?))
    };
    Ok(HistogramSample { t, st, h })
}

/// What both kinds of histogram begin with.
struct Start {
    reset_hint: ResetHint,
    schema: i32,
    zero_threshold: f64,
}

fn decode_integer(cursor: &mut Cursor<'_>, start: Start) -> Result<Histogram, EntryError> {
    let zero_count = cursor.varint()?;
    let count = cursor.varint()?;
    let sum = cursor.f64()?;
    let positive_spans = spans(cursor)?;
    let positive_buckets = many(cursor, 1, Cursor::signed)?;
    let negative_spans = spans(cursor)?;
    let negative_buckets = many(cursor, 1, Cursor::signed)?;
    let custom_values = many(cursor, 8, Cursor::f64)?;

    Ok(Histogram {
        reset_hint: start.reset_hint,
        schema: start.schema,
        zero_threshold: start.zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        custom_values,
    })
}

fn decode_float(cursor: &mut Cursor<'_>, start: Start) -> Result<FloatHistogram, EntryError> {
    let zero_count = cursor.f64()?;
    let count = cursor.f64()?;
    let sum = cursor.f64()?;
    let positive_spans = spans(cursor)?;
    let positive_buckets = many(cursor, 8, Cursor::f64)?;
    let negative_spans = spans(cursor)?;
    let negative_buckets = many(cursor, 8, Cursor::f64)?;
    let custom_values = many(cursor, 8, Cursor::f64)?;

    Ok(FloatHistogram {
        reset_hint: start.reset_hint,
        schema: start.schema,
        zero_threshold: start.zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        custom_values,
    })
}

fn head(buf: &mut Vec<u8>, form: u8, hint: ResetHint, st: i64, schema: i32, zero_threshold: f64) {
    let hint = match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };

    buf.push(form | hint << 1);
    put_signed(buf, st);
    put_signed(buf, i64::from(schema));
    double(buf, zero_threshold);
}

fn side<T>(buf: &mut Vec<u8>, spans: &[Span], buckets: &[T], each: impl Fn(&mut Vec<u8>, &T)) {
    list(buf, spans, |buf, span| {
        put_signed(buf, i64::from(span.offset));
        put(buf, u64::from(span.length));
    });
    list(buf, buckets, each);
}

fn list<T>(buf: &mut Vec<u8>, items: &[T], each: impl Fn(&mut Vec<u8>, &T)) {
    put(buf, items.len() as u64);
    for item in items {
        each(buf, item);
    }
}

fn double(buf: &mut Vec<u8>, v: f64) {
    buf.extend_from_slice(&v.to_bits().to_le_bytes());
}

fn spans(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, EntryError> {
    many(cursor, 2, |cursor| {
        let offset = i32::try_from(cursor.signed()?).map_err(|_| EntryError::Range(cursor.at))?;
        Ok(Span {
            offset,
            length: cursor.varint_u32()?,
        })
    })
}

/// A counted list of items of at least `bytes_min` bytes each.
fn many<'a, T>(
    cursor: &mut Cursor<'a>,
    bytes_min: usize,
    each: impl Fn(&mut Cursor<'a>) -> Result<T, EntryError>,
) -> Result<Vec<T>, EntryError> {
    let n = cursor.count()?;
    if n > (cursor.bytes.len() - cursor.at) / bytes_min {
        return Err(EntryError::Range(cursor.at));
    }
    (0..n).map(|_| each(cursor)).collect()
}

pub(super) fn type_of(code: u8) -> Result<MetricType, EntryError> {
    MetricType::from_number(code).ok_or(EntryError::Unknown {
        what: "metric type",
        code,
    })
}
