//! Names of metrics, units and labels as Prometheus's translation makes them (underscores, with unit and type suffixes).
//!
//! Source: the translation of Prometheus 3.16 with its default settings, which is the library otlptranslator 1.0.

use trireme_model::MetricType;

/// Units by their UCUM code. The dimensionless "1" has no word.
const UNITS: [(&str, &str); 26] = [
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
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
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

/// What stands before the name of a unit behind the slash.
const PER: &str = "per_";

/// Name of a metric, or `None` if no letter, digit or colon is left of it.
///
/// `plain_gauge`: it came as a gauge, so that the unit "1" makes it a ratio.
pub(super) fn metric(
    name: &str,
    unit: &str,
    kind: MetricType,
    plain_gauge: bool,
) -> Option<String> {
    let mut words: Vec<String> = words(name);
    add_unit(&mut words, unit);

    if kind == MetricType::Counter {
        end_with(&mut words, "total");
    }

    if unit == "1" && plain_gauge {
        end_with(&mut words, "ratio");
    }

    let name = words.join("_");
    let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let has_sign = name.contains(|c| c != '_');

    has_sign.then(|| {
        if starts_with_digit {
            format!("_{name}")
        } else {
            name
        }
    })
}

/// Makes a word the last, and only there.
fn end_with(words: &mut Vec<String>, suffix: &str) {
    words.retain(|word| word != suffix);
    words.push(suffix.to_owned());
}

/// The unit as metadata shows it.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = split(unit);
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        (true, _) => per,
    };

    let trimmed = joined.strip_prefix('_').unwrap_or(&joined);
    trimmed.strip_suffix('_').unwrap_or(trimmed).to_owned()
}

/// Name of a label, or `None` if it would be empty or of underscores only.
pub(super) fn label(key: &str) -> Option<String> {
    let clean: String = key
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let name = if clean.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{clean}")
    } else if clean.starts_with('_') && !clean.starts_with("__") {
        format!("key{clean}")
    } else {
        clean
    };

    name.contains(|c| c != '_').then_some(name)
}

/// Appends the words of a unit that the name does not have yet.
fn add_unit(words: &mut Vec<String>, unit: &str) {
    let (mut main, mut per) = split(unit);
    if words.contains(&main) {
        main.clear();
    }

    if per == PER {
        per.clear();
    } else if per.ends_with('_') {
        per.pop();
    }

    if words.contains(&per) {
        per.clear();
    }

    if !per.is_empty() && main.ends_with('_') {
        main.pop();
    }

    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
}

fn is_kept(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Words of letters, digits and colons.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !is_kept(c));
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What is measured, and per what (with `per_` before it); empty where there is nothing. Units in braces are comments.
fn split(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = named(main, &UNITS);
    let per = named(per, &PER_UNITS);
    let per = if per.is_empty() {
        String::new()
    } else {
        format!("{PER}{per}")
    };

    (legal(&main), legal(&per))
}

/// The word for a code, or the code itself.
fn named(code: &str, known: &[(&str, &str)]) -> String {
    let code = code.trim();
    if code.contains(['{', '}']) {
        return String::new();
    }

    known
        .iter()
        .find(|(c, _)| *c == code)
        .map_or(code, |(_, word)| word)
        .to_owned()
}

/// Other signs become underscores, several of them one, and none stands at the beginning.
fn legal(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        match is_kept(c) {
            true => out.push(c),
            false if out.ends_with('_') => {}
            false => out.push('_'),
        }
    }

    out.strip_prefix('_').map(str::to_owned).unwrap_or(out)
}
