//! `trireme run`: one node.

use anyhow::Context;
use trireme_telemetry::logger;

use crate::commands::SettingsArgs;

/// Runs one node. Without settings: a group of one under ./trireme-data with a file bucket inside it.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Runs the command until a signal stops the node.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let settings = args.settings.load()?;
    let telemetry = &settings.telemetry;
    let format = telemetry.log_format.parse().map_err(anyhow::Error::msg).context("telemetry.log_format")?;
    let level = telemetry.log_level.parse().map_err(anyhow::Error::msg).context("telemetry.log_level")?;
    let (log, _flush_at_end) = logger(format, level);
    trireme_node::run(settings, log)
}
