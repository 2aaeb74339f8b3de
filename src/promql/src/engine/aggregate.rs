//! Aggregations over series.

mod count_values;
mod groups;
mod numbers;
mod order;
mod partial;
mod quantile;

use groups::Groups;

use super::eval::{Evaluator, unexpected};
use super::scalar::Scalar;
use super::stream::Stream;
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::error::QueryError;
use crate::select::SelectHints;

impl<'q> Evaluator<'q> {
    /// An aggregation.
    pub(super) fn aggregate(&self, a: &'q Aggregate) -> Result<Stream<'q>, QueryError> {
        let hints = hints_of(a);
        let given = self.given(a)?;
        if a.op == AggregateOp::CountValues {
            let label = self.string_param(a)?;
            let stream = self.vector(&a.expr, hints)?;
            return self.count_values(a, label, stream);
        }

        if let Some(parts) = given.as_ref().filter(|_| !partial::chooses(a.op)) {
            return self.merge_numbers(a, parts);
        }

        let param = match &a.param {
            Some(param) => self.scalar(param)?,
            None => Scalar::Constant(f64::NAN),
        };
        let stream = match &given {
            Some(parts) => self.merge_rows(parts)?,
            None => self.vector(&a.expr, hints)?,
        };

        match a.op {
            AggregateOp::Topk | AggregateOp::Bottomk => self.top(a, stream, &param),
            AggregateOp::Limitk => self.limit(a, stream, &param),
            AggregateOp::LimitRatio => self.limit_ratio(a, stream, param),
            AggregateOp::Quantile => self.quantile(a, stream, &param),
            _ => self.numbers(a, stream),
        }
    }

    fn string_param(&self, a: &'q Aggregate) -> Result<&'q str, QueryError> {
        match a.param.as_deref().map(Expr::unwrap_parens) {
            Some(Expr::String(s)) => s
                .text()
                .map_err(|e| QueryError::execution(format!("invalid label name {}", e.0))),
            _ => Err(unexpected("a string", &a.expr)),
        }
    }

    /// Least and greatest value of a parameter over all steps, and whether one is NaN.
    fn param_range(&self, param: &Scalar) -> (f64, f64, bool) {
        let mut range = (f64::INFINITY, f64::NEG_INFINITY, false);
        for v in (0..self.steps.count).map(|step| param.at(step)) {
            range.0 = range.0.min(v);
            range.1 = range.1.max(v);
            range.2 |= v.is_nan();
        }
        range
    }
}

/// What storages are told about an aggregation.
fn hints_of(a: &Aggregate) -> SelectHints {
    SelectHints {
        func: a.op.as_str().to_owned(),
        grouping: a.grouping.iter().map(|name| name.to_string()).collect(),
        by: !a.without,
        ..SelectHints::default()
    }
}
