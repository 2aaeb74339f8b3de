//! Queries that two parsers have to understand alike: ours and the `promql-parser` crate.

#![no_main]

// The tests use more of it.
#[allow(dead_code)]
#[path = "../../src/promql/tests/parser/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|query: &str| {
    if oracle::explained(query).is_none()
        && let Some(difference) = oracle::understood_otherwise(query)
    {
        panic!("{difference}");
    }
});
