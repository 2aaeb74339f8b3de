//! `trireme promqltest`: holds the query engine to scripts in Prometheus's test language.

use std::path::PathBuf;

use anyhow::Context;
use trireme_promql::promqltest::{Evaluate, run_script, script_options, script_parser_options};
use trireme_promql::{Cancel, Engine, ParserOptions, QueryOptions, QueryResult, Select, parse};

use crate::commands::print_line;

/// Runs PromQL test scripts against the query engine; the last line says `N passed, M failed`.
#[derive(clap::Args)]
pub struct Args {
    /// Scripts, or directories whose *.test files are run.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Also names the cases that passed.
    #[arg(long)]
    verbose: bool,
}

/// Runs the command. Fails if a case did, or if there was none.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let evaluator = Evaluator::new();
    let mut passed = 0;

    let mut failed = 0;
    for file in files(&args.paths)? {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().map_or_else(
            || file.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let report = run_script(
            &name,
            &text,
            &evaluator,
            &mut |line, failure| match failure {
                Some(failure) => print_line(&format!(
                    "{name}:{line}: FAILED: {}\n  {}",
                    failure.expr, failure.message
                )),
                None if args.verbose => print_line(&format!("{name}:{line}: passed")),
                None => {}
            },
        );

        print_line(&format!(
            "{name}: {} passed, {} failed",
            report.passed, report.failed
        ));
        passed += report.passed;
        failed += report.failed;
    }

    print_line(&format!("{passed} passed, {failed} failed"));
    // The counts are the last line for whoever reads them, so the exit code alone says the rest.
    if failed > 0 || passed == 0 {
        std::process::exit(1);
    }

    Ok(())
}

/// Files as they are, directories as their scripts in order of name.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }

        let entries =
            std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut scripts: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "test")
            })
            .collect();

        anyhow::ensure!(
            !scripts.is_empty(),
            "{} holds no *.test files",
            path.display()
        );

        scripts.sort();
        files.append(&mut scripts);
    }

    Ok(files)
}

/// The engine with the settings under which the scripts are written.
struct Evaluator {
    engine: Engine,
    parser: ParserOptions,
}

impl Evaluator {
    fn new() -> Self {
        Self {
            engine: Engine::new(script_options()),
            parser: script_parser_options(),
        }
    }
}

impl Evaluate for Evaluator {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let expr = parse(query, &self.parser).map_err(|error| error.to_string())?;
        let result = self.engine.instant(
            storage,
            &expr,
            query,
            t_ms,
            &QueryOptions::default(),
            &Cancel::never(),
        );

        result.map_err(|error| error.to_string())
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        let expr = parse(query, &self.parser).map_err(|error| error.to_string())?;
        let span = (start_ms, end_ms);
        let options = QueryOptions::default();
        let result = self.engine.range(
            storage,
            &expr,
            query,
            span,
            step_ms,
            &options,
            &Cancel::never(),
        );

        result.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(expected: &str) -> (usize, usize) {
        let text = format!("load 1m\n  a 0 1 2 3\n\neval instant at 3m a * 2\n  {{}} {expected}\n");
        let report = run_script("own", &text, &Evaluator::new(), &mut |_, _| {});
        (report.passed, report.failed)
    }

    #[test]
    fn tells_right_from_wrong() {
        assert_eq!(script("6"), (1, 0));
        assert_eq!(script("7"), (0, 1));
    }

    #[test]
    fn runs_the_scripts_of_a_directory_in_order_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["b.test", "a.test", "notes.md"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }

        let found = files(&[dir.path().to_path_buf()]).expect("has scripts");
        assert_eq!(
            found,
            ["a.test", "b.test"].map(|name| dir.path().join(name))
        );
    }
}
