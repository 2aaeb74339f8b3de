//! Properties of parser and printer.

use proptest::prelude::*;
use trireme_promql::ast::Expr;
use trireme_promql::{Names, ParserOptions, parse, parse_selector, prettify};

use crate::generate::{Features, vector};

fn parsed(query: &str) -> Result<Expr, TestCaseError> {
    parse(query, &ParserOptions::default())
        .map_err(|e| TestCaseError::fail(format!("{query}: {e}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same(query in vector(Features { recent: true })) {
        let printed = parsed(&query)?.to_string();
        let again = parsed(&printed)?;
        prop_assert_eq!(&again.to_string(), &printed);
        let pretty = prettify(&again, Names::Quoted);
        prop_assert_eq!(parsed(&pretty)?.to_string(), printed);
    }

    #[test]
    fn every_part_of_a_query_is_itself_a_query(query in vector(Features { recent: true })) {
        let expr = parsed(&query)?;
        let mut parts = Vec::new();
        expr.walk(&mut |e| parts.push((e.pos(), e.to_string())));
        for (pos, printed) in parts {
            let text = pos.text(&query);
            let part = parse(text, &ParserOptions::default());
            // The second argument of info() may select everything; nothing else here is special.
            let part = part.map_err(|e| TestCaseError::fail(format!("{text:?} of {query:?}: {e}")))?;
            prop_assert_eq!(part.to_string(), printed);
        }
    }

    #[test]
    fn random_text_does_not_panic(text in "\\PC{0,60}") {
        let _ = parse(&text, &ParserOptions::default());
        let _ = parse_selector(&text, &ParserOptions::default());
    }

    #[test]
    fn random_tokens_do_not_panic(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "foo", "sum", "by", "(", ")", "{", "}", "[", "]", "5m", "1", "-", "+", "*", "^", "==", "bool", "on", "offset",
        "@", "start()", "step()", ",", ":", "\"a\"", "=", "=~", "!~", "anchored", "fill", "group_left", "and", "</",
        "max_of", "rate", "#", "\n", "'", "`", "\\", "é", ".", "0x", "1e", "Inf", "info",
    ]), 0..20)) {
        for glue in ["", " "] {
            let text = tokens.join(glue);
            if let Ok(expr) = parse(&text, &ParserOptions::default()) {
                prop_assert_eq!(parsed(&expr.to_string())?.to_string(), expr.to_string());
            }
        }
    }

    #[test]
    fn cutting_a_query_short_gives_an_error_or_a_query(query in vector(Features { recent: true }), cut in 0.0..1.0_f64) {
        let mut at = (query.len() as f64 * cut) as usize;
        while !query.is_char_boundary(at) {
            at -= 1;
        }
        match parse(&query[..at], &ParserOptions::default()) {
            Ok(expr) => prop_assert!(expr.pos().end as usize <= at),
            Err(e) => prop_assert!(e.pos.start as usize <= at, "{e}"),
        }
    }
}
