//! The `trireme` command line.
//!
//! Each command lives in its own file under `commands/`; this one only says what there is.

mod allocator;
mod commands;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;

/// A metrics cluster for Prometheus: receives, replicates, stores, queries.
#[derive(Parser)]
#[command(name = "trireme", version = commands::version(), about, max_term_width = 110, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Args),
    Dev(commands::dev::Args),
    #[command(subcommand)]
    Check(commands::check::Command),
    #[command(subcommand)]
    Ring(commands::ring::Command),
    #[command(subcommand)]
    Rebuild(commands::rebuild::Command),
    #[command(subcommand)]
    Query(commands::query::Command),
    #[command(subcommand)]
    Block(commands::block::Command),
    #[command(subcommand)]
    Bucket(commands::bucket::Command),
    #[command(subcommand)]
    Bench(commands::bench::Command),
    #[command(hide = true)]
    Promqltest(commands::promqltest::Args),
}

fn main() -> ExitCode {
    // Answers a shell that asks for completions, and ends; see `commands/query/complete.rs`.
    CompleteEnv::with_factory(Cli::command).complete();
    allocator::install();
    trireme_bucket::install_crypto_provider();

    let done = match Cli::parse().command {
        Command::Run(args) => commands::run::run(&args),
        Command::Dev(args) => commands::dev::run(&args),
        Command::Check(command) => commands::check::run(&command),
        Command::Ring(command) => commands::ring::run(&command),
        Command::Rebuild(command) => commands::rebuild::run(&command),
        Command::Query(command) => commands::query::run(&command),
        Command::Block(command) => commands::block::run(&command),
        Command::Bucket(command) => commands::bucket::run(&command),
        Command::Bench(command) => commands::bench::run(&command),
        Command::Promqltest(args) => commands::promqltest::run(&args),
    };

    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
