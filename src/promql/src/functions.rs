//! The functions of the language, one file per family.

pub(crate) mod classic;
pub(crate) mod extended;
pub(crate) mod integral;
pub(crate) mod math;
pub(crate) mod native;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod range;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sort;
pub(crate) mod time;
pub(crate) mod transitions;
pub(crate) mod window;

use trireme_model::Labels;

use crate::annotations::{Note, Notes};
use crate::ast::PosRange;

/// Where notes about a series go.
pub(crate) struct Notice<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) pos: PosRange,
    pub(crate) notes: &'a mut Notes,
}

impl Notice<'_> {
    /// Adds a note that names the metric.
    pub(crate) fn add(&mut self, note: fn(&str, PosRange) -> Note) {
        self.notes.add(note(self.labels.metric_name(), self.pos));
    }

    /// Adds any note.
    pub(crate) fn add_note(&mut self, note: Note) {
        self.notes.add(note);
    }
}
