//! The type check of a parsed query.

use trireme_model::{METRIC_NAME, quote};

use crate::ast::{
    AggregateOp, Binary, Call, Expr, MatchCardinality, PosRange, Subquery, Unary, ValueType,
    VectorMatching, VectorSelector,
};
use crate::parse_error::ParseError;

/// Checks types and completes what depends on them: how vectors match.
pub(super) fn check(expr: &mut Expr, query: &str) -> Result<(), ParseError> {
    Checker { query }.check(expr)
}

struct Checker<'a> {
    query: &'a str,
}

type CheckResult = Result<(), ParseError>;

impl Checker<'_> {
    fn fail(&self, pos: PosRange, message: impl Into<String>) -> CheckResult {
        Err(ParseError::new(self.query, pos, message))
    }

    fn check(&self, expr: &mut Expr) -> CheckResult {
        match expr {
            Expr::Number(_) | Expr::String(_) => Ok(()),
            Expr::Vector(v) => self.selector(v, false),
            Expr::Matrix(m) => self.selector(&m.selector, false),
            Expr::Paren(p) => self.check(&mut p.expr),
            Expr::Subquery(s) => self.subquery(s),
            Expr::Unary(u) => self.unary(u),
            Expr::Aggregate(a) => {
                self.expect_type(&mut a.expr, ValueType::Vector, "aggregation expression")?;
                let wanted = if a.op == AggregateOp::CountValues {
                    ValueType::String
                } else {
                    ValueType::Scalar
                };
                match &mut a.param {
                    Some(param) => self.expect_type(param, wanted, "aggregation parameter"),
                    None => Ok(()),
                }
            }
            Expr::Binary(b) => self.binary(b),
            Expr::Call(c) => self.call(c),
        }
    }

    fn subquery(&self, s: &mut Subquery) -> CheckResult {
        self.check(&mut s.expr)?;
        match s.expr.value_type() {
            ValueType::Vector => Ok(()),
            other => {
                let message = format!(
                    "subquery is only allowed on instant vector, got {} instead",
                    other.as_str()
                );
                self.fail(s.pos, message)
            }
        }
    }

    fn unary(&self, u: &mut Unary) -> CheckResult {
        self.check(&mut u.expr)?;
        match u.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => {
                let name = other.document_name();
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \"{name}\""
                );
                self.fail(u.pos, message)
            }
        }
    }

    fn expect_type(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> CheckResult {
        self.check(expr)?;
        let found = expr.value_type();
        if found == wanted {
            return Ok(());
        }

        let wanted = wanted.document_name();
        let found = found.document_name();
        self.fail(
            expr.pos(),
            format!("expected type {wanted} in {context}, got {found}"),
        )
    }

    fn binary(&self, b: &mut Binary) -> CheckResult {
        self.check(&mut b.lhs)?;
        self.check(&mut b.rhs)?;
        let left = b.lhs.value_type();
        let right = b.rhs.value_type();
        let has_scalar = left == ValueType::Scalar || right == ValueType::Scalar;
        let has_scalars_only = left == ValueType::Scalar && right == ValueType::Scalar;

        if b.return_bool && !b.op.is_comparison() {
            return self.fail(
                b.op_pos,
                "bool modifier can only be used on comparison operators",
            );
        }

        if b.op.is_comparison() && !b.return_bool && has_scalars_only {
            return self.fail(
                b.op_pos,
                "comparisons between scalars must use BOOL modifier",
            );
        }

        let mut matching = b.matching.take().unwrap_or_default();

        let is_set = b.op.is_set();
        if is_set && matching.card == MatchCardinality::OneToOne {
            matching.card = MatchCardinality::ManyToMany;
        }

        self.check_labels(b.op_pos, &matching)?;

        for (side, side_type) in [(&b.lhs, left), (&b.rhs, right)] {
            if !matches!(side_type, ValueType::Scalar | ValueType::Vector) {
                return self.fail(
                    side.pos(),
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }

        if has_scalar {
            return self.check_scalar_operand(b, &matching);
        }
        if is_set {
            self.check_set(b, &matching)?;
        }

        b.matching = Some(matching);
        Ok(())
    }

    fn check_labels(&self, pos: PosRange, matching: &VectorMatching) -> CheckResult {
        let mut labels = matching.labels.iter();
        match labels.find(|l| matching.on && matching.include.contains(l)) {
            None => Ok(()),
            Some(label) => {
                let message = format!(
                    "label {} must not occur in ON and GROUP clause at once",
                    quote(label)
                );
                self.fail(pos, message)
            }
        }
    }

    /// Checks an operator between scalars, or a scalar and a vector: it has nothing to match.
    fn check_scalar_operand(&self, b: &Binary, matching: &VectorMatching) -> CheckResult {
        if !matching.labels.is_empty() {
            return self.fail(
                b.pos,
                "vector matching only allowed between instant vectors",
            );
        }

        if fills(matching) {
            return self.fail(
                b.pos,
                "filling in missing series only allowed between instant vectors",
            );
        }

        if b.op.is_set() {
            let message = format!(
                "set operator {} not allowed in binary scalar expression",
                quote(b.op.as_str())
            );
            return self.fail(b.pos, message);
        }

        Ok(())
    }

    fn check_set(&self, b: &Binary, matching: &VectorMatching) -> CheckResult {
        if matching.card != MatchCardinality::ManyToMany {
            return self.fail(
                b.pos,
                format!("no grouping allowed for {} operation", quote(b.op.as_str())),
            );
        }

        if fills(matching) {
            return self.fail(
                b.pos,
                "filling in missing series not allowed for set operators",
            );
        }

        Ok(())
    }

    fn call(&self, call: &mut Call) -> CheckResult {
        let func = call.func;
        let given = call.args.len();
        let name = quote(func.name);
        let min = func.args_min();
        let max = func.args_max();
        let count_is_wrong = if func.variadic == 0 && given != min {
            Some(format!(
                "expected {min} argument(s) in call to {name}, got {given}"
            ))
        } else if given < min {
            Some(format!(
                "expected at least {min} argument(s) in call to {name}, got {given}"
            ))
        } else {
            max.filter(|max| given > *max).map(|max| {
                format!("expected at most {max} argument(s) in call to {name}, got {given}")
            })
        };

        if let Some(message) = count_is_wrong {
            return self.fail(call.pos, message);
        }

        let is_info = func.name == "info";

        let context = format!("call to function {name}");
        for (i, arg) in call.args.iter_mut().enumerate() {
            if is_info && i == 1 {
                self.info_selector(arg, call.pos, &context)?;
            } else if let Some(wanted) = func.arg_type(i) {
                self.expect_type(arg, wanted, &context)?;
            }
        }

        Ok(())
    }

    /// The second argument of `info` selects labels, so it has no metric name and may match the empty string.
    fn info_selector(&self, arg: &Expr, call: PosRange, context: &str) -> CheckResult {
        if arg.value_type() != ValueType::Vector {
            let found = arg.value_type().document_name();
            return self.fail(
                call,
                format!("expected type instant vector in {context}, got {found}"),
            );
        }
        match arg {
            Expr::Vector(v) if v.name.is_some() => self.fail(
                v.pos,
                "expected label selectors only, got vector selector instead",
            ),
            Expr::Vector(v) => self.selector(v, true),
            _ => self.fail(arg.pos(), "expected label selectors only"),
        }
    }

    fn selector(&self, v: &VectorSelector, may_match_everything: bool) -> CheckResult {
        if let (Some(name), Some((_, others))) = (&v.name, v.matchers.split_last()) {
            return match others.iter().find(|m| &*m.name == METRIC_NAME) {
                Some(m) => {
                    let message = format!(
                        "metric name must not be set twice: {} or {}",
                        quote(name),
                        quote(&m.value)
                    );
                    self.fail(v.pos, message)
                }
                None => Ok(()),
            };
        }

        if may_match_everything || v.matchers.iter().any(|m| !m.matches_empty()) {
            return Ok(());
        }

        self.fail(
            v.pos,
            "vector selector must contain at least one non-empty matcher",
        )
    }
}

fn fills(matching: &VectorMatching) -> bool {
    matching.fill_left.or(matching.fill_right).is_some()
}
