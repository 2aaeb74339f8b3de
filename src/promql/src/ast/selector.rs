//! Selectors, their modifiers, and durations.

use std::sync::Arc;

use trireme_model::Matcher;

use super::{Expr, PosRange};

/// The `@` modifier: evaluate at this time instead of the step's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    /// The query's start.
    Start,
    /// The query's end.
    End,
}

/// An instant vector selector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name if it was written before the braces, or without any.
    pub name: Option<Arc<str>>,
    /// All conditions, the one on `__name__` included, in the order written (the name before the braces last).
    pub matchers: Vec<Matcher>,
    /// `offset`: shifts the evaluation time into the past; negative into the future.
    pub offset: DurationArg,
    /// `@`.
    pub at: Option<At>,
    /// `anchored`: the sample before the range's left edge takes part, nothing is extrapolated.
    pub anchored: bool,
    /// `smoothed`: values at the range's edges are interpolated.
    pub smoothed: bool,
    /// Where it stands, modifiers included.
    pub pos: PosRange,
}

/// A range vector selector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series, with offset, `@`, anchored and smoothed.
    pub selector: VectorSelector,
    /// Length of the range, greater than 0 once resolved.
    pub range: DurationArg,
    /// Where it stands, modifiers included.
    pub pos: PosRange,
}

/// An expression evaluated at many points of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// The inner expression.
    pub expr: Box<Expr>,
    /// Length of the range, greater than 0 once resolved.
    pub range: DurationArg,
    /// Distance of the points; `None` means the engine's default.
    pub step: Option<DurationArg>,
    /// `offset`.
    pub offset: DurationArg,
    /// `@`.
    pub at: Option<At>,
    /// Where it stands, modifiers included.
    pub pos: PosRange,
}

/// A duration in a selector: a value, and the expression it comes from if it was not a plain literal.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DurationArg {
    /// Milliseconds. Valid when `expr` is `None` or durations have been resolved.
    pub ms: i64,
    /// What was written, if it was more than a literal; the printer prefers it.
    pub expr: Option<Box<DurationExpr>>,
}

impl DurationArg {
    /// A plain duration.
    pub fn from_ms(ms: i64) -> Self {
        Self { ms, expr: None }
    }

    /// True if nothing was written (the offset of a selector without `offset`).
    pub fn is_unset(&self) -> bool {
        self.ms == 0 && self.expr.is_none()
    }
}

/// Operators between durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
}

impl DurationOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }

    /// How strongly the operator binds.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Add | Self::Sub => 1,
            Self::Mul | Self::Div | Self::Mod => 2,
            Self::Pow => 3,
        }
    }
}

/// A duration expression; values are seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds or a duration literal.
    Literal {
        /// Seconds.
        seconds: f64,
        /// True when written as a duration.
        duration: bool,
        /// Where it stands.
        pos: PosRange,
    },
    /// `step()`: the query's resolution, 0 for an instant query.
    Step(PosRange),
    /// `range()`: the query's end less its start.
    Range(PosRange),
    /// A minus sign.
    Neg {
        /// The operand.
        expr: Box<DurationExpr>,
        /// Where it stands.
        pos: PosRange,
    },
    /// Two operands.
    Binary {
        /// The operator.
        op: DurationOp,
        /// Left operand.
        lhs: Box<DurationExpr>,
        /// Right operand.
        rhs: Box<DurationExpr>,
        /// Where it stands.
        pos: PosRange,
    },
    /// `min_of(a, b)`, or `max_of(a, b)`.
    Pick {
        /// True for `max_of`.
        max: bool,
        /// First operand.
        lhs: Box<DurationExpr>,
        /// Second operand.
        rhs: Box<DurationExpr>,
        /// Where it stands.
        pos: PosRange,
    },
    /// Parentheses.
    Paren {
        /// The inner expression.
        expr: Box<DurationExpr>,
        /// Where it stands.
        pos: PosRange,
    },
}

impl DurationExpr {
    /// Where the expression stands.
    pub fn pos(&self) -> PosRange {
        match self {
            Self::Literal { pos, .. }
            | Self::Step(pos)
            | Self::Range(pos)
            | Self::Neg { pos, .. }
            | Self::Binary { pos, .. }
            | Self::Pick { pos, .. }
            | Self::Paren { pos, .. } => *pos,
        }
    }
}
