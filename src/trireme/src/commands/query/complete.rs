//! Completion of names in expressions, for a shell in which `source <(COMPLETE=bash trireme)` was run (or `zsh`, `fish`).
//!
//! The word at the end of what is typed is a label's name inside braces, `by (...)` and the like, and else a metric or a
//! function. Names come from the node that the command would ask; whatever goes wrong, nothing is offered.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use serde_json::Value;
use trireme_promql::ast::FUNCTIONS;

use super::client::{Client, ClientArgs};

/// Nobody waits longer for a list.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More candidates than this are no help.
const CANDIDATES_MAX: usize = 500;
/// Words before parentheses that hold label names.
const LABEL_LISTS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// What is being typed.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A metric or function.
    Expression,
    /// A label's name.
    Label,
    /// Inside quotes, or a number.
    Nothing,
}

/// Candidates for an expression that is being typed.
pub fn expression(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else {
        return Vec::new();
    };

    let (before, word) = split(typed);
    let names = match place(before, word) {
        Place::Nothing => return Vec::new(),
        Place::Label => names("/api/v1/labels"),
        Place::Expression => {
            let mut names = names("/api/v1/label/__name__/values");
            names.extend(FUNCTIONS.iter().map(|f| format!("{}(", f.name)));
            names
        }
    };

    candidates(before, word, names)
}

/// Candidates for `--name`.
pub fn label(typed: &OsStr) -> Vec<CompletionCandidate> {
    typed
        .to_str()
        .map(|word| candidates("", word, names("/api/v1/labels")))
        .unwrap_or_default()
}

fn candidates(before: &str, word: &str, names: Vec<String>) -> Vec<CompletionCandidate> {
    let fitting = names
        .iter()
        .filter(|name| name.starts_with(word))
        .take(CANDIDATES_MAX);
    fitting
        .map(|name| CompletionCandidate::new(format!("{before}{name}")))
        .collect()
}

/// What was typed before the last word, and that word.
fn split(typed: &str) -> (&str, &str) {
    let word = typed
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
        .last();
    typed.split_at(word.map_or(typed.len(), |(at, _)| at))
}

fn place(before: &str, word: &str) -> Place {
    let mut quote = None;

    let mut open = Vec::new();
    for (at, c) in before.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => {
                let list = LABEL_LISTS.contains(&split(before[..at].trim_end()).1);
                open.push(if list {
                    Place::Label
                } else {
                    Place::Expression
                });
            }
            (None, '{') => open.push(Place::Label),
            (None, '[') => open.push(Place::Nothing),
            (None, ')' | '}' | ']') => drop(open.pop()),
            _ => {}
        }
    }

    if quote.is_some() || word.starts_with(|c: char| c.is_ascii_digit()) {
        return Place::Nothing;
    }

    open.pop().unwrap_or(Place::Expression)
}

/// A list of the node that is named on the command line or in the environment.
fn names(path: &str) -> Vec<String> {
    let args: Vec<String> = std::env::args().collect();

    let client = Client::new(&ClientArgs::for_completion(
        given(&args, "--url"),
        given(&args, "--tenant"),
        TIMEOUT,
    ));

    let reply = client.and_then(|client| client.get(path, &[]));
    let Ok(Value::Array(items)) = reply.map(|reply| reply.data) else {
        return Vec::new();
    };

    items
        .into_iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// The value of an option, behind a sign of equality or in the argument after it.
fn given(args: &[String], name: &str) -> Option<String> {
    let joined = args
        .iter()
        .find_map(|a| a.strip_prefix(&format!("{name}=")).map(str::to_owned));
    joined.or_else(|| {
        args.iter()
            .position(|a| a == name)
            .and_then(|at| args.get(at + 1).cloned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_decides_what_is_offered() {
        let cases = [
            ("no", ("", "no"), Place::Expression),
            (
                "sum(rate(node_cp",
                ("sum(rate(", "node_cp"),
                Place::Expression,
            ),
            ("up{jo", ("up{", "jo"), Place::Label),
            ("up{job=\"a", ("up{job=\"", "a"), Place::Nothing),
            ("up{job=\"a\", in", ("up{job=\"a\", ", "in"), Place::Label),
            (
                "up{job=\"a\"} + u",
                ("up{job=\"a\"} + ", "u"),
                Place::Expression,
            ),
            ("sum by (jo", ("sum by (", "jo"), Place::Label),
            ("sum without(a,b", ("sum without(a,", "b"), Place::Label),
            (
                "a * on (x) group_left(y",
                ("a * on (x) group_left(", "y"),
                Place::Label,
            ),
            ("rate(up[5", ("rate(up[", "5"), Place::Nothing),
            ("ü", ("ü", ""), Place::Expression),
        ];
        for (typed, parts, want) in cases {
            assert_eq!(
                (split(typed), place(parts.0, parts.1)),
                (parts, want),
                "{typed}"
            );
        }
    }

    #[test]
    fn candidates_repeat_what_stands_before_the_word() {
        let names = vec!["up".to_owned(), "uptime".to_owned(), "down".to_owned()];
        let found = candidates("sum(", "up", names);
        let found: Vec<_> = found
            .iter()
            .map(|c| c.get_value().to_string_lossy().into_owned())
            .collect();
        assert_eq!(found, ["sum(up", "sum(uptime"]);
    }
}
