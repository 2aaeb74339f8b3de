//! Where the report of a measurement goes.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::commands::print_line;

/// How a report is given out; part of the arguments of each measurement.
#[derive(clap::Args)]
pub(super) struct ReportArgs {
    /// Form of the report.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Writes the report as JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

impl ReportArgs {
    /// Writes the file, if one is wanted, and prints the report; `table` makes its form for people.
    pub(super) fn give(
        &self,
        report: &impl Serialize,
        table: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(report)?;
        if let Some(file) = &self.json_file {
            std::fs::write(file, format!("{json}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }

        print_line(&match self.output {
            Output::Json => json,
            Output::Table => table(),
        });

        Ok(())
    }
}
