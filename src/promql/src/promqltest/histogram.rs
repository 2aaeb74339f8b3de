//! Histogram literals: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use trireme_model::{FloatHistogram, ResetHint, Span};

use super::series::signed_number;

/// A histogram as written.
pub(super) struct Literal {
    pub(super) histogram: FloatHistogram,
    /// `counter_reset_hint` was there.
    pub(super) hint_written: bool,
}

/// Reads the literal at the start of `text` and returns what follows it.
pub(super) fn parse_literal(text: &str) -> Result<(Literal, &str), String> {
    let end = text
        .find("}}")
        .ok_or_else(|| format!("histogram without end: {text:?}"))?;
    let inside = text
        .strip_prefix("{{")
        .and_then(|t| t.get(..end - 2))
        .ok_or("not a histogram")?;
    let mut literal = Literal {
        histogram: FloatHistogram::default(),
        hint_written: false,
    };
    let mut offset = 0;
    let mut n_offset = 0;

    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (key, value, tail) = descriptor(rest, inside)?;
        rest = tail;

        let h = &mut literal.histogram;
        match key {
            "schema" => h.schema = integer(value)?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "offset" => offset = integer(value)?,
            "n_offset" => n_offset = integer(value)?,
            "buckets" => h.positive_buckets = list(value)?,
            "n_buckets" => h.negative_buckets = list(value)?,
            "custom_values" => h.custom_values = list(value)?,
            "counter_reset_hint" => {
                literal.hint_written = true;
                h.reset_hint = reset_hint(value)?;
            }
            _ => return Err(format!("bad histogram descriptor found: {key:?}")),
        }
    }

    let h = &mut literal.histogram;
    h.positive_spans = spans(offset, h.positive_buckets.len());
    h.negative_spans = spans(n_offset, h.negative_buckets.len());

    Ok((literal, &text[end + 2..]))
}

/// Key and value at the start of `text`, and what follows them. `inside` is for the error.
fn descriptor<'a>(text: &'a str, inside: &str) -> Result<(&'a str, &'a str, &'a str), String> {
    let (key, tail) = text
        .split_once(':')
        .ok_or_else(|| format!("missing `:` in {inside:?}"))?;
    let value_len = match tail.strip_prefix('[') {
        Some(list) => list
            .find(']')
            .map(|n| n + 2)
            .ok_or_else(|| format!("missing `]` in {inside:?}"))?,
        None => tail.find(char::is_whitespace).unwrap_or(tail.len()),
    };

    let (value, tail) = tail.split_at(value_len);
    Ok((key, value, tail.trim_start()))
}

fn reset_hint(value: &str) -> Result<ResetHint, String> {
    match value {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "not_reset" => Ok(ResetHint::NotReset),
        "gauge" => Ok(ResetHint::Gauge),
        _ => Err(format!("bad counter_reset_hint {value:?}")),
    }
}

fn spans(offset: i32, buckets: usize) -> Vec<Span> {
    match u32::try_from(buckets) {
        Ok(length) if length > 0 => vec![Span { offset, length }],
        _ => Vec::new(),
    }
}

fn integer(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("bad integer {text:?}"))
}

fn number(text: &str) -> Result<f64, String> {
    match signed_number(text)? {
        (value, "") => Ok(value),
        (_, rest) => Err(format!("unexpected {rest:?} in {text:?}")),
    }
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inside
        .ok_or_else(|| format!("not a list: {text:?}"))?
        .split_whitespace()
        .map(number)
        .collect()
}
