//! Duration literals and duration expressions.
//!
//! A selector's `[..]` and `offset` may hold expressions over the query's step and range. They can only be
//! computed when the query's parameters are known, so the parser keeps them and [`resolve_durations`] fills in
//! the milliseconds before evaluation.

use crate::ast::{DurationArg, DurationExpr, DurationOp, Expr};

/// What `step()` and `range()` stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DurationContext {
    /// Resolution of the query in milliseconds, 0 for an instant query.
    pub step_ms: i64,
    /// End less start of the query in milliseconds.
    pub range_ms: i64,
}

/// Why a duration expression has no usable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A range or a step must be positive.
    #[error("duration must be greater than 0")]
    NotPositive,
    /// The value does not fit.
    #[error("duration is out of range")]
    OutOfRange,
    /// `/` with 0 on the right.
    #[error("division by zero")]
    DivisionByZero,
    /// `%` with 0 on the right.
    #[error("modulo by zero")]
    ModuloByZero,
}

/// Computes all duration expressions of `expr` and stores their milliseconds in the nodes; what was written
/// stays there for printing. Plain durations are already in place.
pub fn resolve_durations(expr: &mut Expr, ctx: DurationContext) -> Result<(), DurationError> {
    let mut result = Ok(());
    expr.walk_mut(&mut |e| {
        if result.is_ok() {
            result = resolve_node(e, ctx);
        }
    });
    result
}

fn resolve_node(expr: &mut Expr, ctx: DurationContext) -> Result<(), DurationError> {
    match expr {
        Expr::Vector(v) => resolve_arg(&mut v.offset, ctx, true),
        Expr::Matrix(m) => {
            resolve_arg(&mut m.selector.offset, ctx, true)?;
            resolve_arg(&mut m.range, ctx, false)
        }
        Expr::Subquery(s) => {
            resolve_arg(&mut s.offset, ctx, true)?;
            if let Some(step) = &mut s.step {
                resolve_arg(step, ctx, false)?;
            }
            resolve_arg(&mut s.range, ctx, false)
        }
        _ => Ok(()),
    }
}

fn resolve_arg(
    arg: &mut DurationArg,
    ctx: DurationContext,
    may_be_negative: bool,
) -> Result<(), DurationError> {
    let Some(expr) = &arg.expr else { return Ok(()) };
    let seconds = evaluate(expr, ctx)?;
    if !may_be_negative && !(seconds > 0.0) {
        return Err(DurationError::NotPositive);
    }
    arg.ms = seconds_to_ms(seconds)?;
    Ok(())
}

/// Milliseconds of a number of seconds, cut towards zero.
fn seconds_to_ms(seconds: f64) -> Result<i64, DurationError> {
    /// Prometheus holds durations as nanoseconds in 64 bits; queries valid there and here should be the same.
    const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;
    if seconds.is_finite() && seconds.abs() <= SECONDS_MAX {
        Ok((seconds * 1000.0) as i64)
    } else {
        Err(DurationError::OutOfRange)
    }
}

/// The value of a duration expression in seconds.
fn evaluate(expr: &DurationExpr, ctx: DurationContext) -> Result<f64, DurationError> {
    match expr {
        DurationExpr::Literal { seconds, .. } => Ok(*seconds),
        DurationExpr::Step(_) => Ok(ctx.step_ms as f64 / 1000.0),
        DurationExpr::Range(_) => Ok(ctx.range_ms as f64 / 1000.0),
        DurationExpr::Neg { expr, minus, .. } => {
            let value = evaluate(expr, ctx)?;
            Ok(if *minus { -value } else { value })
        }
        DurationExpr::Paren { expr, .. } => evaluate(expr, ctx),
        DurationExpr::Pick { max, lhs, rhs, .. } => {
            let (a, b) = (evaluate(lhs, ctx)?, evaluate(rhs, ctx)?);
            Ok(if *max { a.max(b) } else { a.min(b) })
        }
        DurationExpr::Binary { op, lhs, rhs, .. } => {
            let (a, b) = (evaluate(lhs, ctx)?, evaluate(rhs, ctx)?);
            match op {
                DurationOp::Add => Ok(a + b),
                DurationOp::Sub => Ok(a - b),
                DurationOp::Mul => Ok(a * b),
                DurationOp::Div if b == 0.0 => Err(DurationError::DivisionByZero),
                DurationOp::Div => Ok(a / b),
                DurationOp::Mod if b == 0.0 => Err(DurationError::ModuloByZero),
                DurationOp::Mod => Ok(a % b),
                DurationOp::Pow => Ok(a.powf(b)),
            }
        }
    }
}
