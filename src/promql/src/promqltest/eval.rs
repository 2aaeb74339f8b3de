//! Runs one case of a script in all its variants.

use super::Evaluate;
use super::compare::{check_sorted, points_of};
use super::engine::script_parser_options;
use super::expect::Expectations;
use super::series::Description;
use super::storage::MemoryStorage;
use crate::ast::{At, Expr};
use crate::parser::parse;
use crate::printer::Names;
use crate::value::{QueryResult, Sample, SampleValue, Value};

/// An evaluation and what has to come out.
pub(super) struct Case {
    pub(super) expr: String,
    pub(super) times: Times,
    pub(super) expectation: Expectations,
    pub(super) expected: Vec<Description>,
    pub(super) expected_scalar: Option<f64>,
    pub(super) expected_string: Option<String>,
    /// An instant query returns a range vector with these times: start, end, step.
    pub(super) result_times: Option<(i64, i64, i64)>,
}

/// When a case is evaluated (ms).
pub(super) enum Times {
    Instant(i64),
    Range {
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    },
}

/// Step of the range query around an instant case.
const RANGE_STEP_MS: i64 = 60_000;

impl Case {
    pub(super) fn new(expr: &str, times: Times) -> Self {
        Self {
            expr: expr.to_owned(),
            times,
            expectation: Expectations::default(),
            expected: Vec::new(),
            expected_scalar: None,
            expected_string: None,
            result_times: None,
        }
    }

    /// Times of a matrix result: start, end and step.
    pub(super) fn matrix_times(&self) -> (i64, i64, i64) {
        match (self.result_times, &self.times) {
            (Some(times), _) => times,
            (
                None,
                Times::Range {
                    start_ms,
                    end_ms,
                    step_ms,
                },
            ) => (*start_ms, *end_ms, *step_ms),
            (None, Times::Instant(t)) => (*t, *t, 0),
        }
    }

    /// Runs the case with its variants; counts the queries.
    pub(super) fn run(
        &self,
        storage: &MemoryStorage,
        evaluator: &dyn Evaluate,
        executions: &mut usize,
    ) -> Result<(), String> {
        match self.times {
            Times::Range {
                start_ms,
                end_ms,
                step_ms,
            } => {
                *executions += 1;
                let result = evaluator.range(storage, &self.expr, start_ms, end_ms, step_ms);
                self.check(result).map(drop)
            }
            Times::Instant(t) => {
                self.run_instant(storage, evaluator, &self.expr, t, executions)?;
                let Some((pinned, times)) = pinned_variants(&self.expr, t) else {
                    return Ok(());
                };
                for other in times {
                    self.run_instant(storage, evaluator, &pinned, other, executions)
                        .map_err(|e| format!("as {pinned} at {other}: {e}"))?;
                }
                Ok(())
            }
        }
    }

    /// Compares a result; `None` if the query failed as expected.
    fn check(&self, result: Result<QueryResult, String>) -> Result<Option<QueryResult>, String> {
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.expectation.check_error(&error).map(|()| None),
        };
        if self.expectation.fail.is_some() {
            return Err("expected an error but got none".to_owned());
        }

        self.expectation.check_notes(&result)?;
        self.compare(&result.value)?;
        Ok(Some(result))
    }

    fn run_instant(
        &self,
        storage: &MemoryStorage,
        evaluator: &dyn Evaluate,
        expr: &str,
        t: i64,
        executions: &mut usize,
    ) -> Result<(), String> {
        *executions += 1;
        let Some(result) = self.check(evaluator.instant(storage, expr, t))? else {
            return Ok(());
        };

        let depends_on_query = ["start()", "end()", "range()", "step()"]
            .iter()
            .any(|f| expr.contains(f));
        if self.expected_string.is_some() || self.result_times.is_some() || depends_on_query {
            return Ok(());
        }

        *executions += 1;
        let in_range = evaluator
            .range(
                storage,
                expr,
                t - RANGE_STEP_MS,
                t + RANGE_STEP_MS,
                RANGE_STEP_MS,
            )
            .map_err(|e| format!("in range mode: {e}"))?;

        if self.expectation.ordered {
            return Ok(());
        }

        self.compare_middle(&result.value, &in_range.value, t)
            .map_err(|e| format!("in range mode: {e}"))
    }

    /// Compares the step at `t` of a range query's result.
    fn compare_middle(&self, instant: &Value, in_range: &Value, t: i64) -> Result<(), String> {
        let Value::Matrix(matrix) = in_range else {
            return Err(format!("got a {} from a range query", in_range.type_name()));
        };

        check_sorted(matrix)?;
        let middle = matrix.iter().filter_map(|series| {
            let mut points = points_of(series).into_iter();
            let (_, value) = points.find(|(pt, _)| *pt == t)?;
            Some(Sample {
                labels: series.labels.clone(),
                t,
                value,
            })
        });

        let middle: Vec<Sample> = middle.collect();
        match (instant, middle.first()) {
            (
                Value::Scalar { .. },
                Some(Sample {
                    value: SampleValue::Float(v),
                    ..
                }),
            ) => self.compare(&Value::Scalar { t, v: *v }),
            (Value::Scalar { .. }, _) => Err("no scalar at the middle step".to_owned()),
            _ => self.compare_vector(&middle),
        }
    }
}

/// The expression with `@ t` on every selector that can have it, and other times at which it has to have the same
/// value. `None` if it depends on the evaluation time all the same, or is no expression (which may be as expected).
fn pinned_variants(expr: &str, t: i64) -> Option<(String, Vec<i64>)> {
    let mut tree = parse(expr, &script_parser_options()).ok()?;
    if !pin(&mut tree, At::Timestamp(t)) {
        return None;
    }

    let times = if t == 0 {
        vec![-1000, 0, 1000]
    } else {
        vec![-10 * t, 0, t / 5, t, 10 * t]
    };

    Some((tree.printed(Names::Unquoted).to_string(), times))
}

/// Pins selectors and subqueries that have no time yet; what is inside a pinned subquery keeps its own. False if a
/// function depends on the evaluation time.
fn pin(expr: &mut Expr, at: At) -> bool {
    match expr {
        Expr::Vector(v) => set_if_free(&mut v.at, at),
        Expr::Matrix(m) => set_if_free(&mut m.selector.at, at),
        Expr::Subquery(s) => {
            set_if_free(&mut s.at, at);
            return true;
        }
        Expr::Call(c) if c.func.time_dependent => return false,
        _ => {}
    }

    expr.children_mut().into_iter().all(|child| pin(child, at))
}

fn set_if_free(slot: &mut Option<At>, at: At) {
    if !matches!(slot, Some(At::Timestamp(_))) {
        *slot = Some(at);
    }
}
