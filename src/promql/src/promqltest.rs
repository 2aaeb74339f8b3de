//! Runs scripts in Prometheus's `promqltest` language, the oracle for this crate's engine.
//!
//! A script loads series, evaluates expressions and says what has to come out:
//!
//! ```text
//! load 5m
//!   http_requests{job="api"} 0+10x10
//!
//! eval instant at 50m sum(http_requests)
//!   {} 100
//! ```
//!
//! Every instant evaluation is repeated at other evaluation times with `@` pinned to the original one, and as the
//! middle step of a range query; all have to agree. What evaluates is behind [`Evaluate`], so that other ways to
//! execute a query (over shards, over peers) can be held to the same scripts.

mod compare;
mod engine;
mod eval;
mod expect;
mod histogram;
mod nhcb;
mod script;
mod series;
mod storage;

use crate::select::Select;
use crate::value::QueryResult;

pub use engine::{script_options, script_parser_options};
pub use storage::MemoryStorage;

/// Something that evaluates queries over a storage. Errors are texts, as Prometheus words them.
pub trait Evaluate {
    /// Evaluates at one time (ms).
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String>;

    /// Evaluates at `start_ms`, `start_ms + step_ms`, ... up to and including `end_ms`.
    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String>;
}

/// A case that did not come out as the script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the script.
    pub file: String,
    /// Line of the case, from 1.
    pub line: usize,
    /// The expression, or the line if it could not be read.
    pub expr: String,
    /// What was different.
    pub message: String,
}

/// Result of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that came out right.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// Queries executed: several for each instant case.
    pub executions: usize,
    /// What went wrong, in order.
    pub failures: Vec<Failure>,
}

/// Runs the script `text`. `on_case` hears the line of each case and its failure, if it has one.
///
/// A failing case does not stop the script; lines that are not part of the language are failures, too.
pub fn run_script(
    name: &str,
    text: &str,
    evaluator: &dyn Evaluate,
    on_case: &mut dyn FnMut(usize, Option<&Failure>),
) -> Report {
    let mut report = Report::default();

    let mut storage = MemoryStorage::default();
    for (line, command) in script::commands(text) {
        let outcome = match command {
            Ok(script::Command::Clear) => {
                storage = MemoryStorage::default();
                continue;
            }
            Ok(script::Command::Load(load)) => match load.apply(&mut storage) {
                Ok(()) => continue,
                Err(message) => Err((text_line(text, line), message)),
            },
            Ok(script::Command::Eval(case)) => case
                .run(&storage, evaluator, &mut report.executions)
                .map_err(|message| (case.expr.clone(), message)),
            Err(message) => Err((text_line(text, line), message)),
        };
        match outcome {
            Ok(()) => {
                report.passed += 1;
                on_case(line, None);
            }
            Err((expr, message)) => {
                let failure = Failure {
                    file: name.to_owned(),
                    line,
                    expr,
                    message,
                };
                on_case(line, Some(&failure));
                report.failed += 1;
                report.failures.push(failure);
            }
        }
    }

    report
}

/// The expressions of all evaluations of a script, with their lines.
pub fn script_expressions(text: &str) -> Vec<(usize, String)> {
    let commands = script::commands(text).into_iter();
    commands
        .filter_map(|(line, command)| match command {
            Ok(script::Command::Eval(case)) => Some((line, case.expr)),
            _ => None,
        })
        .collect()
}

fn text_line(text: &str, line: usize) -> String {
    text.lines().nth(line - 1).unwrap_or("").trim().to_owned()
}

#[cfg(test)]
mod tests;
