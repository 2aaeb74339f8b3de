//! The protobuf exposition formats: `MetricFamily` messages of `io.prometheus.client`, each after its length or as text.

use prost::Message;
use trireme_model::{FloatHistogram, METRIC_NAME, ResetHint};

use super::escape::Escaping;
use super::prototext::Writer;
use super::{Newest, Value};

#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, optional, tag = "4")]
    count: Option<f64>,
    #[prost(double, optional, tag = "2")]
    sum: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    zero_count: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_spans: Vec<Span>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<Span>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    positive_counts: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In bytes, after its length.
    Delimited,
    /// As text, a field a line.
    Text,
    /// As text, a message a line.
    Compact,
}

/// Numbers of `MetricType`.
const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

/// Families of all series, which must be sorted by name: one for each name and kind of sample in a row. Histograms with
/// custom buckets are left out, as this format has no place for their bounds.
pub(super) fn expose(found: &[Newest], escaping: Escaping, form: Form) -> Vec<u8> {
    let mut out = Vec::new();

    let mut family: Option<(&str, Family)> = None;
    for newest in found {
        let Some(kind) = kind_of(&newest.value) else {
            continue;
        };

        let name = newest.labels.metric_name();
        let goes_on = family
            .as_ref()
            .is_some_and(|(last, f)| *last == name && f.kind == Some(kind));

        if !goes_on {
            let written = Some(escaping.name(name).into_owned());
            let next = Family {
                name: written,
                kind: Some(kind),
                metrics: Vec::new(),
            };
            push(&mut out, family.replace((name, next)), form);
        }

        if let Some((_, family)) = &mut family {
            family.metrics.push(metric(newest, escaping));
        }
    }

    push(&mut out, family, form);
    out
}

/// None for what the format has no place for.
fn kind_of(value: &Value) -> Option<i32> {
    match value {
        Value::Float(_) => Some(UNTYPED),
        Value::Histogram(h) if h.uses_custom_buckets() => None,
        Value::Histogram(h) if h.reset_hint == ResetHint::Gauge => Some(GAUGE_HISTOGRAM),
        Value::Histogram(_) => Some(HISTOGRAM),
    }
}

fn push(out: &mut Vec<u8>, family: Option<(&str, Family)>, form: Form) {
    let Some((_, family)) = family else { return };

    match form {
        Form::Delimited => out.extend_from_slice(&family.encode_length_delimited_to_vec()),
        Form::Text => family.write(&mut Writer::lines(out)),
        Form::Compact => family.write(&mut Writer::one_line(out)),
    }

    if form != Form::Delimited {
        out.push(b'\n');
    }
}

impl Family {
    fn write(&self, w: &mut Writer<'_>) {
        w.text("name", self.name.as_deref());
        let kind = match self.kind {
            Some(HISTOGRAM) => "HISTOGRAM",
            Some(GAUGE_HISTOGRAM) => "GAUGE_HISTOGRAM",
            _ => "UNTYPED",
        };

        w.word("type", Some(kind));
        w.messages("metric", &self.metrics, |w, metric| {
            w.messages("label", &metric.labels, |w, pair| {
                w.text("name", pair.name.as_deref());
                w.text("value", pair.value.as_deref());
            });
            w.messages("untyped", &metric.untyped, |w, untyped| {
                w.float("value", untyped.value)
            });
            w.word("timestamp_ms", metric.timestamp_ms);
            w.messages("histogram", &metric.histogram, |w, histogram| {
                histogram.write(w)
            });
        });
    }
}

impl Histogram {
    fn write(&self, w: &mut Writer<'_>) {
        w.float("sample_count_float", self.count);
        w.float("sample_sum", self.sum);
        w.word("schema", self.schema);
        w.float("zero_threshold", self.zero_threshold);
        w.float("zero_count_float", self.zero_count);
        w.messages("negative_span", &self.negative_spans, Span::write);
        self.negative_counts
            .iter()
            .for_each(|n| w.float("negative_count", Some(*n)));
        w.messages("positive_span", &self.positive_spans, Span::write);
        self.positive_counts
            .iter()
            .for_each(|n| w.float("positive_count", Some(*n)));
    }
}

impl Span {
    fn write(w: &mut Writer<'_>, span: &Self) {
        w.word("offset", span.offset);
        w.word("length", span.length);
    }
}

impl Pair {
    fn new(name: String, value: &str) -> Self {
        Self {
            name: Some(name),
            value: Some(value.to_owned()),
        }
    }
}

fn metric(newest: &Newest, escaping: Escaping) -> Metric {
    let given = newest.labels.iter().filter(|(n, _)| *n != METRIC_NAME);
    let mut labels: Vec<Pair> = given
        .map(|(n, v)| Pair::new(escaping.name(n).into_owned(), v))
        .collect();

    // Prometheus adds an empty instance, so that the scraper does not put its own there.
    if newest.labels.get("instance").is_none() {
        labels.push(Pair::new("instance".to_owned(), ""));
    }

    let (untyped, histogram) = match &newest.value {
        Value::Float(v) => (Some(Untyped { value: Some(*v) }), None),
        Value::Histogram(h) => (None, Some(histogram(h))),
    };

    Metric {
        labels,
        untyped,
        histogram,
        timestamp_ms: Some(newest.t),
    }
}

fn histogram(h: &FloatHistogram) -> Histogram {
    Histogram {
        count: Some(h.count),
        sum: Some(h.sum),
        schema: Some(h.schema),
        zero_threshold: Some(h.zero_threshold),
        zero_count: Some(h.zero_count),
        negative_spans: spans_of(&h.negative_spans),
        negative_counts: h.negative_buckets.clone(),
        positive_spans: spans_of(&h.positive_spans),
        positive_counts: h.positive_buckets.clone(),
    }
}

fn spans_of(spans: &[trireme_model::Span]) -> Vec<Span> {
    spans
        .iter()
        .map(|s| Span {
            offset: Some(s.offset),
            length: Some(s.length),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trireme_model::Labels;

    use super::*;

    #[test]
    fn each_histogram_has_its_own_buckets_and_floats_are_a_family_of_their_own() {
        let labels =
            |i: &str| Labels::from_pairs([("__name__", "h.x"), ("i", i), ("instance", "n")]);
        let h = |count: f64| FloatHistogram {
            count,
            positive_spans: vec![trireme_model::Span {
                offset: 1,
                length: 1,
            }],
            positive_buckets: vec![count],
            ..FloatHistogram::default()
        };

        let newest = |i: &str, value| Newest {
            labels: labels(i),
            t: 7,
            value,
        };

        let found = [
            newest("1", Value::Histogram(Arc::new(h(10.0)))),
            newest("2", Value::Histogram(Arc::new(h(20.0)))),
            newest("3", Value::Float(1.0)),
        ];

        let bytes = expose(&found, Escaping::Underscores, Form::Delimited);
        let mut rest = bytes.as_slice();

        let mut families = Vec::new();
        while !rest.is_empty() {
            families.push(Family::decode_length_delimited(&mut rest).expect("own bytes"));
        }

        let counts = |f: &Family| {
            f.metrics
                .iter()
                .map(|m| m.histogram.as_ref().and_then(|h| h.count))
                .collect::<Vec<_>>()
        };

        assert_eq!(families.len(), 2);
        assert_eq!(
            (families[0].name.as_deref(), families[0].kind),
            (Some("h_x"), Some(HISTOGRAM))
        );
        assert_eq!(counts(&families[0]), [Some(10.0), Some(20.0)]);
        assert_eq!(
            (families[1].kind, families[1].metrics.len()),
            (Some(UNTYPED), 1)
        );
    }

    #[test]
    fn the_text_forms_say_the_same() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b\n")]);
        let h = FloatHistogram {
            count: 2.5,
            sum: f64::NAN,
            negative_spans: vec![trireme_model::Span {
                offset: -1,
                length: 1,
            }],
            negative_buckets: vec![f64::INFINITY],
            ..FloatHistogram::default()
        };

        let found = [
            Newest {
                labels: labels.clone(),
                t: 7,
                value: Value::Float(1e-9),
            },
            Newest {
                labels,
                t: 7,
                value: Value::Histogram(Arc::new(h)),
            },
        ];

        let text =
            |form| String::from_utf8(expose(&found, Escaping::AllowUtf8, form)).expect("text");
        let label = r#"label:{name:"job" value:"a\"b\n"} label:{name:"instance" value:""}"#;
        let compact = format!(
            "name:\"up\" type:UNTYPED metric:{{{label} untyped:{{value:1e-9}} timestamp_ms:7}}\n\
             name:\"up\" type:HISTOGRAM metric:{{{label} timestamp_ms:7 histogram:{{sample_count_float:2.5 \
             sample_sum:nan schema:0 zero_threshold:0 zero_count_float:0 negative_span:{{offset:-1 length:1}} \
             negative_count:inf}}}}\n"
        );

        assert_eq!(text(Form::Compact), compact);
        let lines = text(Form::Text);
        let begin = "name: \"up\"\ntype: UNTYPED\nmetric: {\n  label: {\n    name: \"job\"\n";
        assert!(lines.starts_with(begin), "{lines}");

        // But for white space it is the same text.
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(bare(&lines), bare(&compact));
    }
}
