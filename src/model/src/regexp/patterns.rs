//! The regular expressions of one request, bounded together.

use std::collections::HashMap;

use super::{Regexp, RegexpError};

/// Memory that the patterns of one request may take together, in bytes.
pub const PATTERNS_BYTES_MAX: usize = 64 << 20;

/// Compiles the patterns of one request. Equal ones are compiled once; when all together would take more than
/// [`PATTERNS_BYTES_MAX`], the next one is refused before it is compiled.
#[derive(Debug)]
pub struct Patterns {
    compiled: HashMap<Box<str>, Regexp>,
    left_bytes: usize,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            compiled: HashMap::new(),
            left_bytes: PATTERNS_BYTES_MAX,
        }
    }
}

impl Patterns {
    /// Compiles `pattern`, or gives what was compiled for an equal one.
    pub fn compile(&mut self, pattern: &str) -> Result<Regexp, RegexpError> {
        if let Some(regexp) = self.compiled.get(pattern) {
            return Ok(regexp.clone());
        }

        let regexp = Regexp::within(pattern, self.left_bytes)?;

        // The key, the entry, and what it points to take memory as well.
        let taken = regexp.weight().saturating_add(2 * pattern.len() + 256);
        self.left_bytes = self.left_bytes.checked_sub(taken).ok_or_else(too_much)?;
        self.compiled.insert(pattern.into(), regexp.clone());

        Ok(regexp)
    }
}

/// What is said to a request with too many, or too large, patterns.
pub(super) fn too_much() -> RegexpError {
    RegexpError(format!(
        "the regular expressions of this request take more than {} MiB of memory together, which is the bound",
        PATTERNS_BYTES_MAX >> 20
    ))
}
