//! The syntax tree of a PromQL expression.
//!
//! Every node carries the byte range of the query text it was parsed from, because annotations and errors
//! name the place (`(1:5)`). Durations may be expressions over `step()` and `range()`; they become plain
//! milliseconds when [`resolve_durations`](crate::resolve_durations) has run for the query's parameters.

mod functions;
mod ops;
mod selector;
mod visit;

use std::sync::Arc;

use trireme_model::quote;

pub use functions::{FUNCTIONS, Function, ValueType, function};
pub use ops::{AggregateOp, BinaryOp, MatchCardinality, UnaryOp, VectorMatching};
pub use selector::{
    At, DurationArg, DurationExpr, DurationOp, MatrixSelector, Subquery, VectorSelector,
};

/// A half-open byte range of the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PosRange {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl PosRange {
    /// The range from `start` up to, not including, `end`. The parser bounds queries far below 4 GiB.
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    /// The smallest range that holds both.
    pub fn merge(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Line and column, both from 1, columns in bytes, of the range's start in `query`, as in `1:4`.
    pub fn line_col(self, query: &str) -> (usize, usize) {
        let start = (self.start as usize).min(query.len());
        let before = &query.as_bytes()[..start];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let col = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        (line, col)
    }

    /// The part of `query` in this range; empty if the range does not fit it.
    pub fn text(self, query: &str) -> &str {
        query
            .get(self.start as usize..self.end as usize)
            .unwrap_or("")
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `0x1f`, `Inf`, `1h30m`.
    Number(NumberLiteral),
    /// `"text"`.
    String(StringLiteral),
    /// `name{label="value"} offset 5m @ 10`.
    Vector(VectorSelector),
    /// `name[5m]`.
    Matrix(MatrixSelector),
    /// `expr[1h:1m]`.
    Subquery(Subquery),
    /// `(expr)`.
    Paren(Paren),
    /// `-expr`.
    Unary(Unary),
    /// `lhs op rhs`.
    Binary(Binary),
    /// `sum by (job) (expr)`.
    Aggregate(Aggregate),
    /// `rate(expr)`.
    Call(Call),
}

/// A number; a duration literal counts as its seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The value.
    pub value: f64,
    /// True when written as a duration; it is printed as one then.
    pub duration: bool,
    /// Where it stands.
    pub pos: PosRange,
}

/// A string, escapes resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The value; where bytes are not UTF-8 it has replacement characters. See [`StringLiteral::text`].
    pub value: Arc<str>,
    /// The bytes as written if they are not UTF-8, which byte escapes (`\xff`) make possible.
    pub bytes: Option<Arc<[u8]>>,
    /// Where it stands.
    pub pos: PosRange,
}

/// A string that would have to be UTF-8, as all labels are; holds it in quotes, with escapes for the stray bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid UTF-8 in string {0}")]
pub struct NotUtf8(pub String);

impl StringLiteral {
    /// The string, if it is UTF-8.
    pub fn text(&self) -> Result<&str, NotUtf8> {
        match &self.bytes {
            None => Ok(&self.value),
            Some(_) => Err(NotUtf8(self.quoted())),
        }
    }

    /// The string in double quotes.
    pub(crate) fn quoted(&self) -> String {
        let Some(bytes) = &self.bytes else {
            return quote(&self.value);
        };

        let mut out = String::from("\"");
        for chunk in bytes.utf8_chunks() {
            let valid = quote(chunk.valid());
            out.push_str(&valid[1..valid.len() - 1]);
            chunk
                .invalid()
                .iter()
                .for_each(|b| out.push_str(&format!("\\x{b:02x}")));
        }

        out.push('"');
        out
    }
}

/// A parenthesised expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// The inner expression.
    pub expr: Box<Expr>,
    /// Where it stands, parentheses included.
    pub pos: PosRange,
}

/// A sign before a scalar or an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// `+` or `-`.
    pub op: UnaryOp,
    /// The operand.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub pos: PosRange,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Where the operator stands.
    pub op_pos: PosRange,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
    /// `bool`: comparisons return 0 or 1 and do not filter.
    pub return_bool: bool,
    /// How series pair up; `Some` exactly when both operands are instant vectors.
    pub matching: Option<VectorMatching>,
    /// Where it stands.
    pub pos: PosRange,
}

/// An aggregation over series.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Box<Expr>,
    /// The first argument of `topk`, `bottomk`, `quantile`, `limitk`, `limit_ratio` (a scalar) and
    /// `count_values` (a string).
    pub param: Option<Box<Expr>>,
    /// Labels of `by` or `without`, as written.
    pub grouping: Vec<Arc<str>>,
    /// True for `without`.
    pub without: bool,
    /// Where it stands.
    pub pos: PosRange,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub func: &'static Function,
    /// Its arguments, already checked against the signature.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub pos: PosRange,
}

impl Expr {
    /// Where the expression stands in the query.
    pub fn pos(&self) -> PosRange {
        match self {
            Self::Number(e) => e.pos,
            Self::String(e) => e.pos,
            Self::Vector(e) => e.pos,
            Self::Matrix(e) => e.pos,
            Self::Subquery(e) => e.pos,
            Self::Paren(e) => e.pos,
            Self::Unary(e) => e.pos,
            Self::Binary(e) => e.pos,
            Self::Aggregate(e) => e.pos,
            Self::Call(e) => e.pos,
        }
    }

    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Paren(e) => e.expr.value_type(),
            Self::Unary(e) => e.expr.value_type(),
            Self::Binary(e) => match (e.lhs.value_type(), e.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Self::Call(e) => e.func.return_type,
        }
    }

    /// The expression without parentheses around it.
    pub fn unwrap_parens(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(p) = expr {
            expr = &p.expr;
        }
        expr
    }
}
