//! `trireme check config`: are these settings valid?

use crate::commands::{SettingsArgs, print_line};

/// Checks files before they are used.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Reads the settings as `run` would and reports every problem at once.
    Config(SettingsArgs),
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Config(args) => {
            args.load()?;
            print_line("settings are valid");
            Ok(())
        }
    }
}
