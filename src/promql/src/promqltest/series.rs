//! Series descriptions: a metric and a sequence of values.

use trireme_model::{FloatHistogram, Labels, LabelsBuilder, MatchOp, STALE_NAN};

use super::engine::script_parser_options;
use super::histogram::{Literal, parse_literal};
use crate::durations::parse_duration;
use crate::lexer::parse_number;
use crate::parser::parse_selector;
use crate::value::SampleValue;

/// Most values that one line may stand for.
const VALUES_MAX: usize = 1_000_000;

/// A metric with values.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) labels: Labels,
    pub(super) values: Vec<SequenceValue>,
}

/// One place of a sequence.
#[derive(Clone, Debug)]
pub(super) struct SequenceValue {
    /// `None` for a gap.
    pub(super) value: Option<SampleValue>,
    /// The reset hint of a histogram was written and counts in comparisons.
    pub(super) hint_written: bool,
}

impl SequenceValue {
    const GAP: Self = Self {
        value: None,
        hint_written: false,
    };

    fn float(v: f64) -> Self {
        Self {
            value: Some(SampleValue::Float(v)),
            hint_written: false,
        }
    }

    fn histogram(h: FloatHistogram, hint_written: bool) -> Self {
        Self {
            value: Some(SampleValue::Histogram(h.into())),
            hint_written,
        }
    }
}

/// Reads `metric{label="value"} 1 2+1x3 _ {{sum:1 count:1}}x2`.
pub(super) fn parse_description(line: &str) -> Result<Description, String> {
    let (metric, values) = line.split_at(metric_len(line));
    let labels = parse_metric(metric)?;
    let mut sequence = Vec::new();

    let mut rest = values.trim_start();
    while !rest.is_empty() {
        rest = parse_item(rest, &mut sequence).map_err(|e| format!("{e} in {line:?}"))?;
        if !(rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            return Err(format!("unexpected {rest:?} in series values of {line:?}"));
        }
        if sequence.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values in {line:?}"));
        }
        rest = rest.trim_start();
    }

    Ok(Description {
        labels,
        values: sequence,
    })
}

/// Length of the metric at the start of the line.
fn metric_len(line: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;

    let mut inside_braces = false;
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') if inside_braces => quote = Some(c),
            (None, '{') => inside_braces = true,
            (None, '}') => return i + 1,
            (None, _)
                if c.is_whitespace()
                    && !inside_braces
                    && !line[i..].trim_start().starts_with('{') =>
            {
                return i;
            }
            (None, _)
                if c.is_whitespace()
                    && line[i..].trim_start().starts_with("{{")
                    && !inside_braces =>
            {
                return i;
            }
            (None, _) => {}
        }
    }

    line.len()
}

fn parse_metric(text: &str) -> Result<Labels, String> {
    let matchers =
        parse_selector(text, &script_parser_options()).map_err(|e| format!("{e} in {text:?}"))?;

    let mut labels = LabelsBuilder::default();
    for m in &matchers {
        if m.op != MatchOp::Equal {
            return Err(format!("{m} is not a label"));
        }
        labels.set(&m.name, &m.value);
    }

    Ok(labels.finish())
}

/// Reads one item and returns what follows it.
fn parse_item<'a>(text: &'a str, out: &mut Vec<SequenceValue>) -> Result<&'a str, String> {
    if let Some(rest) = text.strip_prefix('_') {
        let (times, rest) = repetition(rest)?;
        out.extend(std::iter::repeat_n(SequenceValue::GAP, times.unwrap_or(1)));
        return Ok(rest);
    }

    if text.starts_with("{{") {
        return parse_histogram_item(text, out);
    }
    if let Some(rest) = text.strip_prefix("stale") {
        out.push(SequenceValue::float(f64::from_bits(STALE_NAN)));
        return Ok(rest);
    }

    let (mut value, rest) = signed_number(text)?;
    let has_step = rest.starts_with(['+', '-']);
    let (step, rest) = if has_step {
        signed_number(rest)?
    } else {
        (0.0, rest)
    };

    let (times, rest) = repetition(rest)?;
    if has_step && times.is_none() {
        return Err(format!("step without repetition before {rest:?}"));
    }

    // N repetitions come after the value itself.
    for _ in 0..=times.unwrap_or(0) {
        out.push(SequenceValue::float(value));
        value += step;
    }

    Ok(rest)
}

fn parse_histogram_item<'a>(
    text: &'a str,
    out: &mut Vec<SequenceValue>,
) -> Result<&'a str, String> {
    let (
        Literal {
            histogram,
            hint_written,
        },
        rest,
    ) = parse_literal(text)?;

    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
    let Some(sign) = sign else {
        let (times, rest) = repetition(rest)?;
        let value = SequenceValue::histogram(histogram, hint_written);
        out.extend(std::iter::repeat_n(value, times.unwrap_or(0) + 1));
        return Ok(rest);
    };

    let (step, rest) = parse_literal(&rest[1..])?;
    let (times, rest) = repetition(rest)?;
    let mut current = histogram;

    out.push(SequenceValue::histogram(current.clone(), step.hint_written));
    for _ in 0..times.unwrap_or(0) {
        current = combined(current, &step.histogram, sign)?;
        out.push(SequenceValue::histogram(current.clone(), step.hint_written));
    }

    Ok(rest)
}

fn combined(
    mut current: FloatHistogram,
    step: &FloatHistogram,
    sign: char,
) -> Result<FloatHistogram, String> {
    if current.schema > step.schema {
        let from = step.schema;
        let to = current.schema;
        return Err(format!(
            "error combining histograms: cannot merge from schema {from} to {to}"
        ));
    }

    let outcome = if sign == '+' {
        current.add(step)
    } else {
        current.sub(step)
    };
    outcome.map_err(|e| e.to_string())?;
    Ok(current)
}

/// `xN`, if it is there.
fn repetition(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = text.strip_prefix('x') else {
        return Ok((None, text));
    };

    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let times = rest[..digits]
        .parse::<usize>()
        .ok()
        .filter(|n| *n <= VALUES_MAX);

    times
        .map(|n| (Some(n), &rest[digits..]))
        .ok_or_else(|| format!("invalid repetition in series values: {text:?}"))
}

/// The text as a number with an optional sign; durations are none.
pub(super) fn plain_number(text: &str) -> Option<f64> {
    let (sign, digits) = split_sign(text);
    Some(f64::from(sign) * parse_number(digits).ok()?)
}

/// A leading sign as 1 or -1, and the rest.
fn split_sign(text: &str) -> (i8, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

/// A number or duration with an optional sign at the start of `text`.
pub(super) fn signed_number(text: &str) -> Result<(f64, &str), String> {
    let (sign, rest) = split_sign(text);
    let len = number_len(rest);
    let (number, tail) = rest.split_at(len);
    let value = match parse_number(number) {
        Ok(value) => value,
        Err(_) => {
            parse_duration(number).map_err(|_| format!("bad number {rest:?}"))? as f64 / 1000.0
        }
    };

    Ok((f64::from(sign) * value, tail))
}

/// Length of a number, `Inf`, `NaN` or a duration; an `x` or a sign ends it, but for the sign of an exponent.
fn number_len(text: &str) -> usize {
    let bytes = text.as_bytes();

    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let after_exponent = at > 0
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes[0].is_ascii_digit() | (bytes[0] == b'.');
        match b {
            b'x' => break,
            b'+' | b'-' if !after_exponent => break,
            b'+' | b'-' | b'.' | b'_' => {}
            _ if b.is_ascii_alphanumeric() => {}
            _ => break,
        }
        at += 1;
    }

    at
}

/// Reads the values of an `@st` line: durations (ms) relative to the samples, `None` for gaps.
pub(super) fn parse_start_timestamps(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out: Vec<Option<i64>> = Vec::new();
    for item in text.split_whitespace() {
        if let Some(rest) = item.strip_prefix('_') {
            let (times, rest) = repetition(rest)?;
            out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            end_of_item(rest)?;
            continue;
        }

        let (base, step, rest) = match item.strip_prefix('*') {
            Some(rest) => (out.iter().rev().find_map(|v| *v).unwrap_or(0), 0, rest),
            None => {
                let (base, rest) = signed_duration(item)?;
                let (step, rest) = match rest.starts_with(['+', '-']) {
                    true => signed_duration(rest)?,
                    false => (0, rest),
                };
                (base, step, rest)
            }
        };

        let (times, rest) = repetition(rest)?;
        end_of_item(rest)?;
        let mut offset = base;

        for _ in 0..=times.unwrap_or(0) {
            out.push(Some(offset));
            offset += step;
        }
    }

    Ok(out)
}

fn end_of_item(rest: &str) -> Result<(), String> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("unexpected {rest:?} in @st values"))
    }
}

fn signed_duration(text: &str) -> Result<(i64, &str), String> {
    let (sign, rest) = split_sign(text);
    let (literal, tail) = rest.split_at(number_len(rest));
    let ms = parse_duration(literal).map_err(|e| e.to_string())?;
    Ok((i64::from(sign) * ms, tail))
}
