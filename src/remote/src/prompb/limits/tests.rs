//! Small bodies that decode to much.

use super::*;
use crate::otlp::{self, OtlpOptions};
use crate::{rw1, rw2};

/// Lends up to a bound, and remembers how much.
struct Lender {
    bytes_max: usize,
    lent: usize,
}

impl Lender {
    fn of(bytes_max: usize) -> Self {
        Self { bytes_max, lent: 0 }
    }
}

impl Lend for Lender {
    fn grow_to(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.bytes_max;
        self.lent = if fits { bytes } else { self.lent };
        fits
    }
}

/// A field with a message or text in it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// One series of labels and very many empty parts, of two bytes each.
fn v1(part: u8) -> Vec<u8> {
    let label = field(1, &[field(1, b"__name__"), field(2, b"up")].concat());
    field(1, &[label, [part << 3 | 2, 0].repeat(300_000)].concat())
}

fn v2(part: u8) -> Vec<u8> {
    let symbols = [field(4, b""), field(4, b"__name__"), field(4, b"up")].concat();
    let labels = field(1, &[1, 2]);
    [
        symbols,
        field(5, &[labels, [part << 3 | 2, 0].repeat(300_000)].concat()),
    ]
    .concat()
}

/// One metric with very many empty points; `data` is which kind of metric.
fn otlp_points(data: u8) -> Vec<u8> {
    let points = [1 << 3 | 2, 0].repeat(300_000);
    let metric = [field(1, b"up"), field(data, &points)].concat();
    field(1, &field(2, &field(2, &metric)))
}

/// Decodes with little memory, and answers what went wrong.
fn decode(protocol: &str, body: &[u8], lender: &mut Lender) -> Option<DecodeError> {
    let limits = DecodeLimits::default();
    let decoded = match protocol {
        "v1" => rw1::decode_within(body.to_vec(), 7, &limits, lender),
        "v2" => rw2::decode_within(body, 7, &limits, lender),
        _ => otlp::decode_within(body, 7, &limits, &OtlpOptions::default(), lender),
    };
    decoded.err()
}

#[test]
fn a_body_of_empty_parts_takes_no_more_memory_than_it_is_lent() {
    let cases = [
        ("v1", "samples", v1(2)),
        ("v1", "exemplars", v1(3)),
        ("v1", "histograms", v1(4)),
        ("v1", "metadata", [3 << 3 | 2, 0].repeat(300_000)),
        ("v1", "series", [1 << 3 | 2, 0].repeat(300_000)),
        ("v2", "samples", v2(2)),
        ("v2", "histograms", v2(3)),
        ("v2", "exemplars", v2(4)),
        ("v2", "symbols", field(4, b"").repeat(300_000)),
        (
            "v2",
            "series",
            [field(4, b""), [5 << 3 | 2, 0].repeat(300_000)].concat(),
        ),
        ("otlp", "gauges", otlp_points(5)),
        ("otlp", "sums", otlp_points(7)),
        ("otlp", "histograms", otlp_points(9)),
        ("otlp", "exponential histograms", otlp_points(10)),
        ("otlp", "summaries", otlp_points(11)),
    ];
    for (protocol, what, body) in cases {
        let mut lender = Lender::of(1 << 20);
        let refused = decode(protocol, &body, &mut lender);
        // What is dropped at once, such as a series without labels, needs no memory at all.
        let is_bounded = matches!(
            refused,
            Some(DecodeError::NoRoom { .. } | DecodeError::TooMany { .. })
        );
        let took_nothing = refused.is_none() && lender.lent < 1 << 20;
        assert!(is_bounded || took_nothing, "{protocol} {what}: {refused:?}");
    }
}

#[test]
fn a_body_that_never_fits_is_not_to_be_sent_again() {
    let limits = DecodeLimits {
        decoded_bytes_max: 1 << 20,
        ..DecodeLimits::default()
    };
    let refused = rw1::decode(v1(4), 7, &limits).expect_err("300,000 histograms");

    assert_eq!(
        refused.kind(),
        trireme_base::ErrorKind::TooLarge,
        "{refused}"
    );
}

#[test]
fn refused_histograms_are_counted_and_one_is_shown() {
    // A count without a bucket: one of the two is wrong.
    let bad = field(4, &[8, 5]);
    let label = field(1, &[field(1, b"__name__"), field(2, b"up")].concat());
    let body = field(1, &[label, bad.repeat(100_000)].concat());
    let decoded = rw1::decode(body, 7, &DecodeLimits::default()).expect("well formed");
    assert_eq!(decoded.rejections.total(), 100_000);
}

#[test]
fn nested_lists_of_otlp_take_time_in_proportion_to_their_size() {
    use crate::otlp::proto::any_value::Value;
    use crate::otlp::proto::{AnyValue, ArrayValue, KeyValue, Resource};
    use prost::Message;

    let text = AnyValue {
        value: Some(Value::String("x".repeat(1_000))),
    };
    let mut value = AnyValue {
        value: Some(Value::Array(ArrayValue {
            values: vec![text; 100],
        })),
    };

    for _ in 0..20 {
        value = AnyValue {
            value: Some(Value::Array(ArrayValue {
                values: vec![value],
            })),
        };
    }

    let attributes = vec![
        KeyValue {
            key: "service.name".into(),
            value: Some(AnyValue {
                value: Some(Value::Int(1)),
            }),
        },
        KeyValue {
            key: "deep".into(),
            value: Some(value),
        },
    ];

    let resource = field(1, &Resource { attributes }.encode_to_vec());
    let metric = [field(1, b"up"), field(5, &[1 << 3 | 2, 0])].concat();
    let body = field(1, &[resource, field(2, &field(2, &metric))].concat());
    let decoded = decode("otlp", &body, &mut Lender::of(64 << 20));

    assert_eq!(decoded, None);
}
