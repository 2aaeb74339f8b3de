//! Why a query could not be parsed.

use std::fmt;

use trireme_base::ErrorKind;

use crate::ast::PosRange;

/// A syntax or type error of a query; its text has the form `1:4: parse error: ...` that Prometheus uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// The offending part of the query.
    pub pos: PosRange,
    /// Line of the start of `pos`, from 1; 0 when the query is empty and there is no place to name.
    pub line: usize,
    /// Column in bytes of the start of `pos`, from 1.
    pub column: usize,
}

impl ParseError {
    /// An error at `pos` of `query`.
    pub(crate) fn new(query: &str, pos: PosRange, message: impl Into<String>) -> Self {
        let (line, column) = if query.is_empty() {
            (0, 0)
        } else {
            pos.line_col(query)
        };
        Self {
            message: message.into(),
            pos,
            line,
            column,
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "unknown position: parse error: {}", self.message)
        } else {
            write!(
                f,
                "{}:{}: parse error: {}",
                self.line, self.column, self.message
            )
        }
    }
}

impl std::error::Error for ParseError {}
