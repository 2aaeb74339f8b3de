//! `trireme block verify`.

use std::path::PathBuf;

use serde_json::{Value, json};
use trireme_block::{Fault, verify_block};

use super::{Output, block_dirs};
use crate::commands::print_line;

/// Reads every byte of blocks and says what is wrong with them; fails if anything is.
#[derive(clap::Args)]
pub struct Args {
    /// Blocks, or directories of blocks.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut results: Vec<(PathBuf, Vec<Fault>)> = Vec::new();
    for dir in &args.dirs {
        for block in block_dirs(dir)? {
            let faults = verify_block(&block);
            if args.output == Output::Table {
                print_line(&text(&block, &faults));
            }
            results.push((block, faults));
        }
    }

    if args.output == Output::Json {
        let all: Vec<_> = results
            .iter()
            .map(|(dir, faults)| json!({"block": dir.display().to_string(), "faults": faults_json(faults)}))
            .collect();
        print_line(&serde_json::to_string_pretty(&all)?);
    }

    let bad = results
        .iter()
        .filter(|(_, faults)| !faults.is_empty())
        .count();

    anyhow::ensure!(bad == 0, "{bad} of {} blocks are damaged", results.len());
    Ok(())
}

fn text(block: &std::path::Path, faults: &[Fault]) -> String {
    let mut text = format!(
        "{}: {}",
        block.display(),
        if faults.is_empty() { "good" } else { "damaged" }
    );

    for fault in faults {
        text.push_str(&format!("\n  {fault}"));
    }

    text
}

pub fn faults_json(faults: &[Fault]) -> Vec<Value> {
    faults
        .iter()
        .map(|fault| json!({"place": fault.place, "what": fault.what}))
        .collect()
}
