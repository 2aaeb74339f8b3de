//! Attribute values as label values.
//!
//! Lists and maps are JSON as Go's encoder writes it, keys in order, since that is what Prometheus stores.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::proto::any_value::Value;
use super::proto::{AnyValue, KeyValueList};

/// Magnitudes from which, and below which, numbers have an exponent.
const EXPONENT_FROM: f64 = 1e21;
const EXPONENT_BELOW: f64 = 1e-6;

/// The text of a value; empty for none.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    let Some(value) = value.and_then(|v| v.value.as_ref()) else {
        return String::new();
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Double(n) if n.is_finite() => number(*n),
        Value::Double(n) => format!("json: unsupported value: {}", special(*n)),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::Array(_) | Value::Map(_) => {
            let mut out = String::new();
            match json(&mut out, value) {
                Ok(()) => out,
                Err(NotFinite) => String::new(),
            }
        }
    }
}

/// A number in a list or map that JSON cannot hold; nothing is left of the value then.
struct NotFinite;

fn json(out: &mut String, value: &Value) -> Result<(), NotFinite> {
    match value {
        Value::String(text) => quote(out, text),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Double(n) if n.is_finite() => out.push_str(&number(*n)),
        Value::Double(_) => return Err(NotFinite),
        Value::Bytes(bytes) => quote(out, &STANDARD.encode(bytes)),
        Value::Array(list) => {
            out.push('[');
            for (i, item) in list.values.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                nested(out, Some(item))?;
            }
            out.push(']');
        }
        Value::Map(map) => object(out, map)?,
    }
    Ok(())
}

fn object(out: &mut String, map: &KeyValueList) -> Result<(), NotFinite> {
    // The last entry of a name counts.
    let entries: BTreeMap<&str, Option<&AnyValue>> = map
        .values
        .iter()
        .map(|entry| (entry.key.as_str(), entry.value.as_ref()))
        .collect();

    out.push('{');
    for (i, (key, value)) in entries.into_iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        quote(out, key);
        out.push(':');
        nested(out, value)?;
    }

    out.push('}');
    Ok(())
}

fn nested(out: &mut String, value: Option<&AnyValue>) -> Result<(), NotFinite> {
    match value.and_then(|v| v.value.as_ref()) {
        Some(value) => json(out, value),
        None => {
            out.push_str("null");
            Ok(())
        }
    }
}

/// A finite number: plain digits, with an exponent where it is very large or small.
fn number(n: f64) -> String {
    let magnitude = n.abs();
    if magnitude == 0.0 || (EXPONENT_BELOW..EXPONENT_FROM).contains(&magnitude) {
        return n.to_string();
    }

    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

/// A number that is not finite, as Prometheus writes it. Also right for bounds and quantiles.
pub(super) fn special(n: f64) -> &'static str {
    if n.is_nan() {
        "NaN"
    } else if n > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

/// Quotes as Go does without its care for HTML.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }

    out.push('"');
}
