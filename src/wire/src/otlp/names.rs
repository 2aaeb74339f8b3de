//! Names of metrics and labels as Prometheus's translation makes them (underscores, with unit and type suffixes).

use trireme_model::MetricType;

/// Units by their UCUM code.
const UNITS: [(&str, &str); 30] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("B", "bytes"),
    ("KB", "kilobytes"),
    ("MB", "megabytes"),
    ("GB", "gigabytes"),
    ("TB", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

/// Units behind "per".
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// Name of a metric. `plain_gauge`: it came as a gauge, so that the unit "1" makes it a ratio.
pub(super) fn metric(name: &str, unit: &str, kind: MetricType, plain_gauge: bool) -> String {
    let mut tokens: Vec<String> = tokens(name);
    let (main, per) = split(unit);
    if let Some(main) = main.filter(|u| !tokens.contains(u)) {
        tokens.push(main);
    }
    if let Some(per) = per.filter(|u| !tokens.contains(u)) {
        tokens.push("per".to_owned());
        tokens.push(per);
    }
    let mut end_with = |suffix: &str| {
        tokens.retain(|t| t != suffix);
        tokens.push(suffix.to_owned());
    };
    if kind == MetricType::Counter {
        end_with("total");
    }
    if unit == "1" && plain_gauge {
        end_with("ratio");
    }
    let name = tokens.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The unit as metadata shows it.
pub(super) fn unit(unit: &str) -> String {
    match split(unit) {
        (Some(main), Some(per)) => format!("{main}_per_{per}"),
        (Some(main), None) => main,
        (None, Some(per)) => format!("per_{per}"),
        (None, None) => String::new(),
    }
}

/// Name of a label.
pub(super) fn label(key: &str) -> String {
    let clean: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{clean}")
    } else if clean.starts_with('_') && !clean.starts_with("__") {
        format!("key{clean}")
    } else {
        clean
    }
}

/// Words of letters, digits and colons.
fn tokens(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
    words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// What is measured, and per what, as words. Units in braces are comments.
fn split(unit: &str) -> (Option<String>, Option<String>) {
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(m, p)| (m, p));
    let word = |code: &str, known: &[(&str, &str)]| {
        let code = code.trim();
        if code.contains(['{', '}']) || code == "1" {
            return None;
        }
        let word = known.iter().find(|(c, _)| *c == code).map_or(code, |(_, word)| word);
        let word = tokens(word).join("_");
        (!word.is_empty()).then_some(word)
    };
    (word(main, &UNITS), word(per, &PER_UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_carry_unit_and_type() {
        use MetricType::{Counter, Gauge, Histogram};
        let cases = [
            ("http.server.duration", "ms", Histogram, false, "http_server_duration_milliseconds"),
            ("http.requests", "1", Counter, false, "http_requests_total"),
            ("system.io.total", "By", Counter, false, "system_io_bytes_total"),
            ("system.cpu.utilization", "1", Gauge, true, "system_cpu_utilization_ratio"),
            ("queue.length", "{items}", Gauge, true, "queue_length"),
            ("speed", "m/s", Gauge, true, "speed_meters_per_second"),
            ("process.seconds", "s", Gauge, true, "process_seconds"),
            ("2xx", "", Gauge, true, "_2xx"),
            ("a..b__c", "", Gauge, true, "a_b_c"),
        ];
        for (name, unit, kind, plain, want) in cases {
            assert_eq!(metric(name, unit, kind, plain), want);
        }
    }

    #[test]
    fn label_names_are_made_legal() {
        let cases = [
            ("http.method", "http_method"),
            ("0a", "key_0a"),
            ("_x", "key_x"),
            ("__x", "__x"),
            ("é", "key_"),
        ];
        for (key, want) in cases {
            assert_eq!(label(key), want);
        }
    }
}
