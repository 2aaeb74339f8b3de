//! The text exposition format 0.0.4.

use std::fmt::Write;

use trireme_model::{Labels, METRIC_NAME};

use super::escape::{Escaping, is_legacy, is_legacy_label};
use super::{Newest, Value};
use crate::json;

/// Lines of all floats; series must be sorted by name. Native histograms have no place in this format.
pub(super) fn expose(found: &[Newest], escaping: Escaping) -> Vec<u8> {
    let mut out = String::new();

    let mut last = None;
    for newest in found {
        let Value::Float(v) = newest.value else {
            continue;
        };
        let metric = newest.labels.metric_name();
        let name = escaping.name(metric);
        let is_legacy = is_legacy(&name);
        let written = if is_legacy {
            name.to_string()
        } else {
            quoted(&name)
        };

        if last != Some(metric) {
            let _ = writeln!(out, "# TYPE {written} untyped");
            last = Some(metric);
        }

        let mut parts = label_parts(&newest.labels, escaping);
        let before = if is_legacy {
            written
        } else {
            parts.insert(0, written);
            String::new()
        };

        let mut number = Vec::new();
        json::push_float(&mut number, v);
        let number = String::from_utf8_lossy(&number);
        let parts = parts.join(",");
        let _ = writeln!(out, "{before}{{{parts}}} {number} {}", newest.t);
    }

    out.into_bytes()
}

/// The labels of a series but its name, as they stand between the braces.
fn label_parts(labels: &Labels, escaping: Escaping) -> Vec<String> {
    let pairs = labels.iter().filter(|(n, _)| *n != METRIC_NAME);
    let mut parts: Vec<String> = pairs.map(|(n, v)| pair(n, v, escaping)).collect();

    // Prometheus adds an empty instance, so that the scraper does not put its own there.
    if labels.get("instance").is_none() {
        parts.push("instance=\"\"".to_owned());
    }
    parts
}

fn pair(name: &str, value: &str, escaping: Escaping) -> String {
    let name = escaping.name(name);
    if is_legacy_label(&name) {
        format!("{name}={}", quoted(value))
    } else {
        format!("{}={}", quoted(&name), quoted(value))
    }
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    use trireme_model::Labels;

    use super::*;

    fn newest(pairs: &[(&str, &str)], t: i64, v: f64) -> Newest {
        Newest {
            labels: Labels::from_pairs(pairs.iter().copied()),
            t,
            value: Value::Float(v),
        }
    }

    #[test]
    fn lines_are_the_text_format() {
        let found = [
            newest(&[("__name__", "a"), ("x", "q\"\n")], 1, 1.5),
            newest(&[("__name__", "a"), ("instance", "i")], 2, f64::INFINITY),
        ];
        let want =
            "# TYPE a untyped\na{x=\"q\\\"\\n\",instance=\"\"} 1.5 1\na{instance=\"i\"} +Inf 2\n";
        assert_eq!(expose(&found, Escaping::Underscores), want.as_bytes());
    }

    #[test]
    fn names_beyond_the_old_ones_are_quoted_or_escaped_as_the_scraper_can_read() {
        let found = [newest(&[("__name__", "a.b.c"), ("d.e", "x")], 1, 1.0)];
        let quoted = "# TYPE \"a.b.c\" untyped\n{\"a.b.c\",\"d.e\"=\"x\",instance=\"\"} 1 1\n";
        assert_eq!(expose(&found, Escaping::AllowUtf8), quoted.as_bytes());
        let escaped = "# TYPE a_b_c untyped\na_b_c{d_e=\"x\",instance=\"\"} 1 1\n";
        assert_eq!(expose(&found, Escaping::Underscores), escaped.as_bytes());
    }
}
