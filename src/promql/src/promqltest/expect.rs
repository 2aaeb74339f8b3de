//! What a case expects besides values: an error, an order, warnings and infos.

use regex::Regex;

use crate::value::QueryResult;

/// A text to compare with.
pub(super) enum Expectation {
    Exact(String),
    Pattern(Regex),
}

impl Expectation {
    pub(super) fn text(text: &str, is_regex: bool) -> Result<Self, String> {
        if is_regex {
            Regex::new(text)
                .map(Self::Pattern)
                .map_err(|e| format!("invalid regex {text:?}: {e}"))
        } else {
            Ok(Self::Exact(text.to_owned()))
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => want == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Exact(want) => want,
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

/// Everything expected besides values.
#[derive(Default)]
pub(super) struct Expectations {
    /// The query has to fail, with this text if one is given.
    pub(super) fail: Option<Option<Expectation>>,
    /// Vector elements have to come in the order written.
    pub(super) ordered: bool,
    /// At least one warning, or info.
    pub(super) some_warning: bool,
    pub(super) some_info: bool,
    warnings: Vec<Expectation>,
    infos: Vec<Expectation>,
    no_warning: bool,
    no_info: bool,
}

impl Expectations {
    /// Reads `expect <what> [msg: text | regex: text]`.
    pub(super) fn parse_line(&mut self, line: &str) -> Result<(), String> {
        let rest = line.strip_prefix("expect").unwrap_or(line).trim_start();
        let (what, text) = match rest.split_once(char::is_whitespace) {
            Some((what, text)) => (what, text.trim_start()),
            None => (rest, ""),
        };
        let text = expected_text(text)
            .unwrap_or_else(|| Err(format!("invalid expect statement {line:?}")))?;

        match what {
            "ordered" => self.ordered = true,
            "fail" if self.fail.as_ref().is_some_and(Option::is_some) => {
                return Err("multiple expect fail lines are not allowed".to_owned());
            }
            "fail" => self.fail = Some(Some(text)),
            "warn" => self.warnings.push(text),
            "info" => self.infos.push(text),
            "no_warn" => self.no_warning = true,
            "no_info" => self.no_info = true,
            _ => return Err(format!("invalid expect statement {line:?}")),
        }

        if (self.no_warning && !self.warnings.is_empty())
            || (self.no_info && !self.infos.is_empty())
        {
            return Err("expectations contradict each other".to_owned());
        }

        Ok(())
    }

    /// Compares a query's error.
    pub(super) fn check_error(&self, error: &str) -> Result<(), String> {
        match &self.fail {
            None => Err(format!("query failed: {error}")),
            Some(Some(want)) if !want.matches(error) => Err(format!(
                "expected error {:?}, but got: {error}",
                want.as_str()
            )),
            Some(_) => Ok(()),
        }
    }

    /// Compares a result's warnings and infos.
    pub(super) fn check_notes(&self, result: &QueryResult) -> Result<(), String> {
        check_kind(
            "warning",
            &self.warnings,
            self.some_warning,
            self.no_warning,
            &result.warnings,
        )?;
        check_kind(
            "info",
            &self.infos,
            self.some_info,
            self.no_info,
            &result.infos,
        )
    }
}

/// `msg: text`, `regex: text` or nothing, which stands for any text; none if it is something else.
fn expected_text(text: &str) -> Option<Result<Expectation, String>> {
    Some(if let Some(text) = text.strip_prefix("msg:") {
        Expectation::text(text.trim(), false)
    } else if let Some(text) = text.strip_prefix("regex:") {
        Expectation::text(text.trim(), true)
    } else if text.is_empty() {
        Expectation::text("^.*$", true)
    } else {
        return None;
    })
}

fn check_kind(
    kind: &str,
    expected: &[Expectation],
    some: bool,
    none: bool,
    actual: &[String],
) -> Result<(), String> {
    if none && !actual.is_empty() {
        return Err(format!("unexpected {kind}: {actual:?}"));
    }
    if some && actual.is_empty() {
        return Err(format!("expected a {kind} but got none"));
    }

    if let Some(missing) = expected
        .iter()
        .find(|e| !actual.iter().any(|a| e.matches(a)))
    {
        return Err(format!(
            "expected {kind} {:?}, found: {actual:?}",
            missing.as_str()
        ));
    }

    let unexpected = actual
        .iter()
        .find(|a| !expected.iter().any(|e| e.matches(a)));

    match unexpected {
        Some(text) if !expected.is_empty() => Err(format!("unexpected {kind} {text:?}")),
        _ => Ok(()),
    }
}
