//! `trireme bench`: load with generated series, and figures that can be compared with other receivers.

// A load generator has threads of its own and waits in real time.
#![allow(clippy::disallowed_methods)]

mod body;
mod counters;
mod disk;
mod fleet;
mod http;
mod latency;
mod output;
mod process;
mod query;
mod sender;
mod table;
mod write;

/// Measures receivers and query servers with generated load; prints JSON or a table.
#[derive(clap::Subcommand)]
pub enum Command {
    Write(Box<write::Args>),
    Query(Box<query::Args>),
    Table(table::Args),
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Write(args) => write::run(args),
        Command::Query(args) => query::run(args),
        Command::Table(args) => table::run(args),
    }
}
