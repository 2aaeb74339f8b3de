//! Queries: what parses prints as a query that parses to the same, with names of any script and without.

#![no_main]

use trireme_promql::{Names, ParserOptions, parse};

libfuzzer_sys::fuzz_target!(|query: &str| {
    for (unquoted_utf8_names, names) in [
        (false, Names::Quoted),
        (true, Names::Quoted),
        (true, Names::Unquoted),
    ] {
        let options = ParserOptions {
            unquoted_utf8_names,
            ..ParserOptions::default()
        };
        let Ok(expression) = parse(query, &options) else {
            continue;
        };
        let printed = expression.printed(names).to_string();
        let again = parse(&printed, &options)
            .unwrap_or_else(|e| panic!("{query:?} prints as {printed:?}: {e}"));
        assert_eq!(again.printed(names).to_string(), printed, "of {query:?}");
    }
});
