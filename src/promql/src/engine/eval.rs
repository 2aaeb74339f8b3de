//! From expressions to numbers and streams.

use super::histogram_stats::Stats;
use super::query::Query;
use super::row::{Cell, Out};
use super::scalar::Scalar;
use super::selector::Field;
use super::steps::{Steps, TimeShift};
use super::stream::Stream;
use super::tally::Relation;
use crate::ast::{At, Binary, Call, Expr, Unary, UnaryOp, ValueType};
use crate::error::QueryError;
use crate::functions::math;
use crate::select::SelectHints;

/// Evaluates expressions of one query at some steps: those of the query or of a subquery.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) steps: Steps,
    /// Whether the expressions around need histogram buckets.
    pub(crate) stats: Stats,
    /// Number of the tally in which these steps are counted.
    pub(crate) tally: usize,
}

impl<'q> Evaluator<'q> {
    /// For the steps of the query itself.
    pub(crate) fn of_query(query: &'q Query<'q>, steps: Steps) -> Self {
        Self {
            query,
            steps,
            stats: Stats::Off,
            tally: 0,
        }
    }

    /// The time shift that `@` and `offset` ask for.
    pub(crate) fn shift(&self, at: Option<At>, offset: i64) -> TimeShift {
        let at = at.map(|at| match at {
            At::Timestamp(t) => t,
            At::Start => self.query.start_ms,
            At::End => self.query.end_ms,
        });
        TimeShift { at, offset }
    }

    /// Evaluates a scalar.
    pub(crate) fn scalar(&self, expr: &'q Expr) -> Result<Scalar, QueryError> {
        self.query.check()?;
        if self.steps.count > 1 && !matches!(expr, Expr::Number(_)) && is_step_invariant(expr) {
            let value = self.at_first_step().scalar(expr)?;
            return Ok(Scalar::Constant(value.at(0)));
        }

        match expr {
            Expr::Number(n) => Ok(Scalar::Constant(n.value)),
            Expr::Paren(p) => self.scalar(&p.expr),
            Expr::Unary(u) => {
                let value = self.scalar(&u.expr)?;
                Ok(if u.op == UnaryOp::Minus {
                    value.map(|v| -v)
                } else {
                    value
                })
            }
            Expr::Binary(b) => {
                let lhs = self.scalar(&b.lhs)?;
                let rhs = self.scalar(&b.rhs)?;
                Ok(lhs.zip(rhs, |l, r| super::binary::scalar_op(b.op, l, r)))
            }
            Expr::Call(c) => self
                .scalar_call(c)?
                .ok_or_else(|| unexpected("a scalar", expr)),
            _ => Err(unexpected("a scalar", expr)),
        }
    }

    /// None if the function gives no scalar.
    fn scalar_call(&self, c: &'q Call) -> Result<Option<Scalar>, QueryError> {
        let query = self.query;
        Ok(Some(match (c.func.name, c.args.as_slice()) {
            ("pi", _) => Scalar::Constant(std::f64::consts::PI),
            ("start", _) => seconds(query.start_ms),
            ("end", _) => seconds(query.end_ms),
            ("range", _) => seconds(query.end_ms.saturating_sub(query.start_ms)),
            ("step", _) => seconds(query.step_ms),
            ("time", _) => {
                let times = (0..self.steps.count).map(|i| self.steps.time(i) as f64 / 1000.0);
                Scalar::PerStep(times.collect())
            }
            ("min_of", [a, b]) => self.scalar(a)?.zip(self.scalar(b)?, math::min),
            ("max_of", [a, b]) => self.scalar(a)?.zip(self.scalar(b)?, math::max),
            ("scalar", [v]) => self.scalar_of_vector(v)?,
            _ => return Ok(None),
        }))
    }

    /// `scalar(v)`: the value of the only float, NaN if there is none or more than one.
    fn scalar_of_vector(&self, expr: &'q Expr) -> Result<Scalar, QueryError> {
        let stream = self.vector(expr, hints("scalar"))?;
        let mut found = vec![0u8; self.steps.count];
        let mut values = vec![f64::NAN; self.steps.count];

        stream.for_each(self.query, |_, row| {
            for (step, v) in row.floats() {
                found[step] = (found[step] + 1).min(2);
                values[step] = if found[step] == 1 { v } else { f64::NAN };
            }
            Ok(())
        })?;

        Ok(Scalar::PerStep(values))
    }

    /// Evaluates an instant vector. `hints` tell the storage what is around a selector.
    pub(crate) fn vector(
        &self,
        expr: &'q Expr,
        hints: SelectHints,
    ) -> Result<Stream<'q>, QueryError> {
        self.query.check()?;
        if self.steps.count > 1 && is_step_invariant(expr) {
            let once = self
                .at_first_step()
                .vector(expr, hints)?
                .collect(self.query)?;
            return Ok(once.repeat(self.steps.count));
        }

        match expr {
            Expr::Vector(v) if v.smoothed => self.smoothed_selector(v, hints),
            Expr::Vector(v) => self.instant_selector(v, Field::Value, hints),
            Expr::Paren(p) => self.vector(&p.expr, hints),
            Expr::Unary(u) => self.unary(u, hints),
            Expr::Binary(b) => self.binary(b),
            Expr::Aggregate(a) => self.aggregate(a),
            Expr::Call(c) => self.call(c),
            Expr::Number(_) | Expr::String(_) | Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(unexpected("an instant vector", expr))
            }
        }
    }

    /// Evaluates the inside of a subquery.
    pub(crate) fn vector_or_scalar(&self, expr: &'q Expr) -> Result<Stream<'q>, QueryError> {
        if expr.value_type() == ValueType::Scalar {
            let value = self.scalar(expr)?;
            return Ok(self.vector_of_scalar(value));
        }
        self.vector(expr, SelectHints::default())
    }

    /// This evaluator at its first step only, for what is the same at all steps.
    pub(crate) fn at_first_step(&self) -> Self {
        if self.steps.count == 1 {
            return *self;
        }

        let steps = Steps {
            count: 1,
            ..self.steps
        };
        let tally = self
            .query
            .new_tally(steps, Relation::Once, self.tally, self.steps.count);

        Self {
            steps,
            tally,
            ..*self
        }
    }

    fn unary(&self, unary: &'q Unary, hints: SelectHints) -> Result<Stream<'q>, QueryError> {
        let stream = self.vector(&unary.expr, hints)?;
        if unary.op == UnaryOp::Plus {
            return Ok(stream);
        }

        let negated = stream.map(|_, row, _| {
            row.map_floats(|v| -v);
            if !row.has_floats_only() {
                for step in 0..row.steps() {
                    let Cell::Histogram(h) = row.cell(step) else {
                        continue;
                    };
                    let mut h = (**h).clone();
                    h.mul(-1.0);
                    row.set(step, Out::histogram(h));
                }
            }
            Ok(())
        });

        negated.drop_names(self.query)
    }

    fn binary(&self, b: &'q Binary) -> Result<Stream<'q>, QueryError> {
        // What is around an operator does not tell what the operator needs.
        let this = Self {
            stats: Stats::Off,
            ..*self
        };
        this.binary_of_types(b)
    }

    fn binary_of_types(&self, b: &'q Binary) -> Result<Stream<'q>, QueryError> {
        match (b.lhs.value_type(), b.rhs.value_type()) {
            (ValueType::Scalar, _) => {
                let scalar = self.scalar(&b.lhs)?;
                let vector = self.vector(&b.rhs, SelectHints::default())?;
                self.vector_scalar(b, vector, scalar, true)
            }
            (_, ValueType::Scalar) => {
                let vector = self.vector(&b.lhs, SelectHints::default())?;
                let scalar = self.scalar(&b.rhs)?;
                self.vector_scalar(b, vector, scalar, false)
            }
            _ => self.vector_vector(b),
        }
    }
}

fn seconds(ms: i64) -> Scalar {
    Scalar::Constant(ms as f64 / 1000.0)
}

/// Hints that name the function around a selector.
pub(crate) fn hints(func: &str) -> SelectHints {
    SelectHints {
        func: func.to_owned(),
        ..SelectHints::default()
    }
}

pub(crate) fn unexpected(wanted: &str, found: &Expr) -> QueryError {
    let found = found.value_type().document_name();
    QueryError::Internal(format!(
        "BUG: the parser let {found} through where {wanted} is needed"
    ))
}

/// True if the value does not depend on the step: all selectors are pinned by `@` and no function looks at the time.
pub(crate) fn is_step_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(v) => v.at.is_some(),
        Expr::Matrix(m) => m.selector.at.is_some(),
        Expr::Subquery(s) => s.at.is_some(),
        Expr::Paren(p) => is_step_invariant(&p.expr),
        Expr::Unary(u) => is_step_invariant(&u.expr),
        Expr::Binary(b) => is_step_invariant(&b.lhs) && is_step_invariant(&b.rhs),
        Expr::Aggregate(a) => {
            is_step_invariant(&a.expr) && a.param.as_ref().is_none_or(|p| is_step_invariant(p))
        }
        // What info() adds is as of the time of its first argument, if that has one; the second one only says which labels.
        Expr::Call(c) if c.func.name == "info" => c
            .args
            .first()
            .is_some_and(|arg| is_step_invariant(arg) && super::info::is_pinned(arg)),
        Expr::Call(c) => !c.func.time_dependent && c.args.iter().all(is_step_invariant),
    }
}
