//! The engine against Prometheus's own test scripts.
//!
//! The scripts lie beside the repository (`../shared/testdata/promqltest`). Cases that are known to come out
//! otherwise are listed with their reasons in `promqltest/known_failures.txt`; a listed case that passes fails the test,
//! too. Set `PROMQLTEST_FILE` to a script's name to run that script alone and see every failure.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use trireme_promql::promqltest::{Evaluate, run_script};
use trireme_promql::{
    Cancel, Engine, EngineOptions, ParserOptions, QueryOptions, QueryResult, Select, parse,
};

/// The engine with the settings that the scripts are written for.
struct EngineUnderTest(Engine);

impl EngineUnderTest {
    fn new() -> Self {
        Self(Engine::new(EngineOptions {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            samples_max: 10_000,
            delayed_name_removal: true,
            start_timestamps: true,
            ..EngineOptions::default()
        }))
    }
}

impl Evaluate for EngineUnderTest {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let expr = parse(query, &ParserOptions::default()).map_err(|e| e.to_string())?;
        let result = self.0.instant(storage, &expr, query, t_ms, &QueryOptions::default(), &Cancel::never());
        result.map_err(|e| e.to_string())
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        let expr = parse(query, &ParserOptions::default()).map_err(|e| e.to_string())?;
        let options = QueryOptions::default();
        let result =
            self.0.range(storage, &expr, query, (start_ms, end_ms), step_ms, &options, &Cancel::never());
        result.map_err(|e| e.to_string())
    }
}

/// `file:line` and why the case comes out otherwise.
fn known_failures() -> BTreeMap<String, String> {
    let lines = include_str!("promqltest/known_failures.txt").lines();
    let entries = lines.filter(|l| !l.is_empty() && !l.starts_with('#')).filter_map(|l| l.split_once(' '));
    entries.map(|(case, reason)| (case.to_owned(), reason.to_owned())).collect()
}

#[test]
fn the_engine_passes_the_scripts_of_prometheus() {
    // Written past the test harness, which hides what passing tests print.
    let mut log = std::io::stderr();
    let mut say = move |line: String| drop(writeln!(log, "{line}"));
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/promqltest");
    let Ok(entries) = fs::read_dir(&dir) else {
        say(format!("SKIPPED: the promqltest scripts are not there ({})", dir.display()));
        return;
    };
    let only = std::env::var("PROMQLTEST_FILE").ok();
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "test"));
    paths.sort();
    let engine = EngineUnderTest::new();
    let mut known = known_failures();
    let mut unexpected = Vec::new();
    let (mut passed, mut cases, mut executions) = (0, 0, 0);
    for path in &paths {
        let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        if only.as_ref().is_some_and(|only| *only != name) {
            known.retain(|case, _| case.split(':').next() != Some(name.as_str()));
            continue;
        }
        let text = fs::read_to_string(path).expect("a listed script can be read");
        let report = run_script(&name, &text, &engine, &mut |_, _| {});
        say(format!(
            "{name}: {} passed, {} failed, {} queries",
            report.passed, report.failed, report.executions
        ));
        passed += report.passed;
        cases += report.passed + report.failed;
        executions += report.executions;
        for failure in report.failures {
            if known.remove(&format!("{}:{}", failure.file, failure.line)).is_none() {
                unexpected.push(format!(
                    "{}:{}: {}\n    {}",
                    failure.file, failure.line, failure.expr, failure.message
                ));
            }
        }
    }
    say(format!("all: {passed} of {cases} cases passed, {executions} queries"));
    assert!(unexpected.is_empty(), "{} unexpected failures:\n{}", unexpected.len(), unexpected.join("\n"));
    assert!(known.is_empty(), "listed as known failures, but they pass: {known:?}");
}
