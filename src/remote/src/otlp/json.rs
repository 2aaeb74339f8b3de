//! OTLP's JSON form to its protobuf bytes.
//!
//! The text is read once, by tables that say which name is which field, and written as it comes; no tree of values is
//! built, so that a body costs no more than its bytes. Source: OTLP 1.5, "JSON Protobuf Encoding": names in lower
//! camel case (snake case is taken too), ids in hexadecimal, other bytes in base64, 64-bit integers as text or number,
//! enumerations by number or name. Unknown names are left out.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::encode_varint;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::prompb::DecodeError;
use crate::prompb::cursor::{BYTES, FIXED64, VARINT};

/// Turns an `ExportMetricsServiceRequest` in JSON into protobuf.
pub fn to_protobuf(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(body.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = Content {
        fields: &REQUEST,
        out: &mut out,
    };
    let read = request.deserialize(&mut json).and_then(|()| json.end());

    read.map_err(|e| DecodeError::Json(e.to_string()))?;
    Ok(out)
}

/// What a field holds, one of them or a list.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Hex,
    Base64,
    Bool,
    /// Plain variable-length integer.
    Varint,
    /// Variable-length integer with its sign last.
    Zigzag,
    Fixed64,
    Double,
    Temporality,
    Message(&'static Fields),
}

struct Field {
    name: &'static str,
    number: u8,
    kind: Kind,
}

/// A message's fields.
struct Fields(&'static [Field]);

impl Fields {
    fn named(&self, key: &str) -> Option<&'static Field> {
        self.0
            .iter()
            .find(|field| has_same_letters(key, field.name))
    }
}

/// True if a key is this name, in any case and with any underscores.
fn has_same_letters(key: &str, name: &str) -> bool {
    let letters = key.bytes().filter(|b| *b != b'_');
    letters
        .map(|b| b.to_ascii_lowercase())
        .eq(name.bytes().map(|b| b.to_ascii_lowercase()))
}

const fn field(name: &'static str, number: u8, kind: Kind) -> Field {
    Field { name, number, kind }
}

static REQUEST: Fields = Fields(&[field(
    "resourceMetrics",
    1,
    Kind::Message(&RESOURCE_METRICS),
)]);

static RESOURCE_METRICS: Fields = Fields(&[
    field("resource", 1, Kind::Message(&RESOURCE)),
    field("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
]);

static RESOURCE: Fields = Fields(&[field("attributes", 1, Kind::Message(&ATTRIBUTE))]);

static SCOPE_METRICS: Fields = Fields(&[field("metrics", 2, Kind::Message(&METRIC))]);

static METRIC: Fields = Fields(&[
    field("name", 1, Kind::Text),
    field("description", 2, Kind::Text),
    field("unit", 3, Kind::Text),
    field("gauge", 5, Kind::Message(&GAUGE)),
    field("sum", 7, Kind::Message(&SUM)),
    field("histogram", 9, Kind::Message(&HISTOGRAM)),
    field("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL)),
    field("summary", 11, Kind::Message(&SUMMARY)),
]);

static GAUGE: Fields = Fields(&[field("dataPoints", 1, Kind::Message(&NUMBER_POINT))]);

static SUM: Fields = Fields(&[
    field("dataPoints", 1, Kind::Message(&NUMBER_POINT)),
    field("aggregationTemporality", 2, Kind::Temporality),
    field("isMonotonic", 3, Kind::Bool),
]);

static HISTOGRAM: Fields = Fields(&[
    field("dataPoints", 1, Kind::Message(&HISTOGRAM_POINT)),
    field("aggregationTemporality", 2, Kind::Temporality),
]);

static EXPONENTIAL: Fields = Fields(&[
    field("dataPoints", 1, Kind::Message(&EXPONENTIAL_POINT)),
    field("aggregationTemporality", 2, Kind::Temporality),
]);

static SUMMARY: Fields = Fields(&[field("dataPoints", 1, Kind::Message(&SUMMARY_POINT))]);

static NUMBER_POINT: Fields = Fields(&[
    field("attributes", 7, Kind::Message(&ATTRIBUTE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("asDouble", 4, Kind::Double),
    field("asInt", 6, Kind::Fixed64),
    field("exemplars", 5, Kind::Message(&EXEMPLAR)),
    field("flags", 8, Kind::Varint),
]);

static HISTOGRAM_POINT: Fields = Fields(&[
    field("attributes", 9, Kind::Message(&ATTRIBUTE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("bucketCounts", 6, Kind::Fixed64),
    field("explicitBounds", 7, Kind::Double),
    field("exemplars", 8, Kind::Message(&EXEMPLAR)),
    field("flags", 10, Kind::Varint),
]);

static EXPONENTIAL_POINT: Fields = Fields(&[
    field("attributes", 1, Kind::Message(&ATTRIBUTE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("scale", 6, Kind::Zigzag),
    field("zeroCount", 7, Kind::Fixed64),
    field("positive", 8, Kind::Message(&BUCKETS)),
    field("negative", 9, Kind::Message(&BUCKETS)),
    field("flags", 10, Kind::Varint),
    field("exemplars", 11, Kind::Message(&EXEMPLAR)),
    field("zeroThreshold", 14, Kind::Double),
]);

static BUCKETS: Fields = Fields(&[
    field("offset", 1, Kind::Zigzag),
    field("bucketCounts", 2, Kind::Varint),
]);

static SUMMARY_POINT: Fields = Fields(&[
    field("attributes", 7, Kind::Message(&ATTRIBUTE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("quantileValues", 6, Kind::Message(&QUANTILE)),
    field("flags", 8, Kind::Varint),
]);

static QUANTILE: Fields = Fields(&[
    field("quantile", 1, Kind::Double),
    field("value", 2, Kind::Double),
]);

static EXEMPLAR: Fields = Fields(&[
    field("filteredAttributes", 7, Kind::Message(&ATTRIBUTE)),
    field("timeUnixNano", 2, Kind::Fixed64),
    field("asDouble", 3, Kind::Double),
    field("asInt", 6, Kind::Fixed64),
    field("spanId", 4, Kind::Hex),
    field("traceId", 5, Kind::Hex),
]);

static ATTRIBUTE: Fields = Fields(&[
    field("key", 1, Kind::Text),
    field("value", 2, Kind::Message(&ANY_VALUE)),
]);

static ANY_VALUE: Fields = Fields(&[
    field("stringValue", 1, Kind::Text),
    field("boolValue", 2, Kind::Bool),
    field("intValue", 3, Kind::Varint),
    field("doubleValue", 4, Kind::Double),
    field("arrayValue", 5, Kind::Message(&ARRAY)),
    field("kvlistValue", 6, Kind::Message(&MAP)),
    field("bytesValue", 7, Kind::Base64),
]);

static ARRAY: Fields = Fields(&[field("values", 1, Kind::Message(&ANY_VALUE))]);

static MAP: Fields = Fields(&[field("values", 1, Kind::Message(&ATTRIBUTE))]);

/// Reads an object and appends its fields.
struct Content<'o> {
    fields: &'static Fields,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.fields.named(&key) {
                Some(field) => map.next_value_seed(FieldValue {
                    field,
                    out: self.out,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads the value of a field, or a list of such, and appends it.
struct FieldValue<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl FieldValue<'_> {
    fn key(&mut self, wire: u8) {
        encode_varint(
            u64::from(self.field.number) << 3 | u64::from(wire),
            self.out,
        );
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.key(BYTES);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    fn fixed(&mut self, bits: u64) {
        self.key(FIXED64);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    fn varint(&mut self, n: u64) {
        self.key(VARINT);
        encode_varint(n, self.out);
    }

    /// Appends a whole number, which may use 64 bits with or without a sign.
    fn whole<E: Error>(mut self, n: i128) -> Result<(), E> {
        let in_range = i128::from(i64::MIN)..=i128::from(u64::MAX);
        if !in_range.contains(&n) {
            return Err(self.unfit(format_args!("{n} does not fit 64 bits")));
        }

        // Two's complement, as the protocol has it.
        let bits = n as u64;

        match self.field.kind {
            Kind::Varint | Kind::Temporality => self.varint(bits),
            Kind::Fixed64 => self.fixed(bits),
            Kind::Double => self.fixed((n as f64).to_bits()),
            Kind::Zigzag => {
                let n = i32::try_from(n)
                    .map_err(|_| self.unfit(format_args!("{n} does not fit 32 bits")))?;
                self.varint(u64::from(((n << 1) ^ (n >> 31)) as u32));
            }
            _ => return Err(self.unfit(format_args!("a number is not expected"))),
        }

        Ok(())
    }

    fn unfit<E: Error>(&self, why: fmt::Arguments<'_>) -> E {
        E::custom(format!("{}: {why}", self.field.name))
    }
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.field.name)
    }

    /// `null`: the field is not there.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, truth: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => self.varint(u64::from(truth)),
            _ => return Err(self.unfit(format_args!("a truth value is not expected"))),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        self.whole(i128::from(n))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.whole(i128::from(n))
    }

    fn visit_f64<E: Error>(mut self, n: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.fixed(n.to_bits()),
            _ if n.fract() == 0.0 => return self.whole(n as i128),
            _ => return Err(self.unfit(format_args!("{n} is not a whole number"))),
        }
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Hex => {
                let bytes =
                    from_hex(text).ok_or_else(|| self.unfit(format_args!("is not hexadecimal")))?;
                self.bytes(&bytes);
            }
            Kind::Base64 => {
                let bytes = STANDARD
                    .decode(text)
                    .map_err(|e| self.unfit(format_args!("is not base64: {e}")))?;
                self.bytes(&bytes);
            }
            Kind::Double => {
                let n = special(text).or_else(|| text.parse().ok());
                let n: f64 =
                    n.ok_or_else(|| self.unfit(format_args!("{text:?} is not a number")))?;
                self.fixed(n.to_bits());
            }
            Kind::Temporality => {
                let n = temporality(text).or_else(|| text.parse().ok());
                let n = n.ok_or_else(|| self.unfit(format_args!("{text:?} is no temporality")))?;
                self.varint(n);
            }
            Kind::Varint | Kind::Zigzag | Kind::Fixed64 => {
                let n = text
                    .parse()
                    .map_err(|_| self.unfit(format_args!("{text:?} is not a whole number")))?;
                return self.whole(n);
            }
            Kind::Bool | Kind::Message(_) => {
                return Err(self.unfit(format_args!("text is not expected")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(FieldValue {
                field: self.field,
                out: self.out,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Kind::Message(fields) = self.field.kind else {
            return Err(self.unfit(format_args!("an object is not expected")));
        };

        self.key(BYTES);
        let start = self.out.len();
        Content {
            fields,
            out: self.out,
        }
        .visit_map(map)?;

        // The length is known only now, and stands before the content.
        let mut length = Vec::with_capacity(5);
        encode_varint((self.out.len() - start) as u64, &mut length);
        self.out.splice(start..start, length);

        Ok(())
    }
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn temporality(text: &str) -> Option<u64> {
    match text.strip_prefix("AGGREGATION_TEMPORALITY_")? {
        "UNSPECIFIED" => Some(0),
        "DELTA" => Some(1),
        "CUMULATIVE" => Some(2),
        _ => None,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        Some((digit(*high)? * 16 + digit(*low)?) as u8)
    });
    pairs.collect()
}

fn digit(b: u8) -> Option<u32> {
    char::from(b).to_digit(16)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::proto;
    use super::*;

    /// The only data point of the only metric.
    fn point<M: Message + Default>(json: &str) -> M {
        let bytes = to_protobuf(json.as_bytes()).expect("well formed");
        let mut inner = bytes.as_slice();

        // Resource, scope, metric, data, point: each is the last field of the one around it.
        for _ in 0..5 {
            let mut rest = &inner[1..];
            let length = prost::encoding::decode_varint(&mut rest).expect("a length") as usize;
            inner = &rest[..length];
        }

        M::decode(inner).expect("a point")
    }

    #[test]
    fn numbers_come_in_many_forms() {
        let json = r#"{"resource_metrics":[{"scopeMetrics":[{"metrics":[{"exponentialHistogram":{"dataPoints":[
            {"timeUnixNano":"1700000000000000000","count":3,"sum":"-Infinity","scale":-2,"unknown":{"a":[1,{}]},
             "positive":{"offset":"-7","bucketCounts":["1",2.0]},"flags":null}]}}]}]}]}"#;
        let p: proto::ExponentialHistogramDataPoint = point(json);

        assert_eq!(
            (p.time_unix_nano, p.count, p.sum),
            (1_700_000_000_000_000_000, 3, Some(f64::NEG_INFINITY))
        );
        assert_eq!((p.scale, p.flags), (-2, 0));
        assert_eq!(
            p.positive,
            Some(proto::Buckets {
                offset: -7,
                bucket_counts: vec![1, 2]
            })
        );
    }

    #[test]
    fn exemplars_have_ids_in_hexadecimal() {
        let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[
            {"asInt":"-5","exemplars":[{"traceId":"0aFF","asDouble":1e-3}]}]}}]}]}]}"#;
        let p: proto::NumberDataPoint = point(json);

        assert_eq!(p.value, Some(proto::Number::Int(-5)));
        assert_eq!(p.exemplars[0].trace_id, [0x0a, 0xff]);
        assert_eq!(
            p.exemplars[0].value,
            Some(proto::ExemplarNumber::Double(0.001))
        );
    }

    #[test]
    fn wrong_texts_are_refused_with_the_field() {
        let refused = |json: &str| {
            to_protobuf(json.as_bytes())
                .expect_err("refused")
                .to_string()
        };

        assert!(refused("{").contains("EOF"));
        assert!(
            refused(r#"{"resourceMetrics":7}"#)
                .contains("resourceMetrics: a number is not expected")
        );

        let metric = |data: &str| {
            format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{data}]}}]}}]}}"#)
        };
        assert!(
            refused(&metric(r#"{"sum":{"aggregationTemporality":"X"}}"#))
                .contains("\"X\" is no temporality")
        );

        let points = |p: &str| metric(&format!(r#"{{"gauge":{{"dataPoints":[{p}]}}}}"#));
        assert!(refused(&points(r#"{"timeUnixNano":"soon"}"#)).contains("timeUnixNano"));
        assert!(
            refused(&points(r#"{"exemplars":[{"traceId":"abc"}]}"#)).contains("is not hexadecimal")
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}{}", r#"{"resourceMetrics":["#.repeat(100), "1");
        assert!(to_protobuf(deep.as_bytes()).is_err());
    }
}
