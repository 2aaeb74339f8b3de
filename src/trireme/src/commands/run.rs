//! `trireme run`: one node.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use trireme_node::End;
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
    match run_once(args)? {
        End::Stopped => Ok(()),
        End::StartAnew => Err(start_anew()),
    }
}

/// Puts a new process in the place of this one: same id, same arguments, nothing left of what ran. Comes back only with
/// the reason why it could not.
fn start_anew() -> anyhow::Error {
    // The file it was started from, so that the process keeps its name; or itself, if that file was removed.
    let file = std::env::current_exe().ok().filter(|path| path.exists());
    let file = file.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let error = Command::new(file).args(std::env::args_os().skip(1)).exec();
    anyhow::Error::new(error).context("the node wants to start anew and cannot; start it again")
}

fn run_once(args: &Args) -> anyhow::Result<End> {
    let settings = args.settings.load()?;
    let telemetry = &settings.telemetry;
    let format = telemetry
        .log_format
        .parse()
        .map_err(anyhow::Error::msg)
        .context("telemetry.log_format")?;

    let level = telemetry
        .log_level
        .parse()
        .map_err(anyhow::Error::msg)
        .context("telemetry.log_level")?;

    let (log, _flush_at_end) = logger(format, level);
    trireme_node::run(settings, log)
}
