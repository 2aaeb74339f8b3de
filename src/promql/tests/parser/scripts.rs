//! Every expression of the promqltest scripts and of the compliance suite has to parse and to survive printing.

use std::fs;
use std::path::PathBuf;

use trireme_promql::promqltest::{script_expressions, script_parser_options};
use trireme_promql::{Names, ParserOptions, parse};

/// The folder with the acceptance data beside the repository.
pub fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata")
}

/// Script name, line and expression of all evaluations of Prometheus's scripts.
pub fn expressions() -> Vec<(String, usize, String)> {
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/promqltest/prometheus");
    let dir = fs::read_dir(scripts).expect("a folder of the repository");
    let mut paths: Vec<PathBuf> = dir
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "test"))
        .collect();

    paths.sort();
    paths
        .iter()
        .flat_map(|path: &PathBuf| {
            let name = path
                .file_stem()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let text = fs::read_to_string(path).expect("a listed script can be read");
            script_expressions(&text)
                .into_iter()
                .map(move |(line, expr)| (name.clone(), line, expr))
        })
        .collect()
}

#[test]
fn expressions_of_the_scripts_parse_and_print_stably() {
    let expressions = expressions();
    let options = script_parser_options();

    let mut bad = Vec::new();
    for (file, line, expr) in &expressions {
        match parse(expr, &options) {
            Err(e) => bad.push(format!("{file}:{line}: {expr}: {e}")),
            Ok(tree) => {
                let printed = tree.printed(Names::Unquoted).to_string();
                let again =
                    parse(&printed, &options).map(|t| t.printed(Names::Unquoted).to_string());
                if again.as_ref() != Ok(&printed) {
                    bad.push(format!(
                        "{file}:{line}: {expr} prints as {printed}, then {again:?}"
                    ));
                }
            }
        }
    }

    assert!(
        bad.is_empty(),
        "{} of {}:\n{}",
        bad.len(),
        expressions.len(),
        bad.join("\n")
    );
}

#[test]
fn queries_of_the_compliance_suite_parse() {
    let path = data().join("compliance-queries.json");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("SKIPPED: no {}", path.display());
        return;
    };

    let json: serde_json::Value = serde_json::from_str(&text).expect("the file is JSON");
    let mut queries = Vec::new();
    collect(&json, &mut queries);

    assert!(queries.len() > 400, "{}", queries.len());

    for (query, should_fail) in queries {
        let parsed = parse(&query, &ParserOptions::default());
        // A query that should fail may also do so only when it is evaluated.
        assert!(parsed.is_ok() || should_fail, "{query}: {parsed:?}");
    }
}

fn collect(json: &serde_json::Value, out: &mut Vec<(String, bool)>) {
    match json {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        serde_json::Value::Object(map) => match map.get("query").and_then(|q| q.as_str()) {
            Some(query) => {
                let should_fail = map
                    .get("should_fail")
                    .and_then(serde_json::Value::as_bool)
                    .unwrap_or(false);
                out.push((query.to_owned(), should_fail));
            }
            None => map.values().for_each(|item| collect(item, out)),
        },
        serde_json::Value::String(query) => out.push((query.clone(), false)),
        _ => {}
    }
}
