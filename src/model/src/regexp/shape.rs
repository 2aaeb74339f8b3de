//! What can be said about a pattern without running it.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Repetition};

/// Most strings a pattern is listed as. Dashboards join all values of a variable, which can be thousands.
const SET_MAX: usize = 4096;
/// Most strings of a plain list of alternatives, which is found without an automaton however long it is.
const LIST_MAX: usize = 100_000;
/// Most strings that come of combinations and of character classes: beyond it, trying values is cheaper.
const PRODUCT_MAX: usize = 256;
/// Most bytes of all these strings.
const SET_BYTES_MAX: usize = 1 << 20;

/// Kinds of patterns that are matched without an automaton.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `.*`
    Any,
    /// `.+`
    NonEmpty,
    /// `a|b`, `a`, `a(b|c)`, `a[bc]`: the strings, sorted.
    Set(Box<[Box<str>]>),
    /// `a.*`, and with `more` `a.+`.
    Prefix { literal: Box<str>, more: bool },
    /// `.*a`, and with `more` `.+a`.
    Suffix { literal: Box<str>, more: bool },
    /// `.*a.*`
    Contains(Box<str>),
    /// Anything else.
    General,
}

/// A pattern's shape and what all its matches start and end with.
pub(super) struct Analysis {
    pub(super) shape: Shape,
    pub(super) prefix: Box<str>,
    pub(super) suffix: Box<str>,
}

/// Looks at a parsed pattern.
pub(super) fn analyse(hir: &Hir) -> Analysis {
    let parts = flatten(hir);
    let leading = parts.iter().take_while(|p| is_literal(p)).count();
    let trailing = parts[leading..]
        .iter()
        .rev()
        .take_while(|p| is_literal(p))
        .count();

    let prefix = literal_of(&parts[..leading]);
    let suffix = if leading == parts.len() {
        prefix.clone()
    } else {
        literal_of(&parts[parts.len() - trailing..])
    };

    let shape = shape_of(&parts, leading, trailing, &prefix, &suffix);
    Analysis {
        shape,
        prefix: prefix.into(),
        suffix: suffix.into(),
    }
}

/// The one text that the parts match, if it is one.
fn literal_of(parts: &[&Hir]) -> String {
    enumerate_parts(parts, 1)
        .and_then(|mut texts| texts.pop())
        .unwrap_or_default()
}

/// Looks at a pattern of nothing but alternatives in plain text, as dashboards make of long lists, without parsing it.
pub(super) fn plain_alternatives(pattern: &str) -> Option<Analysis> {
    let set = texts_between_bars(pattern)?;
    let shape = set_of(set);
    let Shape::Set(set) = &shape else { return None };
    let first = set.first()?;
    let last = set.last()?;

    // In a sorted list, what the ends share all share.
    let shared = common_prefix(first, last);

    let prefix = first[..shared].into();
    let suffix = if set.len() == 1 {
        first.clone()
    } else {
        Box::default()
    };

    Some(Analysis {
        shape,
        prefix,
        suffix,
    })
}

/// The alternatives of a pattern without operators but bars; none for other patterns and long lists.
fn texts_between_bars(pattern: &str) -> Option<Vec<String>> {
    let mut set = vec![String::new()];

    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '|' if set.len() >= LIST_MAX => return None,
            '|' => {
                set.push(String::new());
                continue;
            }
            '\\' => chars.next().filter(char::is_ascii_punctuation)?,
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            _ => c,
        };
        set.last_mut()?.push(literal);
    }
    Some(set)
}

/// How many bytes two texts share from their starts.
fn common_prefix(a: &str, b: &str) -> usize {
    let shared = a
        .char_indices()
        .zip(b.chars())
        .find(|((_, x), y)| x != y)
        .map_or(a.len(), |((i, _), _)| i);
    shared.min(b.len())
}

fn set_of(mut strings: Vec<String>) -> Shape {
    strings.sort_unstable();
    strings.dedup();
    Shape::Set(strings.into_iter().map(String::into_boxed_str).collect())
}

fn shape_of(parts: &[&Hir], leading: usize, trailing: usize, prefix: &str, suffix: &str) -> Shape {
    if let Some(set) = enumerate_parts(parts, SET_MAX) {
        return set_of(set);
    }

    let middle = &parts[leading..parts.len() - trailing];
    let run = match middle {
        [one] => dots(one),
        _ => None,
    };

    match (run, leading, trailing) {
        (Some(false), 0, 0) => Shape::Any,
        (Some(true), 0, 0) => Shape::NonEmpty,
        (Some(more), _, 0) => Shape::Prefix {
            literal: prefix.into(),
            more,
        },
        (Some(more), 0, _) => Shape::Suffix {
            literal: suffix.into(),
            more,
        },
        (None, 0, 0) => contains(middle).unwrap_or(Shape::General),
        _ => Shape::General,
    }
}

/// `.*literal.*`
fn contains(parts: &[&Hir]) -> Option<Shape> {
    let [first, inner @ .., last] = parts else {
        return None;
    };
    if inner.is_empty() || dots(first) != Some(false) || dots(last) != Some(false) {
        return None;
    }
    if !inner.iter().all(|p| is_literal(p)) {
        return None;
    }

    let literal = enumerate_parts(inner, 1)?.pop()?;
    Some(Shape::Contains(literal.into()))
}

/// The parts of a concatenation, groups dissolved.
fn flatten(hir: &Hir) -> Vec<&Hir> {
    match hir.kind() {
        HirKind::Concat(parts) => parts.iter().flat_map(flatten).collect(),
        HirKind::Capture(group) => flatten(&group.sub),
        HirKind::Empty => Vec::new(),
        _ => vec![hir],
    }
}

fn is_literal(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Literal(_))
}

/// `Some(false)` for `.*`, `Some(true)` for `.+`.
fn dots(hir: &Hir) -> Option<bool> {
    let HirKind::Repetition(Repetition {
        min,
        max: None,
        sub,
        ..
    }) = hir.kind()
    else {
        return None;
    };

    let HirKind::Class(Class::Unicode(class)) = sub.kind() else {
        return None;
    };

    let all = matches!(class.ranges(), [r] if r.start() == '\0' && r.end() == char::MAX);
    (all && *min <= 1).then_some(*min == 1)
}

/// All strings that the parts match one after the other, unless there are more than `max`.
fn enumerate_parts(parts: &[&Hir], max: usize) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for part in parts {
        let next = enumerate(part, max)?;

        // Each string of one list meets each of the other.
        let product_bytes = bytes_of(&all) * next.len() + bytes_of(&next) * all.len();
        let most = if all.len() > 1 && next.len() > 1 {
            max.min(PRODUCT_MAX)
        } else {
            max
        };

        if all.len() * next.len() > most || product_bytes > SET_BYTES_MAX {
            return None;
        }

        all = all
            .iter()
            .flat_map(|a| next.iter().map(move |b| format!("{a}{b}")))
            .collect();
    }

    Some(all)
}

fn bytes_of(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

fn enumerate(hir: &Hir, max: usize) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => enumerate_class(class, max),
        HirKind::Capture(group) => enumerate(&group.sub, max),
        HirKind::Concat(_) => enumerate_parts(&flatten(hir), max),
        HirKind::Alternation(choices) => enumerate_choices(choices, max),
        HirKind::Repetition(Repetition {
            min: 0,
            max: Some(1),
            sub,
            ..
        }) => {
            let mut all = enumerate(sub, max)?;
            all.push(String::new());
            (all.len() <= max).then_some(all)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

fn enumerate_class(class: &ClassUnicode, max: usize) -> Option<Vec<String>> {
    let count: usize = class.ranges().iter().map(|r| r.len()).sum();
    if count > max.min(PRODUCT_MAX) {
        return None;
    }
    let chars = class.iter().flat_map(|r| r.start()..=r.end());
    Some(chars.map(String::from).collect())
}

fn enumerate_choices(choices: &[Hir], max: usize) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for choice in choices {
        all.extend(enumerate(choice, max)?);
        if all.len() > max {
            return None;
        }
    }
    Some(all)
}
