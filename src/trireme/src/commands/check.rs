//! `trireme check`: are these settings valid, and does the bucket that they name work?

use std::path::Path;

use slog::{Logger, o};

use crate::commands::{SettingsArgs, print_line};

/// Checks files and the bucket before they are used.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Reads the settings as `run` would and reports every problem at once.
    Config(SettingsArgs),
    /// Writes a small object to the bucket that the settings name, reads, lists and deletes it.
    Bucket(SettingsArgs),
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Config(args) => {
            args.load()?;
            print_line("settings are valid");
            Ok(())
        }
        Command::Bucket(args) => bucket(args),
    }
}

fn bucket(args: &SettingsArgs) -> anyhow::Result<()> {
    let settings = args.load()?;
    let default_path = Path::new(&settings.node.data_dir).join("bucket");
    let log = Logger::root(slog::Discard, o!());

    // Two checks at once must not meet each other's object.
    let name = format!(
        "trireme-check-{}-{}",
        settings.node.name,
        std::process::id()
    );

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let check = runtime.block_on(trireme_node::check_bucket(
        &settings,
        default_path,
        &log,
        &name,
    ))?;

    print_line("the bucket takes objects, lists them and gives them back");
    print_line(if check.creates_conditionally {
        "objects are created only if they are not there (If-None-Match and the like)"
    } else {
        "objects are not created under a condition (If-None-Match): each is looked for before it is uploaded, and read \
         back; two replicas that upload one block at once both send it"
    });

    Ok(())
}
