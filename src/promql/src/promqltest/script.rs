//! Reads the commands of a script.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::eval::{Case, Times};
use super::expect::Expectation;
use super::nhcb;
use super::series::{Description, parse_description, parse_start_timestamps, plain_number};
use super::storage::{MemoryStorage, Stored};
use crate::durations::parse_duration;
use crate::lexer::unquote;

/// A command.
pub(super) enum Command {
    /// Forget all data.
    Clear,
    Load(Load),
    Eval(Box<Case>),
}

/// Data to store: what each series has at 0, `gap_ms`, 2 × `gap_ms`, ...
pub(super) struct Load {
    gap_ms: i64,
    /// Convert classic histograms to ones with custom buckets, too.
    with_nhcb: bool,
    series: Vec<LoadSeries>,
}

struct LoadSeries {
    description: Description,
    /// Start timestamps relative to their samples (ms).
    start: Option<Vec<Option<i64>>>,
}

/// The commands with their line numbers, from 1. A command that cannot be read is an error text in its place.
pub(super) fn commands(text: &str) -> Vec<(usize, Result<Command, String>)> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();

    let mut commands = Vec::new();

    let mut at = 0;
    while at < lines.len() {
        let first = lines[at];
        let word = first.split([' ', '\t']).next().unwrap_or("");
        let word = word.to_ascii_lowercase();

        let block = &lines[at..];
        let block_len = block.iter().position(|line| line.is_empty());
        let block = &block[..block_len.unwrap_or(block.len())];
        let (used, command) = match word.as_str() {
            "" => {
                at += 1;
                continue;
            }
            "clear" => (1, Ok(Command::Clear)),
            _ if word.starts_with("load") => (block.len(), Load::parse(block).map(Command::Load)),
            _ if word.starts_with("eval") => {
                let (used, case) = parse_eval(block);
                (used, case.map(|case| Command::Eval(Box::new(case))))
            }
            _ => (1, Err(format!("invalid command {first:?}"))),
        };

        commands.push((at + 1, command));
        at += used;
    }

    commands
}

impl Load {
    fn parse(block: &[&str]) -> Result<Self, String> {
        let (head, lines) = block.split_first().ok_or("empty command")?;
        let (word, gap) = head
            .split_once(char::is_whitespace)
            .ok_or("load without a step")?;
        let with_nhcb = match word {
            "load" => false,
            "load_with_nhcb" => true,
            _ => return Err(format!("invalid load command {word:?}")),
        };

        let gap_ms = duration(gap)?;
        let mut series = Vec::new();

        let mut pending: Option<(&str, Vec<Option<i64>>)> = None;
        for line in lines {
            let first_word = line.split_whitespace().next().unwrap_or("");
            if let Some(metric) = first_word.strip_suffix("@st") {
                if pending.is_some() {
                    return Err("@st line has no following sample line".to_owned());
                }
                pending = Some((metric, parse_start_timestamps(&line[first_word.len()..])?));
                continue;
            }

            let description = parse_description(line)?;
            let start = match pending.take() {
                None => None,
                Some((metric, start)) => {
                    check_start(metric, &start, &description)?;
                    Some(start)
                }
            };

            series.push(LoadSeries { description, start });
        }

        match pending {
            Some(_) => Err("@st line has no following sample line".to_owned()),
            None => Ok(Self {
                gap_ms,
                with_nhcb,
                series,
            }),
        }
    }

    /// Stores the data.
    pub(super) fn apply(&self, storage: &mut MemoryStorage) -> Result<(), String> {
        for series in &self.series {
            let mut t = 0;
            for (i, value) in series.description.values.iter().enumerate() {
                if let Some(value) = &value.value {
                    let start = series
                        .start
                        .as_ref()
                        .and_then(|start| start.get(i).copied().flatten());
                    let st = start.map_or(0, |offset| t + offset);

                    storage.append(
                        &series.description.labels,
                        Stored {
                            t,
                            st,
                            value: value.clone(),
                        },
                    );
                }
                t += self.gap_ms;
            }
        }

        if self.with_nhcb {
            let descriptions = self.series.iter().map(|s| &s.description);
            nhcb::append_converted(descriptions, self.gap_ms, storage)?;
        }

        Ok(())
    }
}

/// Checks that an `@st` line goes with the line of samples below it.
fn check_start(metric: &str, start: &[Option<i64>], samples: &Description) -> Result<(), String> {
    if parse_description(metric)?.labels != samples.labels {
        return Err("@st metric does not match the following sample line metric".to_owned());
    }
    if start.len() != samples.values.len() {
        let n = start.len();
        let m = samples.values.len();
        return Err(format!("@st line has {n} values but sample line has {m}"));
    }
    Ok(())
}

static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$",
    )
});
static EXPECT_RANGE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests use")
}

/// Reads an evaluation; also says how many lines it took.
fn parse_eval(block: &[&str]) -> (usize, Result<Case, String>) {
    let Some((head, lines)) = block.split_first() else {
        return (1, Err("empty command".to_owned()));
    };

    let mut case = match parse_eval_head(head) {
        Ok(case) => case,
        Err(e) => return (block.len(), Err(e)),
    };

    for (i, line) in lines.iter().enumerate() {
        match parse_eval_line(&mut case, line) {
            Ok(true) => {}
            Ok(false) => return (i + 2, Ok(case)),
            Err(e) => return (block.len(), Err(e)),
        }
    }

    (block.len(), Ok(case))
}

fn parse_eval_head(head: &str) -> Result<Case, String> {
    let (modifier, mut case) = if let Some(parts) = INSTANT.captures(head) {
        let at = duration(parts.get(2).map_or("", |m| m.as_str()))?;
        (parts.get(1), Case::new(&parts[3], Times::Instant(at)))
    } else if let Some(parts) = RANGE.captures(head) {
        (parts.get(1), Case::new(&parts[5], range_times(&parts)?))
    } else {
        return Err(format!("invalid evaluation command {head:?}"));
    };

    match modifier.map(|m| m.as_str()) {
        Some("fail") => case.expectation.fail = Some(None),
        Some("warn") => case.expectation.some_warning = true,
        Some("info") => case.expectation.some_info = true,
        Some("ordered") => case.expectation.ordered = true,
        _ => {}
    }

    Ok(case)
}

/// The times of a range evaluation.
fn range_times(parts: &Captures<'_>) -> Result<Times, String> {
    let start_ms = duration(&parts[2])?;
    let end_ms = duration(&parts[3])?;
    let step_ms = duration(&parts[4])?;
    if end_ms < start_ms {
        return Err("end timestamp is before start timestamp".to_owned());
    }

    Ok(Times::Range {
        start_ms,
        end_ms,
        step_ms,
    })
}

/// Reads a line below the head. False if no further line can belong to the evaluation.
fn parse_eval_line(case: &mut Case, line: &str) -> Result<bool, String> {
    if case.expectation.fail.is_some()
        && let Some(text) = failure_text(line)?
    {
        case.expectation.fail = Some(Some(text));
        return Ok(false);
    }

    if line.starts_with("expect range vector") {
        expect_range(case, line)?;
        return Ok(true);
    }

    if let Some(literal) = line.strip_prefix("expect string") {
        let text = unquote(literal.trim())
            .map_err(|e| format!("expected string literal not valid: {e}"))?;
        case.expected_string = Some(text.into_owned());
        return Ok(true);
    }

    if line.split(' ').next() == Some("expect") {
        case.expectation.parse_line(line)?;
        return Ok(true);
    }
    if let Some(number) = plain_number(line) {
        case.expected_scalar = Some(number);
        return Ok(false);
    }

    let description = parse_description(line)?;
    let instant = matches!(case.times, Times::Instant(_)) && case.result_times.is_none();
    if instant && description.values.len() > 1 {
        return Err("expecting multiple values in instant evaluation not allowed".to_owned());
    }

    case.expected.push(description);
    Ok(true)
}

/// What an evaluation that fails is to say, in the old form.
fn failure_text(line: &str) -> Result<Option<Expectation>, String> {
    let words = [
        ("expected_fail_message", false),
        ("expected_fail_regexp", true),
    ];
    for (word, is_regex) in words {
        if let Some(text) = line.strip_prefix(word) {
            return Expectation::text(text.trim(), is_regex).map(Some);
        }
    }
    Ok(None)
}

fn expect_range(case: &mut Case, line: &str) -> Result<(), String> {
    let parts = EXPECT_RANGE
        .captures(line)
        .ok_or_else(|| format!("invalid range vector definition {line:?}"))?;
    let start_ms = duration(&parts[1])?;
    let end_ms = duration(&parts[2])?;
    let step_ms = duration(&parts[3])?;
    case.result_times = Some((start_ms, end_ms, step_ms));
    if let Times::Instant(at) = &mut case.times {
        *at = end_ms;
    }
    Ok(())
}

/// A time or step; in scripts all of them are durations since the epoch.
fn duration(text: &str) -> Result<i64, String> {
    parse_duration(text.trim()).map_err(|e| e.to_string())
}
