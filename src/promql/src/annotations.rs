//! Warnings and infos that go with a result. Texts are those of Prometheus, which tools look for.

mod texts;

use hashbrown::HashMap;
pub(crate) use texts::*;
use trireme_model::format_float;

use crate::ast::PosRange;
use crate::functions::time::rfc3339;

/// Different notes of one query beyond this number are dropped: they can carry a metric name each.
const NOTES_MAX: usize = 10_000;

/// How serious a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Warning,
    Info,
}

/// Something to tell about a part of the query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) severity: Severity,
    /// Without the position.
    pub(crate) text: String,
    /// What the note is about; `None` for notes of the storage.
    pub(crate) pos: Option<PosRange>,
    pub(crate) mended: Option<Mended>,
}

/// How far classic buckets had to be mended to rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mended {
    /// First and last evaluation time (ms).
    pub(crate) t_min: i64,
    pub(crate) t_max: i64,
    /// Lowest and highest bound of a mended bucket.
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    /// Largest correction.
    pub(crate) diff_max: f64,
    /// Number of histograms.
    pub(crate) count: u64,
}

impl Mended {
    fn merge(&mut self, other: &Self) {
        self.t_min = self.t_min.min(other.t_min);
        self.t_max = self.t_max.max(other.t_max);
        self.bucket_min = self.bucket_min.min(other.bucket_min);
        self.bucket_max = self.bucket_max.max(other.bucket_max);
        self.diff_max = self.diff_max.max(other.diff_max);
        self.count += other.count;
    }
}

/// A set of notes. Of several with the same text, the first (with its position) stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    by_text: HashMap<String, Note>,
}

impl Notes {
    pub(crate) fn add(&mut self, note: Note) {
        if let Some(present) = self.by_text.get_mut(&note.text) {
            if let (Some(a), Some(b)) = (&mut present.mended, &note.mended) {
                a.merge(b);
            }
        } else if self.by_text.len() < NOTES_MAX {
            self.by_text.insert(note.text.clone(), note);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for note in other.by_text.into_values() {
            self.add(note);
        }
    }

    /// All notes, in any order.
    pub(crate) fn into_notes(self) -> impl Iterator<Item = Note> {
        self.by_text.into_values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Warnings and infos as texts, each sorted.
    pub(crate) fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let mut warnings = Vec::new();

        let mut infos = Vec::new();
        for note in self.by_text.values() {
            let mut text = note.text.clone();
            if let Some(m) = &note.mended {
                text.push_str(&format!(
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    format_float(m.bucket_min),
                    format_float(m.bucket_max),
                    two_digits(m.diff_max),
                    m.count,
                    rfc3339(m.t_min.div_euclid(1000)),
                    rfc3339(m.t_max.div_euclid(1000)),
                ));
            }

            if let Some(pos) = note.pos {
                let (line, col) = pos.line_col(query);
                text.push_str(&format!(" ({line}:{col})"));
            }

            match note.severity {
                Severity::Warning => warnings.push(text),
                Severity::Info => infos.push(text),
            }
        }

        warnings.sort_unstable();
        infos.sort_unstable();
        (warnings, infos)
    }
}

/// A float with two significant digits, as `%.2g` prints it.
fn two_digits(v: f64) -> String {
    let rounded: f64 = format!("{v:.1e}").parse().unwrap_or(v);
    if !rounded.is_finite() || rounded == 0.0 {
        return format_float(rounded);
    }

    let exponent = rounded.abs().log10().floor() as i32;
    if (-4..2).contains(&exponent) {
        return format!("{rounded}");
    }

    let scientific = format!("{rounded:e}");
    let mantissa = scientific.split('e').next().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };

    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once_with_the_first_position() {
        let mut notes = Notes::default();
        notes.add(mixed_floats_histograms_agg(PosRange::new(4, 5)));
        notes.add(mixed_floats_histograms_agg(PosRange::new(9, 10)));

        let (warnings, infos) = notes.render("sum(a) + sum(b)");
        assert_eq!(
            warnings,
            ["PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)"]
        );

        assert!(infos.is_empty());
    }

    #[test]
    fn mended_buckets_are_summed_up() {
        let mut notes = Notes::default();
        for (t, bucket, diff) in [(0, 2.5, 10.0), (60_000, 100.0, 3.0)] {
            notes.add(forced_monotonicity(
                "x",
                PosRange::new(0, 1),
                t,
                bucket,
                bucket,
                diff,
            ));
        }

        let (_, infos) = notes.render("q");
        assert_eq!(infos.len(), 1);
        assert!(infos[0].ends_with(
            "for metric name \"x\", from buckets 2.5 to 100, with a max diff of 10, over 2 samples \
             from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)"
        ));
    }

    #[test]
    fn two_significant_digits_as_go_prints_them() {
        for (v, text) in [
            (10.0, "10"),
            (100.0, "1e+02"),
            (0.0123, "0.012"),
            (1.55, "1.6"),
            (1e-7, "1e-07"),
        ] {
            assert_eq!(two_digits(v), text);
        }
    }
}
