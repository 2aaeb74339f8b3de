//! Label matchers.

use std::fmt;
use std::sync::Arc;

use crate::{Patterns, Regexp, RegexpError, is_plain_label_name, quote};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// Why a matcher could not be built: its value is not a regular expression.
pub type MatcherError = RegexpError;

/// One condition on a label; an absent label counts as "".
#[derive(Clone)]
pub struct Matcher {
    /// Label name.
    pub name: Arc<str>,
    /// Comparison.
    pub op: MatchOp,
    /// Literal or regular expression as written.
    pub value: Arc<str>,
    regex: Option<Regexp>,
}

impl Matcher {
    /// Builds a matcher; regular expressions have RE2's meaning and are anchored at both ends.
    ///
    /// What a client chooses goes through [`Matcher::within`].
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        Self::within(name, op, value, &mut Patterns::default())
    }

    /// Builds one of the matchers of a request, whose regular expressions are bounded together by `patterns`.
    pub fn within(
        name: &str,
        op: MatchOp,
        value: &str,
        patterns: &mut Patterns,
    ) -> Result<Self, MatcherError> {
        let regex = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(patterns.compile(value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self {
            name: Arc::from(name),
            op,
            value: Arc::from(value),
            regex,
        })
    }

    /// True if a label with this value (or "" for an absent one) satisfies the matcher.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => *self.value == *value,
            MatchOp::NotEqual => *self.value != *value,
            MatchOp::Regex => self.is_match(value),
            MatchOp::NotRegex => !self.is_match(value),
        }
    }

    #[inline]
    fn is_match(&self, value: &str) -> bool {
        self.regex.as_ref().is_some_and(|r| r.is_match(value))
    }

    /// True if series without the label satisfy the matcher.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The compiled expression of `=~` and `!~`.
    pub fn regexp(&self) -> Option<&Regexp> {
        self.regex.as_ref()
    }

    /// All values that the regular expression of `=~` or `!~` matches, sorted, if they are few and can be listed.
    pub fn set_matches(&self) -> Option<&[Box<str>]> {
        self.regex.as_ref().and_then(Regexp::set_matches)
    }

    /// What every value that the regular expression matches starts with; empty if nothing is known.
    pub fn prefix(&self) -> &str {
        self.regex.as_ref().map_or("", Regexp::prefix)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            f.write_str(&quote(&self.name))?;
        }
        write!(f, "{}{}", self.op.as_str(), quote(&self.value))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
