use super::*;
use crate::printer::Names;

fn parsed(query: &str) -> Expr {
    parse(query, &ParserOptions::default()).unwrap_or_else(|e| panic!("{query}: {e}"))
}

/// Expressions and how they are printed; `None` if as they are.
#[test]
fn parses_and_prints_the_whole_grammar() {
    let cases: &[(&str, Option<&str>)] = &[
        ("1", None),
        ("0x1F", Some("31")),
        ("1_000", Some("1000")),
        ("+Inf", None),
        ("-inf", Some("-Inf")),
        ("-Inf ^ 2", None),
        ("NaN", None),
        ("1h30m", None),
        ("90m", Some("1h30m")),
        ("-1", None),
        ("'a\\'b'", Some("\"a'b\"")),
        ("`a\nb`", Some("\"a\\nb\"")),
        ("\"a\\xc5z\\xff\"", None),
        ("-foo ^ 2", None),
        ("1 + 2 * 3 ^ 4 ^ 5", None),
        ("foo and bar unless baz or qux", None),
        ("foo == bool bar", None),
        (
            "foo ==bool on(a,b) group_left(c) bar",
            Some("foo == bool on (a, b) group_left (c) bar"),
        ),
        (
            "foo * ignoring () group_right bar",
            Some("foo * ignoring () group_right () bar"),
        ),
        ("foo + on () bar", None),
        ("foo + ignoring () bar", Some("foo + bar")),
        ("foo + fill(-1) bar", Some("foo + fill (-1) bar")),
        (
            "foo + on (a) fill_right (1) fill_left (2) bar",
            Some("foo + on (a) fill_left (2) fill_right (1) bar"),
        ),
        ("fill + fill_left", None),
        ("foo </ 3 >/ bar", None),
        ("foo atan2 bar", None),
        ("sum(foo)", None),
        ("SUM(foo) BY (a)", Some("sum by (a) (foo)")),
        ("sum without () (foo)", None),
        ("sum by () (foo)", Some("sum(foo)")),
        (
            "topk by (by, on, \"a b\", a:b) (3, foo)",
            Some("topk by (by, on, \"a b\", \"a:b\") (3, foo)"),
        ),
        ("count_values(\"v\", foo)", None),
        ("limitk(2, foo)", None),
        (
            "foo{b=\"1\", a!=\"2\", c=~\"x|y\", d!~\"z\",}",
            Some("foo{a!=\"2\",b=\"1\",c=~\"x|y\",d!~\"z\"}"),
        ),
        (
            "{\"foo.bar\", \"a.b\"=\"c\"}",
            Some("{\"a.b\"=\"c\",__name__=\"foo.bar\"}"),
        ),
        ("{__name__=\"foo\"}", None),
        ("foo:bar", None),
        ("sum", None),
        ("by{a=\"b\"} + offset + and", None),
        ("start + end + step + range", None),
        ("anchored + smoothed", None),
        ("foo[5m]", None),
        ("foo[300]", Some("foo[5m]")),
        ("foo[0.00001:1e-9]", Some("foo[1ms:1ms]")),
        ("foo[5m] offset -1h", None),
        ("foo offset 5m @ 10.5", Some("foo @ 10.500 offset 5m")),
        ("foo[5m] @ start() offset 1w", None),
        ("foo @ -1h", Some("foo @ -3600.000")),
        ("foo[5m:]", None),
        (
            "rate(foo[5m])[1h:1m] offset 5m @ end()",
            Some("rate(foo[5m])[1h:1m] @ end() offset 5m"),
        ),
        ("(foo + bar)[1h:]", None),
        ("foo[5m] anchored", None),
        (
            "foo smoothed @ 5 offset 1m",
            Some("foo @ 5.000 smoothed offset 1m"),
        ),
        ("foo[5m + 2 * step()]", None),
        ("foo[(range() - 5m) / 2:step() + 1s]", None),
        (
            "foo[min_of(5m, MAX_OF(1, step()))]",
            Some("foo[min_of(5m, max_of(1, step()))]"),
        ),
        ("foo offset -(5m + 1s)", None),
        ("foo offset +(5m)", Some("foo offset (5m)")),
        ("foo offset -step()", None),
        ("foo offset STEP()", Some("foo offset step()")),
        ("foo offset -2 ^ 2", Some("foo offset -2s ^ 2")),
        ("foo offset 5m + 3", None),
        ("foo[-(5m - 10m)]", None),
        ("time() - start() + end() + step() + range()", None),
        ("min_of(1, max_of(2, 3))", None),
        ("info(foo, {k8s=~\".*\"})", None),
        ("histogram_quantiles(foo, \"q\", 0.1, 0.9)", None),
        ("label_join(foo, \"a\", \",\")", None),
        ("# comment\nfoo # more\n+ bar", Some("foo + bar")),
        ("--foo", None),
        ("+-1", Some("-1")),
    ];
    for (query, want) in cases {
        let printed = parsed(query).to_string();
        assert_eq!(printed, want.unwrap_or(query), "{query}");
        assert_eq!(parsed(&printed).to_string(), printed, "{query}");
    }
}

#[test]
fn errors_have_the_texts_and_positions_of_prometheus() {
    let cases = [
        (
            "",
            "unknown position: parse error: no expression found in input",
        ),
        (
            "# just a comment\n\n",
            "1:1: parse error: no expression found in input",
        ),
        ("1+", "1:3: parse error: unexpected end of input"),
        (".", "1:1: parse error: unexpected character: '.'"),
        (
            "2.5.",
            "1:1: parse error: bad number or duration syntax: \"2.5.\"",
        ),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
        (
            "sum(foo bar)",
            "1:9: parse error: unexpected identifier \"bar\" in aggregation",
        ),
        (
            "sum by foo",
            "1:8: parse error: unexpected identifier \"foo\" in grouping opts, expected \"(\"",
        ),
        (
            "sum by (1) (foo)",
            "1:9: parse error: unexpected number \"1\" in grouping opts, expected label",
        ),
        (
            "sum()",
            "1:1: parse error: no arguments for aggregate expression provided",
        ),
        (
            "sum(a, b)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
        ),
        (
            "topk(a)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        (
            "nope(foo)",
            "1:1: parse error: unknown function with name \"nope\"",
        ),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "rate()",
            "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0",
        ),
        (
            "round(a, 1, 2)",
            "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "label_join(a, \"b\")",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        (
            "floor(foo,)",
            "1:10: parse error: trailing commas not allowed in function call args",
        ),
        (
            "{}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "{a=\"\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "foo{__name__=\"bar\"}",
            "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "foo{a}",
            "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "foo{a=b}",
            "1:7: parse error: unexpected identifier \"b\" in label matching, expected string",
        ),
        (
            "foo{1}",
            "1:5: parse error: unexpected character inside braces: '1'",
        ),
        (
            "foo{",
            "1:5: parse error: unexpected end of input inside braces",
        ),
        (
            "foo{a=~\"(\"}",
            "1:5: parse error: error parsing regexp: missing closing ): `(`",
        ),
        (
            "foo[",
            "1:5: parse error: unexpected end of input in duration expression",
        ),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[5m+]",
            "1:8: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[5m:(1m *)]",
            "1:13: parse error: unexpected \")\" in subquery selector, expected number, duration, step(), range(), or \"]\"",
        ),
        (
            "foo offset (5m +)",
            "1:17: parse error: unexpected \")\" in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo[5m:1m 2m]",
            "1:11: parse error: unexpected duration \"2m\" in subquery selector, expected \"]\"",
        ),
        (
            "foo[0m]",
            "1:5: parse error: duration must be greater than 0",
        ),
        (
            "foo[-5m]",
            "1:5: parse error: duration must be greater than 0",
        ),
        (
            "foo[5mm]",
            "1:5: parse error: bad number or duration syntax: \"5mm\"",
        ),
        ("foo[5m / 0]", "1:8: parse error: division by zero"),
        ("foo[9.5e10]", "1:5: parse error: duration out of range"),
        (
            "foo offset 1m[5m]",
            "1:14: parse error: no offset modifiers allowed before range",
        ),
        (
            "foo @ 1 [5m]",
            "1:9: parse error: no @ modifiers allowed before range",
        ),
        (
            "(foo)[5m]",
            "1:6: parse error: ranges only allowed for vector selectors",
        ),
        (
            "foo[5m][1h:]",
            "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
        ),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo offset 1m offset 2m",
            "1:1: parse error: offset may not be set multiple times",
        ),
        (
            "1 offset 1d",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "foo @ bar",
            "1:7: parse error: unexpected identifier \"bar\" in @, expected timestamp",
        ),
        (
            "foo @ 1 @ 2",
            "1:1: parse error: @ <timestamp> may not be set multiple times",
        ),
        (
            "foo @ Inf",
            "1:1: parse error: timestamp out of bounds for @ modifier: +Inf",
        ),
        (
            "foo anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        (
            "foo[5m:] anchored",
            "1:1: parse error: anchored modifier is not supported for subqueries",
        ),
        (
            "1 == 1",
            "1:3: parse error: comparisons between scalars must use BOOL modifier",
        ),
        (
            "1 + bool 1",
            "1:3: parse error: bool modifier can only be used on comparison operators",
        ),
        (
            "foo or 1",
            "1:1: parse error: set operator \"or\" not allowed in binary scalar expression",
        ),
        (
            "foo + on(a) 1",
            "1:1: parse error: vector matching only allowed between instant vectors",
        ),
        (
            "foo + fill(1) 1",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        (
            "foo and on(a) group_left(b) bar",
            "1:1: parse error: no grouping allowed for \"and\" operation",
        ),
        (
            "a and fill(1) b",
            "1:1: parse error: filling in missing series not allowed for set operators",
        ),
        (
            "a + on(b) group_left(b) c",
            "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once",
        ),
        (
            "foo[5m] + 1",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "sum(1)",
            "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
        ),
        (
            "topk(\"a\", b)",
            "1:6: parse error: expected type scalar in aggregation parameter, got string",
        ),
        (
            "info(a, b)",
            "1:9: parse error: expected label selectors only, got vector selector instead",
        ),
        ("\"a\nb\"", "1:1: parse error: unterminated quoted string"),
        (
            "foo\n+ \"\\q\"",
            "2:3: parse error: unknown escape sequence U+0071 'q'",
        ),
        (
            "foo ! bar",
            "1:5: parse error: unexpected character after '!': ' '",
        ),
        (
            "foo =~ bar",
            "1:5: parse error: unexpected character after '=': '~'",
        ),
    ];
    for (query, want) in cases {
        match parse(query, &ParserOptions::default()) {
            Ok(expr) => panic!("{query} parsed to {expr}"),
            Err(e) => assert_eq!(e.to_string(), want, "{query}"),
        }
    }
}

#[test]
fn every_node_knows_its_place() {
    let query = "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m)) / -bar ";
    let mut places = Vec::new();
    parsed(query).walk(&mut |e| places.push(e.pos().text(query).to_owned()));

    let want = [
        "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m)) / -bar",
        "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m))",
        "rate(foo{b=\"c\"}[5m] offset 1m)",
        "foo{b=\"c\"}[5m] offset 1m",
        "-bar",
        "bar",
    ];

    assert_eq!(places, want);
}

#[test]
fn experimental_parts_can_be_switched_off() {
    let off = ParserOptions {
        experimental_functions: false,
        fill_modifiers: false,
        ..ParserOptions::default()
    };

    let queries = [
        "start()",
        "limitk(1, foo)",
        "integral(foo[5m])",
        "a + fill(1) b",
    ];

    for query in queries {
        assert!(parse(query, &off).is_err(), "{query}");
        parsed(query);
    }

    let error = parse("integral(a[5m])", &off)
        .expect_err("is off")
        .to_string();

    assert_eq!(
        error,
        "1:1: parse error: function \"integral\" is not enabled"
    );

    for stable in [
        "foo[step()]",
        "foo[5m+1m]",
        "foo anchored",
        "foo[1m] smoothed",
    ] {
        assert!(parse(stable, &off).is_ok(), "{stable}");
    }
}

#[test]
fn deep_and_long_queries_are_refused_without_deep_recursion() {
    let options = ParserOptions::default();
    let n = 100_000;
    let queries = [
        "(".repeat(n),
        "-".repeat(n) + "a",
        "a+".repeat(n) + "a",
        "a^".repeat(n) + "a",
        "sum(".repeat(n),
        format!("a{}", "[1m:]".repeat(n)),
        format!("a[{}1]", "1+".repeat(n)),
        format!("a[{}1]", "-".repeat(n)),
        format!("a[{}1]", "(".repeat(n)),
    ];

    for query in queries {
        let error = parse(&query, &options).expect_err("too deep").to_string();
        let refused = ["nests deeper", "unclosed", "operators above each other"];
        assert!(refused.iter().any(|text| error.contains(text)), "{error}");
    }

    assert!(parse(&" ".repeat(options.query_bytes_max + 1), &options).is_err());
    assert!(parse(&("a+".repeat(200) + "a"), &options).is_ok());
}

/// Runs `job` with the stack that a node's query threads have.
fn on_query_stack(job: impl FnOnce() + Send + 'static) {
    #[allow(clippy::disallowed_methods)] // a stack of the size that queries have
    let builder = std::thread::Builder::new().stack_size(crate::STACK_BYTES);
    builder
        .spawn(job)
        .expect("a thread starts")
        .join()
        .expect("it does not fail");
}

#[test]
fn chains_are_no_nesting() {
    on_query_stack(|| {
        let options = ParserOptions::default();
        let chain = |term: &str, op: &str, terms: usize| vec![term; terms].join(op);

        let most = options.height_max;
        for (term, op) in [
            ("a", " or "),
            ("1", " + "),
            ("a * b", " - "),
            ("(a + a)", " / "),
            ("sum(a)", " == "),
        ] {
            let query = chain(term, op, most - 3);
            let expr = parse(&query, &options).unwrap_or_else(|e| panic!("{op}: {e}"));
            // Whatever walks over a tree has the stack for it.
            assert_eq!(expr.to_string(), query);
            assert_eq!(expr.clone(), expr);
            let mut nodes = 0;
            expr.walk(&mut |_| nodes += 1);
            assert!(nodes >= 2 * (most - 3) - 1);
        }

        let error = parse(&chain("a", "+", most + 1), &options)
            .expect_err("too long")
            .to_string();
        assert!(
            error.contains("more than 2000 operators above each other"),
            "{error}"
        );

        // Chains in chains count together: it is the whole tree that is walked.
        let nested = format!(
            "{} + ({})",
            chain("a", "+", most / 2),
            chain("a", "+", most - 5)
        );

        assert!(parse(&nested, &options).is_ok());
        let nested = format!(
            "({}) + {}",
            chain("a", "+", most / 2),
            chain("a", "+", most - 5)
        );

        assert!(parse(&nested, &options).is_err());
    });
}

#[test]
fn a_long_expression_is_split_over_lines() {
    let query = "sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"api-server\"}[5m])) / on (job) group_left () topk(5, http_requests_all)";
    let want = "  sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"api-server\"}[5m]))\n/ on (job) group_left ()\n  topk(5, http_requests_all)";
    let pretty = crate::printer::prettify(&parsed(query), Names::Quoted);

    assert_eq!(pretty, want);
    assert_eq!(parsed(&pretty).to_string(), query);
    assert_eq!(
        crate::printer::prettify(&parsed("foo+bar"), Names::Quoted),
        "foo + bar"
    );
}

#[test]
fn selectors_are_parsed_alone() {
    let options = ParserOptions::default();
    let matchers = parse_selector("up{job=~\"a|b\"}", &options).expect("a selector");
    assert_eq!(
        matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["job=~\"a|b\"", "__name__=\"up\""]
    );

    for bad in ["up offset 5m", "up[5m]", "sum(up)", ""] {
        assert!(parse_selector(bad, &options).is_err(), "{bad}");
    }
}

#[test]
fn names_of_any_script_need_no_quotes_if_switched_on() {
    let on = ParserOptions {
        unquoted_utf8_names: true,
        ..ParserOptions::default()
    };
    let accepted = [
        "a.",
        "a..b",
        "a.5",
        "a:b.c",
        "été",
        "温度{場所=\"東京\"}",
        "a{b.c=\"1\"}",
        "{a.b=\"1\"}",
        "sum by (a.b.) (a)",
        "a * on (x.y) group_left (z.w) b",
        "Inf.x",
        "sum.x",
        "by.x",
    ];

    for query in accepted {
        let expr = parse(query, &on).unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(expr.printed(Names::Unquoted).to_string(), query);
        let quoted = expr.to_string();
        assert_eq!(
            parsed(&quoted).to_string(),
            quoted,
            "what is quoted reads back everywhere"
        );
        assert!(
            parse(query, &ParserOptions::default()).is_err() || query == quoted,
            "{query}"
        );
    }

    let refused = [
        (".a", "1:1: parse error: unexpected character: '.'"),
        ("x_١", "1:3: parse error: unexpected character: '١'"),
        (
            "o\u{308}",
            "1:2: parse error: unexpected character: '\u{308}'",
        ),
        ("😀", "1:1: parse error: unexpected character: '😀'"),
        (
            "1a.b",
            "1:1: parse error: bad number or duration syntax: \"1\"",
        ),
        ("5m.x", "1:3: parse error: unexpected character: '.'"),
        (
            "a and.b",
            "1:3: parse error: unexpected identifier \"and.b\"",
        ),
        (
            "foo.bar(1)",
            "1:1: parse error: unknown function with name \"foo.bar\"",
        ),
        (
            "sum by (a:b) (a)",
            "1:9: parse error: invalid label name for grouping: \"a:b\"",
        ),
    ];

    for (query, want) in refused {
        match parse(query, &on) {
            Ok(expr) => panic!("{query} parsed to {expr}"),
            Err(e) => assert_eq!(e.to_string(), want, "{query}"),
        }
    }

    for query in ["a{b:c=\"1\"}", "a{.b=\"1\"}"] {
        assert!(parse(query, &on).is_err(), "{query}");
    }

    let quoted = parsed("{\"http.server.requests\", \"a.b\"=\"c\"}");
    assert_eq!(
        quoted.to_string(),
        "{\"a.b\"=\"c\",__name__=\"http.server.requests\"}"
    );

    let unquoted = "{__name__=\"http.server.requests\",a.b=\"c\"}";
    assert_eq!(quoted.printed(Names::Unquoted).to_string(), unquoted);
    parsed("sum by (a:b) (a)");
}
