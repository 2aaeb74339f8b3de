//! Regular expressions with the meaning that Go's `regexp` (RE2) gives them in Prometheus.
//!
//! A pattern is anchored at both ends, `.` matches line ends too, `\d`, `\w`, `\s` and `\b` know ASCII only.
//! [`translate`] rewrites it for the `regex` crate, [`shape`] finds the simple cases that need no automaton.

mod expand;
mod patterns;
mod shape;
mod translate;
mod weight;

use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::Hir;

pub use patterns::{PATTERNS_BYTES_MAX, Patterns};
use shape::Shape;

/// Longest pattern accepted, in bytes, if it has to be compiled.
pub const PATTERN_BYTES_MAX: usize = 1 << 18;
/// Longest list of plain alternatives, in bytes.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Bound of a compiled pattern's program in memory, in bytes.
const PROGRAM_BYTES_MAX: usize = 16 << 20;
/// Most memory that the automaton builds on the way for one search at a time, beside its program, in bytes.
const SEARCH_BYTES_MAX: usize = 1 << 20;
/// Most classes of Unicode properties in a pattern: each takes some kilobytes before anything is compiled.
const PROPERTIES_MAX: usize = 1_000;
/// Each group of a pattern is at most two levels deep in its translation.
const NEST_LIMIT: u32 = translate::DEPTH_MAX as u32 * 2 + 10;

/// Why a pattern is not a regular expression; the texts are those of Go.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("error parsing regexp: {0}")]
pub struct RegexpError(pub String);

/// A compiled, anchored pattern. Clones share the program.
#[derive(Clone)]
pub struct Regexp(Arc<Inner>);

struct Inner {
    source: Box<str>,
    shape: Shape,
    prefix: Box<str>,
    suffix: Box<str>,
    weight: usize,
    /// Compiled at once for [`Shape::General`]. The other shapes need it for [`Regexp::expand`] only, and a long
    /// alternation takes milliseconds. `None` if it is too large, which such simple patterns cannot be.
    automaton: OnceLock<Option<Regex>>,
}

impl Regexp {
    /// Compiles `pattern`, which is written in Go's syntax. Patterns that a client chooses go through [`Patterns`],
    /// which bounds what all of a request take together.
    pub fn new(pattern: &str) -> Result<Self, RegexpError> {
        Self::within(pattern, usize::MAX)
    }

    /// The same, refused before it is compiled if it takes more than about `bytes_max` bytes.
    fn within(pattern: &str, bytes_max: usize) -> Result<Self, RegexpError> {
        let may_be_list = pattern.len() <= LIST_BYTES_MAX;
        if let Some(analysis) = may_be_list
            .then(|| shape::plain_alternatives(pattern))
            .flatten()
        {
            let weight = refuse_beyond(bytes_max, weight::of_text(pattern))?;
            return Ok(Self::build(pattern, analysis, weight, OnceLock::new()));
        }

        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(RegexpError(format!(
                "expression larger than {PATTERN_BYTES_MAX} bytes"
            )));
        }

        if weight::properties(pattern) > PROPERTIES_MAX {
            return Err(RegexpError("expression too large".to_owned()));
        }

        let translated = translate::translate(pattern).map_err(RegexpError)?;
        let hir = parse(&translated)?;

        let analysis = shape::analyse(&hir);
        let weight = refuse_beyond(bytes_max, weight::of_program(&hir))?;
        let automaton = match analysis.shape {
            Shape::General => OnceLock::from(Some(compile(&translated, PROGRAM_BYTES_MAX)?)),
            _ => OnceLock::new(),
        };

        Ok(Self::build(pattern, analysis, weight, automaton))
    }

    fn build(
        pattern: &str,
        analysis: shape::Analysis,
        weight: usize,
        automaton: OnceLock<Option<Regex>>,
    ) -> Self {
        let shape::Analysis {
            shape,
            prefix,
            suffix,
        } = analysis;
        Self(Arc::new(Inner {
            source: pattern.into(),
            shape,
            prefix,
            suffix,
            weight,
            automaton,
        }))
    }

    /// About how much memory it takes at most, in bytes.
    pub fn weight(&self) -> usize {
        self.0.weight
    }

    /// About how much memory it takes at most while it is kept, with what searches leave in it, in bytes.
    pub fn kept_bytes(&self) -> usize {
        let searches = if matches!(self.0.shape, Shape::General) {
            SEARCH_BYTES_MAX
        } else {
            0
        };
        self.weight().saturating_add(searches)
    }

    fn automaton(&self) -> Option<&Regex> {
        let inner = &*self.0;
        inner
            .automaton
            .get_or_init(|| {
                compile(
                    &translate::translate(&inner.source).ok()?,
                    PROGRAM_BYTES_MAX * 8,
                )
                .ok()
            })
            .as_ref()
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// True if the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        let inner = &*self.0;
        match &inner.shape {
            Shape::Any => true,
            Shape::NonEmpty => !value.is_empty(),
            Shape::Set(set) => set.binary_search_by(|v| (**v).cmp(value)).is_ok(),
            Shape::Prefix { literal, more } => value
                .strip_prefix(&**literal)
                .is_some_and(|rest| !more || !rest.is_empty()),
            Shape::Suffix { literal, more } => value
                .strip_suffix(&**literal)
                .is_some_and(|rest| !more || !rest.is_empty()),
            Shape::Contains(literal) => value.contains(&**literal),
            Shape::General => {
                value.len() >= inner.prefix.len().max(inner.suffix.len())
                    && value.starts_with(&*inner.prefix)
                    && value.ends_with(&*inner.suffix)
                    && self
                        .automaton()
                        .is_some_and(|r| r.is_match(value.as_bytes()))
            }
        }
    }

    /// All strings the pattern matches, sorted, if they are few and can be listed; `a|b|c` is the usual case.
    pub fn set_matches(&self) -> Option<&[Box<str>]> {
        match &self.0.shape {
            Shape::Set(set) => Some(set),
            _ => None,
        }
    }

    /// A string every match starts with; may be empty.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// A string every match ends with; may be empty.
    pub fn suffix(&self) -> &str {
        &self.0.suffix
    }

    /// True if every string matches.
    pub fn matches_everything(&self) -> bool {
        matches!(self.0.shape, Shape::Any)
    }

    /// If all of `value` matches, `template` with `$1`, `${1}`, `$name` and `${name}` replaced by what the groups
    /// matched (nothing for groups that do not exist) and `$$` by `$`.
    pub fn expand(&self, value: &str, template: &str) -> Option<String> {
        let captures = self.automaton()?.captures(value.as_bytes())?;
        let mut out = Vec::with_capacity(template.len() + value.len());
        expand::expand(&captures, template, &mut out);

        // Groups end between characters, because the pattern consumes whole characters only.
        Some(
            String::from_utf8(out)
                .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
        )
    }
}

/// The weight, or an error if it is more than that.
fn refuse_beyond(bytes_max: usize, weight: usize) -> Result<usize, RegexpError> {
    if weight > bytes_max {
        return Err(patterns::too_much());
    }
    Ok(weight)
}

fn parse(translated: &str) -> Result<Hir, RegexpError> {
    regex_syntax::ParserBuilder::new()
        .utf8(false)
        .dot_matches_new_line(true)
        .nest_limit(NEST_LIMIT)
        .build()
        .parse(translated)
        .map_err(|e| RegexpError(last_line(&e.to_string())))
}

fn compile(translated: &str, program_bytes_max: usize) -> Result<Regex, RegexpError> {
    let built = RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(program_bytes_max)
        .dfa_size_limit(SEARCH_BYTES_MAX)
        .nest_limit(NEST_LIMIT + 10)
        .build();
    built.map_err(|e| match e {
        regex::Error::Syntax(text) => RegexpError(last_line(&text)),
        _ => RegexpError("expression too large".to_owned()),
    })
}

/// The error of the `regex` crates spans lines and ends with the reason.
fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or(text)
        .trim_start_matches("error: ")
        .to_owned()
}

impl std::fmt::Debug for Regexp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Regexp({:?})", self.0.source)
    }
}

#[cfg(test)]
mod tests;
