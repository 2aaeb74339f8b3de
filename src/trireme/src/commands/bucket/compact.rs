//! `trireme bucket compact`: merges and downsamples blocks of the bucket by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use slog::{Logger, o};
use trireme_base::{Clock, SystemClock};
use trireme_block::resolution_text;
use trireme_bucket::{Listing, MetaCache};
use trireme_compaction::{
    Compactor, CompactorParts, Done, Finished, Job, Limits, Plan, Streams, expired, plan,
};
use ulid::Ulid;

use super::Output;
use crate::commands::block::{columns, size_text, time_text};
use crate::commands::{SettingsArgs, note, print_line};

/// Merges blocks of the bucket into larger ones, downsamples these, marks what was merged and what is too old, and deletes what is
/// marked when its time has come, as the nodes do. It may run beside them and may be stopped at any time.
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
    let runtime = runtime()?;

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

    let run = Run {
        metas: MetaCache::new(trireme_node::read_rules(&settings)),
        store,
        runtime,
        limits,
        compactor,
    };

    let (planned, partial) = run.look()?;
    if args.dry_run {
        return tell_plan(&planned, &run.expired(), args.output);
    }

    let delay = settings.compaction.delete_delay.as_duration();
    let mut report = Report {
        finished: run.finish(&partial, delay),
        ..Report::default()
    };
    run.compact(planned, &mut report)?;

    if dir.exists() {
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("cannot remove {}", dir.display()))?;
    }

    report.tell(args.output, delay)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// What a run works with.
struct Run {
    store: trireme_node::Store,
    runtime: tokio::runtime::Runtime,
    metas: MetaCache,
    limits: Limits,
    compactor: Compactor,
}

impl Run {
    /// Reads what the bucket has now: what is to be done, and the blocks that are there in part.
    fn look(&self) -> anyhow::Result<(Plan, Vec<Ulid>)> {
        let refresh = self.metas.refresh(self.store.as_ref(), Listing::Objects);
        let refreshed = self.runtime.block_on(refresh)?;
        let planned = plan(&self.metas.blocks(), now_ms(), &self.limits);
        Ok((planned, refreshed.partial))
    }

    /// Blocks whose retention is over, marked or not, by name.
    fn expired(&self) -> Vec<Ulid> {
        expired(&self.metas.blocks(), now_ms(), &self.limits)
            .into_iter()
            .collect()
    }

    /// Marks what is too old, and marks and deletes what earlier runs left over.
    fn finish(&self, partial: &[Ulid], delay: Duration) -> Finished {
        let blocks = self.metas.blocks();
        let times = (now_ms() / 1_000, delay);
        let finish = self
            .compactor
            .finish(&blocks, partial, &self.limits, times, &|_| true);
        self.runtime.block_on(finish)
    }

    /// Does all jobs, one after the other, also those that come up by them.
    fn compact(&self, mut planned: Plan, report: &mut Report) -> anyhow::Result<()> {
        while let Some(job) = planned.jobs.into_iter().find(|job| !report.was_tried(job)) {
            note(&begin_text(&job));

            let compact = self.compactor.compact(&job, now_ms() / 1_000);
            match self.runtime.block_on(compact) {
                Ok(done) => report.done.push((job, done)),
                Err(error) => {
                    note(&format!("{}: {error}", range_text(&job)));
                    report.failed.push((job, error.to_string()));
                }
            }

            planned = self.look()?.0;
        }

        Ok(())
    }
}

fn begin_text(job: &Job) -> String {
    let range = range_text(job);
    let bytes = size_text(job.bytes());
    match job.is_downsampling() {
        true => format!(
            "{range}: to {}, {bytes}",
            resolution_text(job.resolution_ms)
        ),
        false => format!("{range}: {} blocks, {bytes}", job.sources.len()),
    }
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

fn tell_plan(planned: &Plan, expired: &[Ulid], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let jobs: Vec<_> = planned.jobs.iter().map(job_json).collect();
        print_line(&serde_json::to_string_pretty(
            &json!({"jobs": jobs, "too_large": planned.too_large, "expired": texts(expired)}),
        )?);
        return Ok(());
    }

    if planned.jobs.is_empty() {
        print_line("nothing to merge or to downsample");
    } else {
        print_line(&plan_table(planned));
    }

    if !expired.is_empty() {
        note(&format!(
            "{} blocks are older than their retention and would be marked, or deleted where they have been marked for long",
            expired.len()
        ));
    }

    if planned.too_large > 0 {
        note(&format!(
            "{} ranges stay as they are: see compaction.block_bytes_max",
            planned.too_large
        ));
    }

    Ok(())
}

fn plan_table(planned: &Plan) -> String {
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

    columns(&rows, 4)
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
        let key = (names(job), job.resolution_ms);
        tried
            .map(|job| (names(job), job.resolution_ms))
            .any(|tried| tried == key)
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
        let failed = self
            .failed
            .iter()
            .map(|(job, why)| json!({"job": job_json(job), "error": why}));

        print_line(&serde_json::to_string_pretty(&json!({
            "merged": self.done_json(false), "downsampled": self.done_json(true), "failed": failed.collect::<Vec<_>>(),
            "marked_before": texts(&self.finished.marked), "expired": texts(&self.finished.expired),
            "deleted": texts(&self.finished.deleted),
        }))?);

        Ok(())
    }

    fn done_json(&self, is_downsampling: bool) -> Vec<Value> {
        self.done
            .iter()
            .filter(|(job, _)| job.is_downsampling() == is_downsampling)
            .map(|(job, done)| {
                let (name, samples) = match &done.meta {
                    Some(meta) => (Some(meta.ulid.to_string()), meta.stats.num_samples),
                    None => (None, 0),
                };
                json!({"job": job_json(job), "block": name, "new": done.is_new, "bytes": done.bytes,
                    "samples": samples, "marked": texts(&done.marked)})
            })
            .collect()
    }

    fn print_table(&self, delay: Duration) {
        if self.done.is_empty() {
            print_line("nothing was merged or downsampled");
        } else {
            print_line(&self.done_table());
        }

        let marked = self.finished.marked.len()
            + self.finished.expired.len()
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

    fn done_table(&self) -> String {
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

        columns(&rows, 5)
    }
}

fn texts(ulids: &[Ulid]) -> Vec<String> {
    ulids.iter().map(Ulid::to_string).collect()
}
