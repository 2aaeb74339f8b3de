//! `trireme bucket compact`: merges and downsamples blocks of the bucket by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use slog::{Logger, o};
use trireme_base::{Clock, SystemClock};
use trireme_block::resolution_text;
use trireme_bucket::{Listing, MetaCache};
use trireme_compaction::{Compactor, CompactorParts, Done, Finished, Job, Plan, Streams, plan};
use ulid::Ulid;

use super::Output;
use crate::commands::block::{columns, size_text, time_text};
use crate::commands::{SettingsArgs, note, print_line};

/// Merges blocks of the bucket into larger ones, downsamples these, marks what was merged, and deletes what is marked when its
/// time has come, as the nodes do. It may run beside them and may be stopped at any time.
#[derive(clap::Args)]
pub struct Args {
    /// Says what would be merged and downsampled first, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Merges blocks with any external labels, those of other programs included, and not only this cluster's.
    #[arg(long)]
    all_labels: bool,
    /// Directory for blocks under construction; one of its own is made in it [default: that for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let settings = args.settings.load()?;
    let default_path = std::path::Path::new(&settings.node.data_dir).join("bucket");
    let log = Logger::root(slog::Discard, o!());
    let store = trireme_node::open_bucket(&settings, default_path, &log)?
        .context("the settings name no bucket (bucket.type)")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;

    let mut limits = trireme_node::compaction_limits(&settings);
    if args.all_labels {
        limits.streams = Streams::All;
    }

    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("trireme-compaction-{}", std::process::id()));
    let compactor = Compactor::new(CompactorParts {
        store: Arc::clone(&store),
        local: Arc::new(|_| None),
        dir: dir.clone(),
        part_ms: limits.part_ms(),
        runtime: runtime.handle().clone(),
        stop: Arc::default(),
        log,
    });

    let metas = MetaCache::new(trireme_node::read_rules(&settings));
    let look = || -> anyhow::Result<(Plan, Vec<Ulid>)> {
        let refreshed = runtime.block_on(metas.refresh(store.as_ref(), Listing::Objects))?;
        Ok((plan(&metas.blocks(), now_ms(), &limits), refreshed.partial))
    };

    let (mut planned, partial) = look()?;
    if args.dry_run {
        tell_plan(&planned, args.output)?;
        return Ok(());
    }

    let delay = settings.compaction.delete_delay.as_duration();
    let mut report = Report::default();
    let blocks = metas.blocks();
    let times = (now_ms() / 1_000, delay);
    let finish = compactor.finish(&blocks, &partial, &limits.streams, times, &|_| true);

    report.finished = runtime.block_on(finish);
    while let Some(job) = planned.jobs.into_iter().find(|job| !report.was_tried(job)) {
        let blocks = job.sources.len();
        let bytes = size_text(job.bytes());
        note(&match job.is_downsampling() {
            true => format!(
                "{}: to {}, {bytes}",
                range_text(&job),
                resolution_text(job.resolution_ms)
            ),
            false => format!("{}: {blocks} blocks, {bytes}", range_text(&job)),
        });

        let now_s = now_ms() / 1_000;
        match runtime.block_on(compactor.compact(&job, now_s)) {
            Ok(done) => report.done.push((job, done)),
            Err(error) => {
                note(&format!("{}: {error}", range_text(&job)));
                report.failed.push((job, error.to_string()));
            }
        }

        planned = look()?.0;
    }

    if dir.exists() {
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("cannot remove {}", dir.display()))?;
    }

    report.tell(args.output, delay)
}

fn now_ms() -> i64 {
    SystemClock::new().now_ms()
}

fn range_text(job: &Job) -> String {
    format!(
        "{} to {}",
        time_text(job.range.start),
        time_text(job.range.end)
    )
}

fn labels_text(job: &Job) -> String {
    job.labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn names(job: &Job) -> Vec<String> {
    job.sources
        .iter()
        .map(|source| source.meta.ulid.to_string())
        .collect()
}

fn job_json(job: &Job) -> serde_json::Value {
    json!({"from_ms": job.range.start, "to_ms": job.range.end, "labels": job.labels,
        "resolution": resolution_text(job.resolution_ms), "level": job.level(), "sources": names(job),
        "source_bytes": job.bytes()})
}

fn tell_plan(planned: &Plan, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let jobs: Vec<_> = planned.jobs.iter().map(job_json).collect();
        print_line(&serde_json::to_string_pretty(
            &json!({"jobs": jobs, "too_large": planned.too_large}),
        )?);
        return Ok(());
    }

    if planned.jobs.is_empty() {
        print_line("nothing to merge or to downsample");
    } else {
        let head = [
            "from (UTC)",
            "to, exclusive",
            "labels",
            "resolution",
            "level",
            "blocks",
            "size",
        ];

        let mut rows = vec![head.map(String::from).to_vec()];
        for job in &planned.jobs {
            rows.push(vec![
                time_text(job.range.start),
                time_text(job.range.end),
                labels_text(job),
                resolution_text(job.resolution_ms),
                job.level().to_string(),
                job.sources.len().to_string(),
                size_text(job.bytes()),
            ]);
        }

        print_line(&columns(&rows, 4));
    }

    if planned.too_large > 0 {
        note(&format!(
            "{} ranges stay as they are: see compaction.block_bytes_max",
            planned.too_large
        ));
    }

    Ok(())
}

/// What was done.
#[derive(Default)]
struct Report {
    finished: Finished,
    done: Vec<(Job, Done)>,
    failed: Vec<(Job, String)>,
}

impl Report {
    /// Nothing is tried twice in one run, whatever the bucket makes of it.
    fn was_tried(&self, job: &Job) -> bool {
        let tried = self
            .failed
            .iter()
            .map(|(job, _)| job)
            .chain(self.done.iter().map(|(job, _)| job));
        let key = |job: &Job| (names(job), job.resolution_ms);
        tried.map(key).any(|tried| tried == key(job))
    }

    fn tell(&self, output: Output, delay: Duration) -> anyhow::Result<()> {
        let finished = &self.finished;
        match output {
            Output::Json => self.print_json()?,
            Output::Table => self.print_table(delay),
        }

        for (ulid, error) in &finished.failed {
            note(&format!("{ulid}: {error}"));
        }

        let failed = self.failed.len() + finished.failed.len();
        anyhow::ensure!(
            failed == 0,
            "{failed} jobs, marks or deletions failed; they can be tried again"
        );

        Ok(())
    }

    fn print_json(&self) -> anyhow::Result<()> {
        let texts = |ulids: &[Ulid]| ulids.iter().map(Ulid::to_string).collect::<Vec<_>>();
        let done = |is_downsampling: bool| {
            let those = self
                .done
                .iter()
                .filter(move |(job, _)| job.is_downsampling() == is_downsampling);
            let one = |(job, done): &(Job, Done)| {
                let (name, samples) = match &done.meta {
                    Some(meta) => (Some(meta.ulid.to_string()), meta.stats.num_samples),
                    None => (None, 0),
                };
                json!({"job": job_json(job), "block": name, "new": done.is_new, "bytes": done.bytes,
                    "samples": samples, "marked": texts(&done.marked)})
            };

            those.map(one).collect::<Vec<_>>()
        };

        let failed = self
            .failed
            .iter()
            .map(|(job, why)| json!({"job": job_json(job), "error": why}));

        print_line(&serde_json::to_string_pretty(&json!({
            "merged": done(false), "downsampled": done(true), "failed": failed.collect::<Vec<_>>(),
            "marked_before": texts(&self.finished.marked), "deleted": texts(&self.finished.deleted),
        }))?);

        Ok(())
    }

    fn print_table(&self, delay: Duration) {
        if self.done.is_empty() {
            print_line("nothing was merged or downsampled");
        } else {
            let head = [
                "block",
                "from (UTC)",
                "to, exclusive",
                "labels",
                "resolution",
                "level",
                "blocks",
                "was",
                "is",
                "samples",
            ];

            let mut rows = vec![head.map(String::from).to_vec()];
            for (job, done) in &self.done {
                let name = done
                    .meta
                    .as_ref()
                    .map_or("none: no samples".to_owned(), |meta| meta.ulid.to_string());
                rows.push(vec![
                    name,
                    time_text(job.range.start),
                    time_text(job.range.end),
                    labels_text(job),
                    resolution_text(job.resolution_ms),
                    job.level().to_string(),
                    job.sources.len().to_string(),
                    size_text(job.bytes()),
                    size_text(done.bytes),
                    done.meta
                        .as_ref()
                        .map_or(0, |meta| meta.stats.num_samples)
                        .to_string(),
                ]);
            }

            print_line(&columns(&rows, 5));
        }

        let marked = self.finished.marked.len()
            + self
                .done
                .iter()
                .map(|(_, done)| done.marked.len())
                .sum::<usize>();

        let delay = humantime::format_duration(delay);
        print_line(&format!(
            "{marked} blocks are marked and will be deleted by a run after {delay}, {} were deleted now",
            self.finished.deleted.len()
        ));
    }
}
