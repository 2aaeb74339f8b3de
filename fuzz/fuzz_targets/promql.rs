//! Queries: what parses prints as a query that parses to the same.

#![no_main]

use trireme_promql::{ParserOptions, parse};

libfuzzer_sys::fuzz_target!(|query: &str| {
    let options = ParserOptions::default();
    if let Ok(expression) = parse(query, &options) {
        let printed = expression.to_string();
        let again =
            parse(&printed, &options).unwrap_or_else(|e| panic!("{query:?} prints as {printed:?}: {e}"));
        assert_eq!(again.to_string(), printed, "of {query:?}");
    }
});
