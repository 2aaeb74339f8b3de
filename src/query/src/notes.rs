//! Warnings that arise while series are read, after the selection has been answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Most texts that are kept.
const NOTES_MAX: usize = 100;

/// A bounded set of warnings; clones share it.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<BTreeSet<String>>>);

impl Notes {
    /// Adds a text, once.
    pub fn add(&self, text: impl Into<String>) {
        let mut notes = self.0.lock();
        if notes.len() < NOTES_MAX {
            notes.insert(text.into());
        }
    }

    /// Takes all texts, sorted.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock()).into_iter().collect()
    }
}
