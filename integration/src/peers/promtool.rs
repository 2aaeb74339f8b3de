//! promtool, Prometheus's own judge of blocks and its client on the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::samples::{SampleSet, Value};

/// An installed promtool.
pub struct Promtool {
    program: PathBuf,
}

impl Promtool {
    /// The tool at `program`.
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// `promtool tsdb list`: the lines after the heading.
    pub fn list(&self, data: &Path) -> anyhow::Result<Vec<String>> {
        Ok(self
            .run(&["tsdb", "list"], data, None)?
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect())
    }

    /// `promtool tsdb analyze --extended` of one block.
    pub fn analyze(&self, data: &Path, ulid: &str) -> anyhow::Result<String> {
        self.run(&["tsdb", "analyze", "--extended"], data, Some(ulid))
    }

    /// `promtool tsdb dump`: every sample. Stale markers come out as NaN.
    pub fn dump(&self, data: &Path) -> anyhow::Result<SampleSet> {
        let mut set = SampleSet::default();
        for line in self.run(&["tsdb", "dump"], data, None)?.lines() {
            let (labels, rest) = line
                .rsplit_once("} ")
                .with_context(|| format!("dump line {line:?}"))?;
            let (value, timestamp) = rest
                .split_once(' ')
                .with_context(|| format!("dump line {line:?}"))?;
            let labels = labels
                .strip_prefix('{')
                .with_context(|| format!("dump line {line:?}"))?;

            set.add(
                &parse_labels(labels)?,
                timestamp.trim().parse()?,
                Value::of(value.parse()?),
            );
        }

        Ok(set)
    }

    /// `promtool query` with further arguments: its output, or an error with its complaint.
    pub fn query(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .arg("query")
            .args(arguments)
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "{}",
            text(&output.stderr).trim_end()
        );

        Ok(text(&output.stdout))
    }

    fn run(&self, arguments: &[&str], data: &Path, last: Option<&str>) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg(data)
            .args(last)
            .output()?;

        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "promtool {arguments:?} failed: {}",
            text(&output.stderr)
        );

        Ok(text(&output.stdout))
    }
}

/// Reads `a="b", c="d"` with Go's string escapes.
fn parse_labels(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();

    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once("=\"")
            .with_context(|| format!("labels {text:?}"))?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters
                .next()
                .with_context(|| format!("labels {text:?} do not end"))?
            {
                (at, '"') => break at,
                (_, '\\') => match characters.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some(c @ ('"' | '\\')) => value.push(c),
                    other => anyhow::bail!("escape {other:?} in {text:?}"),
                },
                (_, c) => value.push(c),
            }
        };

        labels.insert(name.to_owned(), value);
        rest = after[end + 1..].trim_start_matches(", ");
    }

    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::parse_labels;

    #[test]
    fn reads_labels_with_escapes() {
        assert!(parse_labels(r#"__name__="a", z="b"#).is_err());
        let labels = parse_labels(r#"__name__="a", path="C:\\x, \"y\"""#).expect("well formed");
        assert_eq!(labels["path"], r#"C:\x, "y""#);
    }
}
