//! `[checkpoint]`: checkpoints of the head.

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Least time between checkpoints; those of a large head wait for as much log as makes them worth their bytes.
    pub interval: Span,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            interval: Span::from_secs(60),
        }
    }
}
