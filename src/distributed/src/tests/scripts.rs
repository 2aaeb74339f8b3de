//! Prometheus's own scripts, their aggregations evaluated in three shards whose answers went over the wire.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use trireme_promql::promqltest::{Evaluate, run_script, script_options, script_parser_options};
use trireme_promql::{Cancel, Engine, Partials, QueryOptions, QueryResult, Select, parse};

use crate::{Sharded, codec, distributable, message};

const SHARDS: u32 = 3;

struct Divided {
    engine: Engine,
    divided: AtomicUsize,
}

impl Divided {
    fn evaluate(
        &self,
        storage: &dyn Select,
        query: &str,
        span: (i64, i64),
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        let expr = parse(query, &script_parser_options()).map_err(|e| e.to_string())?;
        let nodes = distributable(&expr);
        let options = QueryOptions::default();
        let never = Cancel::never();
        let part = |shard: u32| -> Option<Partials> {
            let storage = Sharded::new(storage, shard, SHARDS);
            let partials = self
                .engine
                .partials(&storage, &expr, span, step_ms, &nodes, &options, &never)
                .ok()?;
            let wire = codec::partials_out(&partials).encode_to_vec();
            Some(
                codec::partials_in(message::Answer::decode(wire.as_slice()).expect("own bytes"))
                    .expect("own message"),
            )
        };

        let parts: Option<Vec<Partials>> = if nodes.is_empty() {
            None
        } else {
            (0..SHARDS).map(part).collect()
        };

        let engine = parts.map_or_else(
            || self.engine.clone(),
            |parts| {
                self.divided.fetch_add(1, Ordering::Relaxed);
                self.engine.merging(parts)
            },
        );

        let result = if step_ms == 0 {
            engine.instant(storage, &expr, query, span.0, &options, &never)
        } else {
            engine.range(storage, &expr, query, span, step_ms, &options, &never)
        };

        result.map_err(|e| e.to_string())
    }
}

impl Evaluate for Divided {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        self.evaluate(storage, query, (t_ms, t_ms), 0)
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        self.evaluate(storage, query, (start_ms, end_ms), step_ms)
    }
}

#[test]
fn the_scripts_of_prometheus_pass_in_three_shards() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../promql/tests/promqltest");
    let entries = |dir: PathBuf| fs::read_dir(dir).expect("a folder of the repository");
    let entries = entries(dir.join("prometheus")).chain(entries(dir));
    let evaluator = Divided {
        engine: Engine::new(script_options()),
        divided: AtomicUsize::new(0),
    };
    let mut passed = 0;
    let mut executions = 0;

    let mut failures = Vec::new();
    for path in entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "test"))
    {
        let text = fs::read_to_string(&path).expect("a listed script can be read");
        let report = run_script(
            &path.display().to_string(),
            &text,
            &evaluator,
            &mut |_, _| {},
        );
        passed += report.passed;
        executions += report.executions;
        failures.extend(report.failures);
    }

    let divided = evaluator.divided.load(Ordering::Relaxed);
    println!("{passed} cases passed, {executions} queries, {divided} of them divided");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(divided > 500, "only {divided} queries were divided");
}
