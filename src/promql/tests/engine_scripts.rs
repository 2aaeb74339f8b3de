//! The engine against Prometheus's own test scripts, which lie beside the repository.

use std::path::PathBuf;

use trireme_promql::promqltest::{Evaluate, run_script};
use trireme_promql::{
    Cancel, Engine, EngineOptions, ParserOptions, QueryOptions, QueryResult, Select, parse,
};

struct Tested(Engine);

impl Evaluate for Tested {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let expr = parse(query, &ParserOptions::default()).map_err(|e| e.to_string())?;
        let options = QueryOptions::default();
        let result = self.0.instant(storage, &expr, query, t_ms, &options, &Cancel::never());
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

fn engine(threads: usize) -> Tested {
    Tested(Engine::new(EngineOptions {
        samples_max: 10_000,
        delayed_name_removal: true,
        start_timestamps: true,
        threads,
        ..EngineOptions::default()
    }))
}

#[test]
fn every_case_of_the_scripts_comes_out_as_prometheus_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/promqltest");
    let Ok(entries) = std::fs::read_dir(&folder) else { return };
    let mut files: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    let (mut passed, mut executions, mut failures) = (0, 0, Vec::new());
    let engine = engine(1);
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("listed just now");
        let report = run_script(&name, &String::from_utf8_lossy(&bytes), &engine, &mut |_, _| {});
        passed += report.passed;
        executions += report.executions;
        failures.extend(report.failures);
    }
    let texts = failures.iter().map(|f| format!("{}:{} {}\n    {}", f.file, f.line, f.expr, f.message));
    let texts: Vec<_> = texts.collect();
    assert!(failures.is_empty(), "{} passed, {} failed:\n{}", passed, texts.len(), texts.join("\n"));
    assert!(executions > passed);
}
