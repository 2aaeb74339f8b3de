//! Attributes to labels.

use std::collections::BTreeMap;

use trireme_model::METRIC_NAME;

use super::OtlpOptions;
use super::names;
use super::proto::any_value::Value;
use super::proto::{AnyValue, KeyValue, Resource};

/// Labels by name.
pub(super) type LabelMap = BTreeMap<String, String>;

/// Attributes that become `job` and `instance`.
const IDENTITY: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// What a resource gives to its series.
pub(super) struct Target {
    /// `job`, `instance` and promoted attributes.
    pub(super) labels: LabelMap,
    /// Labels of the `target_info` series, if there is one.
    pub(super) info: Option<LabelMap>,
}

impl Target {
    pub(super) fn new(resource: &Resource, options: &OtlpOptions) -> Self {
        let find =
            |key: &str| resource.attributes.iter().find(|a| a.key == key).map(|a| text(a.value.as_ref()));
        let mut identity = LabelMap::new();
        match (find("service.namespace").filter(|n| !n.is_empty()), find("service.name")) {
            (Some(namespace), Some(name)) => {
                drop(identity.insert("job".into(), format!("{namespace}/{name}")))
            }
            (None, Some(name)) => drop(identity.insert("job".into(), name)),
            _ => {}
        }
        if let Some(instance) = find("service.instance.id") {
            identity.insert("instance".into(), instance);
        }
        identity.retain(|_, v| !v.is_empty());
        let other = || resource.attributes.iter().filter(|a| !IDENTITY.contains(&a.key.as_str()));
        let promoted = other().filter(|a| options.promote_resource_attributes.contains(&a.key));
        let mut labels = attributes(promoted);
        labels.extend(identity.clone());
        // Without job and instance nothing could be joined with it.
        let wanted = options.target_info && !identity.is_empty() && other().next().is_some();
        let info = wanted.then(|| {
            let mut info = attributes(other());
            info.extend(identity);
            info
        });
        Self { labels, info }
    }
}

/// Labels of attributes; values of attributes whose names become equal are joined, in order of the original names.
pub(super) fn attributes<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> LabelMap {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|a| !a.key.is_empty()).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.dedup_by(|a, b| a.key == b.key);
    let mut labels = LabelMap::new();
    for attribute in sorted {
        let value = text(attribute.value.as_ref());
        let entry = labels.entry(names::label(&attribute.key));
        entry
            .and_modify(|joined: &mut String| {
                joined.push(';');
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    labels.remove(METRIC_NAME);
    labels
}

/// A value as a label value; lists and maps are JSON.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Value::String(s)) => s.clone(),
        Some(other) => {
            let mut out = String::new();
            write_value(&mut out, other, 0);
            out
        }
        None => String::new(),
    }
}

/// Nested values deeper than this are left out; prost has bounded the message's own depth.
const DEPTH_MAX: usize = 32;

fn write_value(out: &mut String, value: &Value, depth: usize) {
    let nested = |out: &mut String, v: &Option<AnyValue>| match v.as_ref().and_then(|v| v.value.as_ref()) {
        Some(v) if depth < DEPTH_MAX => match v {
            Value::String(s) => quote(out, s),
            other => write_value(out, other, depth + 1),
        },
        _ => out.push_str("null"),
    };
    match value {
        Value::String(s) => out.push_str(s),
        Value::Bool(b) => out.push_str(&b.to_string()),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Double(n) => out.push_str(&n.to_string()),
        Value::Bytes(bytes) => bytes.iter().for_each(|b| out.push_str(&format!("{b:02x}"))),
        Value::Array(array) => {
            out.push('[');
            for (i, v) in array.values.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                nested(out, &Some(v.clone()));
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, entry) in map.values.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                quote(out, &entry.key);
                out.push(':');
                nested(out, &entry.value);
            }
            out.push('}');
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
