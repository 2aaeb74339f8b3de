//! `trireme bucket`: looks into long-term storage.

mod compact;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use slog::{Logger, o};
use trireme_block::{Fault, resolution_text};
use trireme_bucket::{
    BucketBlock, BucketReader, LeftOut, Listing, MetaCache, ReaderOptions, Refreshed,
};
use ulid::Ulid;

use crate::commands::block::{columns, faults_json, size_text, time_text};
use crate::commands::{SettingsArgs, note, print_line};

/// Looks into the bucket that the settings name, and merges and downsamples its blocks; for example --set bucket.type=file --set bucket.path=DIR.
#[derive(clap::Subcommand)]
pub enum Command {
    Ls(Ls),
    Verify(Verify),
    Compact(compact::Args),
}

/// Lists the blocks of the bucket with their tenants.
#[derive(clap::Args)]
pub struct Ls {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Reads every byte of blocks in the bucket and says what is wrong with them; fails if anything is.
#[derive(clap::Args)]
pub struct Verify {
    /// Only these blocks [default: all].
    blocks: Vec<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Ls(args) => ls(args),
        Command::Verify(args) => verify(args),
        Command::Compact(args) => compact::run(args),
    }
}

/// The blocks of the bucket, and what opens them.
struct Opened {
    runtime: tokio::runtime::Runtime,
    reader: BucketReader,
    blocks: Vec<Arc<BucketBlock>>,
    metas: MetaCache,
    refreshed: Refreshed,
}

impl Opened {
    fn new(args: &SettingsArgs) -> anyhow::Result<Self> {
        let settings = args.load()?;
        let default_path = Path::new(&settings.node.data_dir).join("bucket");
        let log = Logger::root(slog::Discard, o!());
        let store = trireme_node::open_bucket(&settings, default_path, &log)?
            .context("the settings name no bucket (bucket.type)")?;

        // Two workers: opening a block waits for requests that the runtime drives.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let metas = MetaCache::new(trireme_node::read_rules(&settings));
        let refreshed = runtime.block_on(metas.refresh(store.as_ref(), Listing::Objects))?;
        let reader = BucketReader::new(store, runtime.handle().clone(), ReaderOptions::default());

        Ok(Self {
            runtime,
            reader,
            blocks: metas.blocks(),
            metas,
            refreshed,
        })
    }

    /// Tells about what is no readable block; gives the number of unreadable ones.
    fn tell_problems(&self) -> usize {
        for ulid in &self.refreshed.partial {
            note(&format!(
                "{ulid}: has no meta.json: an upload under way or broken off"
            ));
        }

        for (ulid, error) in &self.refreshed.bad_marks {
            note(&format!("{ulid}: {error}; the block is used"));
        }

        for (ulid, error) in &self.refreshed.failed {
            note(&format!("{ulid}: {error}"));
        }

        self.refreshed.failed.len()
    }

    /// Reads every byte of a block.
    fn faults_of(&self, block: &BucketBlock) -> Vec<Fault> {
        // This thread is none of the runtime's, so it may wait for it.
        match self.reader.block(&block.meta) {
            Ok(block) => block.verify(),
            Err(error) => vec![Fault {
                place: "block".to_string(),
                what: error.to_string(),
            }],
        }
    }
}

fn ls(args: &Ls) -> anyhow::Result<()> {
    let opened = Opened::new(&args.settings)?;
    let left_out = opened.metas.left_out();
    print_line(&match args.output {
        Output::Table => table(&opened),
        Output::Json => {
            let blocks = opened.blocks.iter();
            let blocks: Vec<_> = blocks.map(|block| block_json(block, &left_out)).collect();
            serde_json::to_string_pretty(&blocks)?
        }
    });

    let failed = opened.tell_problems();
    anyhow::ensure!(failed == 0, "{failed} blocks cannot be read");
    Ok(())
}

fn block_json(block: &BucketBlock, left_out: &BTreeMap<Ulid, LeftOut>) -> Value {
    let deletion = block.deletion.is_some();
    let no_compact = block.no_compact.is_some();
    let no_downsample = block.no_downsample.is_some();
    let not_read = left_out.get(&block.meta.ulid).map(LeftOut::to_string);
    json!({"meta": block.meta, "marked_for_deletion": deletion, "marked_no_compact": no_compact,
        "marked_no_downsample": no_downsample, "not_read": not_read})
}

fn table(opened: &Opened) -> String {
    if opened.blocks.is_empty() {
        return "no blocks".to_string();
    }

    let head = [
        "block",
        "from (UTC)",
        "to, exclusive",
        "labels",
        "resolution",
        "level",
        "series",
        "samples",
        "size",
        "marks",
        "not read",
    ];

    let mut rows = vec![head.map(String::from).to_vec()];

    let left_out = opened.metas.left_out();
    for block in &opened.blocks {
        let not_read = left_out.get(&block.meta.ulid).map(LeftOut::to_string);
        rows.push(row(block, not_read.unwrap_or_default()));
    }

    columns(&rows, 5)
}

fn row(block: &BucketBlock, not_read: String) -> Vec<String> {
    let meta = &block.meta;
    let labels = meta
        .external_labels()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value:?}"));

    let files = meta.thanos.iter().flat_map(|thanos| &thanos.files);
    let size: u64 = files.filter_map(|file| file.size_bytes).sum();

    let marks = [
        block.deletion.as_ref().map(|_| "deletion"),
        block.no_compact.as_ref().map(|_| "no compaction"),
        block.no_downsample.as_ref().map(|_| "no downsampling"),
    ];

    vec![
        meta.ulid.to_string(),
        time_text(meta.min_time),
        time_text(meta.max_time),
        labels.collect::<Vec<_>>().join(" "),
        resolution_text(meta.resolution_ms()),
        meta.compaction.level.to_string(),
        meta.stats.num_series.to_string(),
        meta.stats.num_samples.to_string(),
        size_text(size),
        marks.into_iter().flatten().collect::<Vec<_>>().join(", "),
        not_read,
    ]
}

fn verify(args: &Verify) -> anyhow::Result<()> {
    let opened = Opened::new(&args.settings)?;
    let known: Vec<String> = opened
        .blocks
        .iter()
        .map(|block| block.meta.ulid.to_string())
        .collect();

    if let Some(unknown) = args.blocks.iter().find(|wanted| !known.contains(wanted)) {
        anyhow::bail!("the bucket has no block {unknown}");
    }

    let mut results = Vec::new();
    for (block, ulid) in opened.blocks.iter().zip(&known) {
        if !args.blocks.is_empty() && !args.blocks.contains(ulid) {
            continue;
        }

        let faults = opened.faults_of(block);
        if args.output == Output::Table {
            tell_faults(ulid, &faults);
        }
        results.push((ulid, faults));
    }

    if args.output == Output::Json {
        let all: Vec<_> = results
            .iter()
            .map(|(ulid, faults)| json!({"block": ulid, "faults": faults_json(faults)}))
            .collect();
        print_line(&serde_json::to_string_pretty(&all)?);
    }

    let damaged = results.iter().filter(|(_, faults)| !faults.is_empty());
    let failed = opened.tell_problems() + damaged.count();

    drop(opened.runtime);
    anyhow::ensure!(failed == 0, "{failed} blocks are damaged");
    Ok(())
}

fn tell_faults(ulid: &str, faults: &[Fault]) {
    let state = if faults.is_empty() { "good" } else { "damaged" };
    print_line(&format!("{ulid}: {state}"));
    for fault in faults {
        print_line(&format!("  {fault}"));
    }
}
