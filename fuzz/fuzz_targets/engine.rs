//! Queries over random data: no panic, and the bounds hold.

#![no_main]

#[path = "../../src/promql/tests/engine_properties/generate.rs"]
mod generate;

use trireme_base::SeededRng;
use trireme_promql::{Cancel, Engine, EngineOptions, ParserOptions, QueryOptions, parse};

const SAMPLES_MAX: usize = 20_000;

libfuzzer_sys::fuzz_target!(|input: (u64, bool, &str)| {
    let (seed, damaged, query) = input;
    let mut rng = SeededRng::new(seed);
    let memory = if damaged {
        generate::malformed(&mut rng)
    } else {
        generate::memory(&mut rng, 3, 40)
    };
    // What the fuzzer wrote, or else an expression that its seed makes.
    let text = if query.is_empty() {
        generate::expression(&mut rng, 4)
    } else {
        query.to_owned()
    };
    let Ok(expr) = parse(&text, &ParserOptions::default()) else {
        return;
    };
    let engine = Engine::new(EngineOptions {
        samples_max: SAMPLES_MAX,
        start_timestamps: true,
        ..EngineOptions::default()
    });
    let (options, cancel) = (QueryOptions::default(), Cancel::never());
    if let Ok(result) = engine.range(
        &memory,
        &expr,
        &text,
        (0, 330_000),
        30_000,
        &options,
        &cancel,
    ) {
        assert!(result.stats.peak_samples <= SAMPLES_MAX as u64, "{text}");
    }
    let _ = engine.instant(&memory, &expr, &text, 60_000, &options, &cancel);
});
