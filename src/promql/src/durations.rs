//! Duration literals and duration expressions.
//!
//! A selector's `[..]` and `offset` may hold expressions over the query's step and range. They can only be
//! computed when the query's parameters are known, so the parser keeps them and [`resolve_durations`] fills in
//! the milliseconds before evaluation.

use crate::ast::{DurationArg, DurationExpr, DurationOp, Expr, PosRange};

/// What `step()` and `range()` stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DurationContext {
    /// Resolution of the query in milliseconds, 0 for an instant query.
    pub step_ms: i64,
    /// End less start of the query in milliseconds.
    pub range_ms: i64,
}

/// Why a duration expression has no usable value, and which part of the query it is: `2:17: division by zero`, with bytes
/// from 0 and the end exclusive, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {fault}", .pos.start, .pos.end)]
pub struct DurationError {
    /// What is wrong.
    pub fault: DurationFault,
    /// Where the expression stands.
    pub pos: PosRange,
}

/// What is wrong with a duration expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationFault {
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
    let pos = expr.pos();
    let seconds = evaluate(expr, ctx)?;
    if !may_be_negative && (seconds.is_nan() || seconds <= 0.0) {
        let fault = DurationFault::NotPositive;
        return Err(DurationError { fault, pos });
    }

    let ms = seconds_to_ms(seconds).map_err(|fault| DurationError { fault, pos })?;
    // What is greater than 0 must not become 0 for want of resolution.
    arg.ms = if may_be_negative { ms } else { ms.max(1) };

    Ok(())
}

/// Milliseconds of a number of seconds, cut towards zero.
fn seconds_to_ms(seconds: f64) -> Result<i64, DurationFault> {
    /// Prometheus holds durations as nanoseconds in 64 bits; queries valid there and here should be the same.
    const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;
    if seconds.is_finite() && seconds.abs() <= SECONDS_MAX {
        Ok((seconds * 1000.0) as i64)
    } else {
        Err(DurationFault::OutOfRange)
    }
}

/// The value of a duration expression in seconds.
fn evaluate(expr: &DurationExpr, ctx: DurationContext) -> Result<f64, DurationError> {
    match expr {
        DurationExpr::Literal { seconds, .. } => Ok(*seconds),
        DurationExpr::Step(_) => Ok(ctx.step_ms as f64 / 1000.0),
        DurationExpr::Range(_) => Ok(ctx.range_ms as f64 / 1000.0),
        DurationExpr::Neg { expr, .. } => Ok(-evaluate(expr, ctx)?),
        DurationExpr::Paren { expr, .. } => evaluate(expr, ctx),
        DurationExpr::Pick { max, lhs, rhs, .. } => {
            let a = evaluate(lhs, ctx)?;
            let b = evaluate(rhs, ctx)?;
            Ok(if *max { a.max(b) } else { a.min(b) })
        }
        DurationExpr::Binary { op, lhs, rhs, .. } => {
            let a = evaluate(lhs, ctx)?;
            let b = evaluate(rhs, ctx)?;
            combined(*op, a, b).map_err(|fault| DurationError {
                fault,
                pos: expr.pos(),
            })
        }
    }
}

fn combined(op: DurationOp, a: f64, b: f64) -> Result<f64, DurationFault> {
    match op {
        DurationOp::Add => Ok(a + b),
        DurationOp::Sub => Ok(a - b),
        DurationOp::Mul => Ok(a * b),
        DurationOp::Div if b == 0.0 => Err(DurationFault::DivisionByZero),
        DurationOp::Div => Ok(a / b),
        DurationOp::Mod if b == 0.0 => Err(DurationFault::ModuloByZero),
        DurationOp::Mod => Ok(a % b),
        DurationOp::Pow => Ok(a.powf(b)),
    }
}

/// Why a text is not a duration literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationLiteralError {
    /// Nothing was written.
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units in falling order.
    #[error("not a valid duration string: {}", trireme_model::quote(.0))]
    Syntax(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", trireme_model::quote(.unit), trireme_model::quote(.text))]
    Unit {
        /// The unit.
        unit: String,
        /// The whole literal.
        text: String,
    },
    /// More than 64 bits of nanoseconds.
    #[error("duration out of range")]
    OutOfRange,
}

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Units by falling size: name, milliseconds, and whether the printer uses the unit only for exact multiples,
/// because 90d is easier to read than 12w6d.
const UNITS: [(&str, i64, bool); 7] = [
    ("y", 365 * MS_PER_DAY, true),
    ("w", 7 * MS_PER_DAY, true),
    ("d", MS_PER_DAY, false),
    ("h", 60 * 60 * 1000, false),
    ("m", 60 * 1000, false),
    ("s", 1000, false),
    ("ms", 1, false),
];

/// Milliseconds of a duration literal such as `1h30m`; each unit at most once, the greatest first. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<i64, DurationLiteralError> {
    let syntax = || DurationLiteralError::Syntax(text.to_owned());
    match text {
        "" => return Err(DurationLiteralError::Empty),
        "0" => return Ok(0),
        _ => {}
    }

    let mut rest = text;
    let mut next_unit = 0;

    let mut total_ms: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at(unit_len);
        if number.is_empty() || unit.is_empty() {
            return Err(syntax());
        }

        let Some(i) = UNITS.iter().position(|(name, ..)| *name == unit) else {
            return Err(DurationLiteralError::Unit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        };

        if i < next_unit {
            return Err(syntax());
        }

        next_unit = i + 1;
        let part_ms = number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(UNITS[i].1));

        total_ms = part_ms
            .and_then(|p| p.checked_add(total_ms))
            .ok_or(DurationLiteralError::OutOfRange)?;

        if total_ms > i64::MAX / 1_000_000 {
            return Err(DurationLiteralError::OutOfRange);
        }

        rest = tail;
    }

    Ok(total_ms)
}

/// Writes milliseconds as a duration literal: `1h30m`, `0s`, `-5m`.
pub fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }

    let mut out = String::from(if ms < 0 { "-" } else { "" });

    let mut left = ms.unsigned_abs();
    for (name, unit_ms, exact) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        if left >= unit_ms && (!exact || left.is_multiple_of(unit_ms)) {
            out.push_str(&(left / unit_ms).to_string());
            out.push_str(name);
            left %= unit_ms;
        }
    }

    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_literals_are_read_and_written() {
        for (text, ms, printed) in [
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("1y2w3d4h5m6s7ms", 33_019_506_007, "382d4h5m6s7ms"),
            ("14d", 1_209_600_000, "2w"),
            ("0", 0, "0s"),
            ("1500ms", 1_500, "1s500ms"),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
            assert_eq!(format_duration(ms), printed);
        }
        assert_eq!(format_duration(-61_000), "-1m1s");
    }

    #[test]
    fn bad_duration_literals_are_refused() {
        for bad in ["5", "m", "5m5h", "1s1s", "-5m", "5m5"] {
            assert_eq!(
                parse_duration(bad),
                Err(DurationLiteralError::Syntax(bad.to_owned()))
            );
        }

        for (bad, unit) in [
            ("1.5h", "."),
            ("5mm", "mm"),
            ("5S", "S"),
            ("1y1hs", "hs"),
            ("5é", "é"),
        ] {
            let text = format!("unknown unit \"{unit}\" in duration \"{bad}\"");
            assert_eq!(parse_duration(bad).map_err(|e| e.to_string()), Err(text));
        }

        assert_eq!(parse_duration(""), Err(DurationLiteralError::Empty));
        assert_eq!(
            parse_duration("300y"),
            Err(DurationLiteralError::OutOfRange)
        );
        assert_eq!(
            parse_duration("99999999999999999999s"),
            Err(DurationLiteralError::OutOfRange)
        );
    }
}
