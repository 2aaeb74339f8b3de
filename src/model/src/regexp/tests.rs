use trireme_base::{Clock, SystemClock};

use super::*;

fn regexp(pattern: &str) -> Regexp {
    Regexp::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
}

/// What the compiled pattern says, whatever shortcut the shape allows.
fn automaton(regexp: &Regexp, value: &str) -> bool {
    regexp
        .automaton()
        .is_some_and(|r| r.is_match(value.as_bytes()))
}

/// Each line: pattern, matching values, values that do not match.
#[test]
fn patterns_mean_what_they_mean_in_go() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("a.b", &["a\nb", "axb", "aéb"], &["ab"]),
        ("(?-s)a.b", &["axb"], &["a\nb"]),
        (r"\d+", &["09"], &["٣"]),
        (r"\w", &["a", "_"], &["é"]),
        (r"\W", &["é", "-"], &["a"]),
        (r"\s", &["\t", " ", "\n"], &["\u{b}", "\u{a0}"]),
        (r"é\b", &[], &["é"]),
        (r"a\b", &["a"], &[]),
        (r"é\Bé", &["éé"], &[]),
        ("[[a-z]+", &["[a", "z["], &["]"]),
        ("[a&&b]", &["a", "&", "b"], &["c"]),
        ("[a~~b]", &["~"], &["c"]),
        (r"\Qa.b\E+", &["a.b", "a.bb"], &["axb", "a.ba.b"]),
        (r"\Qa*", &["a*"], &["aa"]),
        (r"\101\0", &["A\0"], &[]),
        (r"[\x41-\x{43}]", &["B"], &["D"]),
        ("[]a]", &["]", "a"], &["b"]),
        ("[^]a]", &["b"], &["]", "a"]),
        ("[[:alpha:]_]", &["a", "_"], &["1"]),
        ("[[:^alpha:]]", &["1"], &["a"]),
        (r"[\d\-x]", &["5", "-", "x"], &["d"]),
        (r"[^\d]", &["a"], &["5"]),
        (r"\pL\p{Greek}\P{Greek}", &["aαb"], &["1αb"]),
        (r"\p{^Greek}", &["a"], &["α"]),
        ("a{,2}", &["a{,2}"], &["aa"]),
        ("a{2}{", &["aa{"], &[]),
        ("(?i)ab[c]", &["ABC"], &["abd"]),
        ("(?i:a)b", &["Ab"], &["AB"]),
        ("(?P<x>a)(?<y>b)", &["ab"], &[]),
        ("(?P<1x>a)(?P<2>b)", &["ab"], &[]),
        ("a|b", &["a", "b"], &["ab", ""]),
        ("a||b", &["a", ""], &["c"]),
        ("^a$", &["a"], &["ba"]),
        ("(?m)^a$\n^b$", &["a\nb"], &[]),
        ("a*?b+?", &["aabb", "b"], &["a"]),
        (r"\_\-\/\#\ ", &["_-/# "], &[]),
        ("<a>", &["<a>"], &[]),
        ("", &[""], &["a"]),
    ];
    for (pattern, good, bad) in cases {
        let regexp = regexp(pattern);
        for value in *good {
            assert!(regexp.is_match(value), "{pattern} should match {value:?}");
            assert!(
                automaton(&regexp, value),
                "{pattern} compiled should match {value:?}"
            );
        }

        for value in *bad {
            assert!(
                !regexp.is_match(value),
                "{pattern} should not match {value:?}"
            );
            assert!(
                !automaton(&regexp, value),
                "{pattern} compiled should not match {value:?}"
            );
        }
    }
}

#[test]
fn errors_have_the_texts_of_go() {
    let cases = [
        ("(", "missing closing ): `(`"),
        ("a)b", "unexpected ): `a)b`"),
        ("[a", "missing closing ]: `[a`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a--z]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("x*+", "invalid nested repetition operator: `*+`"),
        ("x**", "invalid nested repetition operator: `**`"),
        ("x{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("x{1001}", "invalid repeat count: `{1001}`"),
        ("x{2,1}", "invalid repeat count: `{2,1}`"),
        ("((x{100}){100})", "invalid repeat count: `{100}`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"a\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
        (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
    ];
    for (pattern, want) in cases {
        let error = Regexp::new(pattern).expect_err(pattern);
        assert_eq!(
            error.to_string(),
            format!("error parsing regexp: {want}"),
            "{pattern}"
        );
    }
}

#[test]
fn simple_patterns_are_recognised() {
    let set = |pattern: &str| -> Vec<String> {
        regexp(pattern)
            .set_matches()
            .map(|s| s.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    };

    assert_eq!(set("b|a|abc"), ["a", "abc", "b"]);
    assert_eq!(set("a(b|c)d[ef]"), ["abde", "abdf", "acde", "acdf"]);
    assert_eq!(set("plain"), ["plain"]);
    assert_eq!(set(r"10\.0\.0\.1|10\.0\.0\.2"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(regexp(r"10\.0\.0\.1|10\.0\.0\.2").prefix(), "10.0.0.");
    assert_eq!(
        (
            regexp("é1|è1|é1").prefix(),
            regexp("ab|a").prefix(),
            regexp("|a").prefix()
        ),
        ("", "a", "")
    );

    assert_eq!((regexp("ab").prefix(), regexp("ab").suffix()), ("ab", "ab"));
    assert_eq!(set("(?:a|)"), ["", "a"]);
    assert_eq!(set("a?"), ["", "a"]);
    assert_eq!(set("[a-z][a-z]"), Vec::<String>::new());
    assert_eq!(regexp(".*").0.shape, Shape::Any);
    assert_eq!(regexp(".+").0.shape, Shape::NonEmpty);
    assert_eq!(
        regexp("ab.*").0.shape,
        Shape::Prefix {
            literal: "ab".into(),
            more: false
        }
    );

    assert_eq!(
        regexp(".+ab").0.shape,
        Shape::Suffix {
            literal: "ab".into(),
            more: true
        }
    );

    assert_eq!(regexp(".*a.*").0.shape, Shape::Contains("a".into()));
    let general = regexp("ab[0-9]+cd");
    assert_eq!((general.prefix(), general.suffix()), ("ab", "cd"));

    assert!(general.set_matches().is_none());
    assert!(!regexp("(?-s).*").matches_everything());
}

#[test]
fn a_literal_part_shared_by_prefix_and_suffix_is_not_counted_twice() {
    let r = regexp("aa[0-9]*aa");
    assert!(!r.is_match("aaa"));
    assert!(r.is_match("aaaa"));
}

#[test]
fn expands_groups_by_number_and_name() {
    let r = regexp("(?P<first>[a-z]+)-([0-9]+)");
    assert_eq!(
        r.expand("ab-12", "$2:${first}:$first$$ ${9}$x").as_deref(),
        Some("12:ab:ab$ ")
    );
    assert_eq!(r.expand("ab-12!", "$1"), None);
}

#[test]
fn oversized_patterns_are_refused() {
    assert!(Regexp::new(&".a".repeat(PATTERN_BYTES_MAX / 2 + 1)).is_err());
    assert!(Regexp::new(&"a".repeat(LIST_BYTES_MAX + 1)).is_err());
    assert!(Regexp::new(&"(".repeat(10_000)).is_err());
    assert!(
        Regexp::new(r"(?:[\pL\pN]{1000}){1}[\pL\pN]{1000}[\pL\pN]{1000}[\pL\pN]{1000}").is_err()
    );
}

#[test]
fn long_lists_are_sets_but_do_not_explode() {
    let list = (0..3000)
        .map(|i| format!("host-{i}"))
        .collect::<Vec<_>>()
        .join("|");

    assert_eq!(regexp(&list).set_matches().map(<[_]>::len), Some(3000));
    let product = "(a|b)".repeat(20);
    assert!(regexp(&product).set_matches().is_none());

    let long = format!("[a-z][a-z]{}", "x".repeat(10_000));
    assert!(regexp(&long).set_matches().is_none());
}

proptest::proptest! {
    #[test]
    fn simple_shapes_agree_with_the_automaton(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b", "\\.", "\\|", ".", ".*", ".+", "a?", "(a|b)", "[ab]", "|", "(?i)", "ab", "\\d", "^", "$", "(?:)", "\n", "é", "x{2}",
        ]), 0..6),
        values in proptest::collection::vec("[abxA1é\n]{0,5}", 1..20),
    ) {
        if let Ok(regexp) = Regexp::new(&parts.concat()) {
            for value in &values {
                let compiled = automaton(&regexp, value);
                proptest::prop_assert_eq!(regexp.is_match(value), compiled, "{:?} on {:?}", regexp, value);
                proptest::prop_assert!(!compiled || value.starts_with(regexp.prefix()));
                proptest::prop_assert!(!compiled || value.ends_with(regexp.suffix()));
            }
        }
    }

    #[test]
    fn random_patterns_do_not_panic(pattern in "[\\[\\](){}|*+?.^$\\\\a-zQEPx0-9:,<>\u{e9}-]{0,20}", value in "\\PC{0,8}") {
        if let Ok(regexp) = Regexp::new(&pattern) {
            proptest::prop_assert_eq!(regexp.is_match(&value), automaton(&regexp, &value));
            let _ = regexp.expand(&value, "$1${x}$");
        }
    }
}

#[test]
fn translation_takes_time_in_proportion_to_the_pattern() {
    // Each of these took the square of its length: some ten seconds.
    let braces = "{".repeat(PATTERN_BYTES_MAX);
    let classes = format!("[{}", "[:".repeat(PATTERN_BYTES_MAX / 2 - 1));
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    assert!(translate::translate(&braces).is_ok());
    assert!(translate::translate(&classes).is_err());

    let took = clock.monotonic().saturating_sub(begun);
    assert!(took < std::time::Duration::from_secs(3), "took {took:?}");
}

#[test]
fn patterns_of_a_request_are_bounded_together_and_equal_ones_count_once() {
    let mut patterns = Patterns::default();
    for _ in 0..10_000 {
        patterns
            .compile(r"(a|b)+x.y")
            .expect("the same one again and again");
    }

    // About 16 MiB each: some of them fit, many do not.
    let large = |i: usize| format!(r"\pL{{200}}{i}");
    let fitting = (0..20)
        .take_while(|i| patterns.compile(&large(*i)).is_ok())
        .count();
    assert!(
        (1..10).contains(&fitting),
        "{fitting} large patterns were compiled"
    );

    let refused = patterns
        .compile(&large(19))
        .expect_err("over the bound")
        .to_string();
    assert!(refused.contains("more than 64 MiB"), "{refused}");

    // What was compiled stays usable.
    assert!(patterns.compile(&large(0)).is_ok());
}

#[test]
fn what_a_pattern_weighs_is_not_less_than_what_it_takes() {
    // The crate refuses what is over its bound, so a weight that is too low shows as a pattern that it refuses.
    let cases = [
        r"\pL{50}",
        r"(?i)\pL{20}x",
        r"(\w+\.){30}com",
        r"[^a]{500}",
        r"(a|b|c|d){200}e",
        r"(?:\PL|\d){40}",
    ];
    for pattern in cases {
        let regexp = regexp(pattern);
        let translated = translate::translate(pattern).expect("valid");
        assert!(
            compile(&translated, regexp.weight()).is_ok(),
            "{pattern} weighs {}",
            regexp.weight()
        );
    }
}

#[test]
fn a_pattern_of_very_many_unicode_classes_is_refused_before_it_is_parsed() {
    let many = r"\pL".repeat(PROPERTIES_MAX + 1);
    assert!(Regexp::new(&many).is_err());
}

#[test]
fn a_list_of_very_many_values_needs_no_automaton() {
    let values: Vec<String> = (0..20_000)
        .map(|i| format!("10\\.0\\.0\\.{i}:9100"))
        .collect();
    let regexp = regexp(&values.join("|"));
    assert_eq!(regexp.set_matches().map(<[_]>::len), Some(20_000));
    assert!(regexp.is_match("10.0.0.19999:9100") && !regexp.is_match("10.0.0.20000:9100"));
}

#[test]
fn templates_are_read_as_go_reads_them() {
    let r = regexp("(?P<1x>a)(?P<name>b)(c)?");
    for (template, want) in [
        ("$1x-${1x}", "a-a"),
        ("$1-$2-$3-$4", "a-b--"),
        ("${1}x", "ax"),
        ("$namex|${name}x", "|bx"),
        ("$$1 $ ${ ${a.b} $", "$1 $ ${ ${a.b} $"),
        ("$01$0", "ab"),
        ("$é.", "."),
    ] {
        assert_eq!(
            r.expand("ab", template).as_deref(),
            Some(want),
            "{template}"
        );
    }
}
