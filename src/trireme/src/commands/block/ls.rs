//! `trireme block ls`.

use std::path::PathBuf;

use serde_json::json;
use trireme_block::{BlockListing, list_blocks};

use super::{Output, columns, size_text, time_text};
use crate::commands::{note, print_line};

/// Lists the blocks in a directory.
#[derive(clap::Args)]
pub struct Args {
    /// Directory that holds blocks, such as blocks/TENANT of a data directory.
    dir: PathBuf,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs the command. Blocks whose meta cannot be read are told about, and make it fail after the list.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut listings = Vec::new();

    let mut unreadable = 0;
    for entry in list_blocks(&args.dir)? {
        match entry {
            Ok(listing) => listings.push(listing),
            Err(error) => {
                unreadable += 1;
                note(&error.to_string());
            }
        }
    }

    print_line(&match args.output {
        Output::Table => table(&listings),
        Output::Json => {
            serde_json::to_string_pretty(&listings.iter().map(as_json).collect::<Vec<_>>())?
        }
    });

    anyhow::ensure!(unreadable == 0, "{unreadable} blocks cannot be read");
    Ok(())
}

fn as_json(listing: &BlockListing) -> serde_json::Value {
    json!({"meta": listing.meta, "size_bytes": listing.size_bytes})
}

fn table(listings: &[BlockListing]) -> String {
    if listings.is_empty() {
        return "no blocks".to_string();
    }

    let head = [
        "block",
        "from (UTC)",
        "to, exclusive",
        "level",
        "series",
        "samples",
        "chunks",
        "size",
        "B/sample",
    ];

    let mut rows = vec![head.map(String::from).to_vec()];
    for BlockListing { meta, size_bytes } in listings {
        let stats = &meta.stats;
        rows.push(vec![
            meta.ulid.to_string(),
            time_text(meta.min_time),
            time_text(meta.max_time),
            meta.compaction.level.to_string(),
            stats.num_series.to_string(),
            stats.num_samples.to_string(),
            stats.num_chunks.to_string(),
            size_text(*size_bytes),
            format!(
                "{:.2}",
                *size_bytes as f64 / stats.num_samples.max(1) as f64
            ),
        ]);
    }

    columns(&rows, 3)
}
