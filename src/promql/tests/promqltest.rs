//! The engine against Prometheus's own test scripts and ours in the same language.
//!
//! The scripts lie in `promqltest`, with a note on source and licence. Cases that are known to come out otherwise are listed with their reasons in `promqltest/known_failures.txt`; a listed case that passes fails the test,
//! too. Set `PROMQLTEST_FILE` to a script's name to run that script alone and see every failure.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use trireme_model::Labels;
use trireme_promql::promqltest::{Evaluate, MemoryStorage, run_script, script_options};
use trireme_promql::{Engine, EngineOptions, Value};

/// `file:line` and why the case comes out otherwise.
fn known_failures() -> BTreeMap<String, String> {
    let lines = include_str!("promqltest/known_failures.txt").lines();
    let entries = lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .filter_map(|l| l.split_once(' '));
    entries
        .map(|(case, reason)| (case.to_owned(), reason.to_owned()))
        .collect()
}

#[test]
fn the_engine_passes_the_scripts_of_prometheus() {
    run_all(1);
}

#[test]
fn the_engine_passes_them_with_several_threads() {
    run_all(3);
}

fn run_all(threads: usize) {
    // Written past the test harness, which hides what passing tests print.
    let mut log = std::io::stderr();
    let mut say = move |line: String| drop(writeln!(log, "{line}"));
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/promqltest");
    let only = std::env::var("PROMQLTEST_FILE").ok();
    let entries = |dir: PathBuf| fs::read_dir(dir).expect("a folder of the repository");
    let both = entries(dir.join("prometheus")).chain(entries(dir));
    let mut paths: Vec<PathBuf> = both.flatten().map(|e| e.path()).collect();

    paths.retain(|p| p.extension().is_some_and(|e| e == "test"));
    paths.sort();
    assert!(paths.len() > 15, "scripts are missing: {paths:?}");

    let engine = Engine::new(EngineOptions {
        threads,
        ..script_options()
    });
    let mut known = known_failures();
    let mut unexpected = Vec::new();
    let mut passed = 0;
    let mut cases = 0;

    let mut executions = 0;
    for path in &paths {
        let name = path
            .file_stem()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
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
            if known
                .remove(&format!("{}:{}", failure.file, failure.line))
                .is_none()
            {
                unexpected.push(format!(
                    "{}:{}: {}\n    {}",
                    failure.file, failure.line, failure.expr, failure.message
                ));
            }
        }
    }

    say(format!(
        "all, {threads} threads: {passed} of {cases} cases passed, {executions} queries"
    ));

    assert!(
        unexpected.is_empty(),
        "{} unexpected failures:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );

    assert!(
        known.is_empty(),
        "listed as known failures, but they pass: {known:?}"
    );
}

#[test]
fn the_deepest_queries_fit_the_stack_of_a_thread() {
    let mut storage = MemoryStorage::default();
    storage.append_float(&Labels::from_pairs([("__name__", "a")]), 0, 1.0);
    let wrapped =
        |head: &str, tail: &str, n: usize| format!("{}a{}", head.repeat(n), tail.repeat(n));
    let queries = [
        wrapped("", " + a", 250),
        wrapped("", " or a", 250),
        wrapped("-", "", 120),
        wrapped("(", ")", 120),
        wrapped("abs(", ")", 120),
        wrapped("sum(", ")", 120),
        wrapped("a ^ ", "", 120),
        wrapped("max_over_time(", "[1s:1s])", 120),
    ];

    let engine = Engine::new(EngineOptions {
        samples_max: 1_000_000,
        ..script_options()
    });

    for query in queries {
        let evaluate: &dyn Evaluate = &engine;
        for result in [
            evaluate.instant(&storage, &query, 0),
            evaluate.range(&storage, &query, 0, 1000, 1000),
        ] {
            let result = result.unwrap_or_else(|e| panic!("{query}: {e}"));
            assert!(!matches!(
                result.value,
                Value::Scalar { .. } | Value::String { .. }
            ));
        }
    }
}
