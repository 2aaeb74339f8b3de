//! `trireme block downsample`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use trireme_base::{Clock, SystemClock};
use trireme_block::{
    Block, BlockMeta, DownsampleProgress, RESOLUTION_1H_MS, RESOLUTION_5M_MS, downsample_block,
};

use super::{Output, time_text};
use crate::commands::{note, print_line};

/// How often a person is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Makes blocks with a value for each 5 minutes or each hour, which Thanos reads too. 1h is made of raw blocks or of 5m ones.
///
/// May be stopped at any time: a block appears in the directory when it is whole. The same block gives the same result.
#[derive(clap::Args)]
pub struct Args {
    /// Blocks.
    #[arg(required = true, value_name = "BLOCK")]
    blocks: Vec<PathBuf>,
    /// Length of a window.
    #[arg(long, value_enum)]
    resolution: Resolution,
    /// Directory in which the new blocks appear.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Resolution {
    /// 5 minutes.
    #[value(name = "5m")]
    FiveMinutes,
    /// 1 hour.
    #[value(name = "1h")]
    OneHour,
}

impl Resolution {
    fn ms(self) -> i64 {
        match self {
            Self::FiveMinutes => RESOLUTION_5M_MS,
            Self::OneHour => RESOLUTION_1H_MS,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut written: Vec<(String, Option<BlockMeta>)> = Vec::new();
    for path in &args.blocks {
        let block = Block::open(path).with_context(|| path.display().to_string())?;
        let made = downsample(&block, args).with_context(|| path.display().to_string())?;
        if args.output == Output::Table {
            print_line(&line(block.meta(), made.as_ref()));
        }
        written.push((block.meta().ulid.to_string(), made));
    }

    if args.output == Output::Json {
        let all: Vec<_> = written
            .iter()
            .map(|(from, made)| json!({"source": from, "meta": made}))
            .collect();
        print_line(&serde_json::to_string_pretty(&all)?);
    }

    Ok(())
}

fn downsample(block: &Block, args: &Args) -> anyhow::Result<Option<BlockMeta>> {
    let mut progress = Progress::start(block.meta());
    let made = downsample_block(block, &args.out, args.resolution.ms(), &mut |at| {
        progress.tell(at)
    });
    Ok(made?)
}

fn line(source: &BlockMeta, made: Option<&BlockMeta>) -> String {
    let Some(meta) = made else {
        return format!("{}: has no samples that count", source.ulid);
    };

    let from = time_text(meta.min_time);
    let to = time_text(meta.max_time);
    let stats = &meta.stats;

    format!(
        "{}: {} of {from} to {to}, {} series, {} samples became {} steps in {} chunks",
        source.ulid,
        meta.ulid,
        stats.num_series,
        source.stats.num_samples,
        stats.num_samples,
        stats.num_chunks
    )
}

/// Tells a person how far a block is.
struct Progress {
    name: String,
    clock: SystemClock,
    begun: Duration,
    told: Duration,
}

impl Progress {
    fn start(meta: &BlockMeta) -> Self {
        let clock = SystemClock::new();
        let now = clock.monotonic();
        Self {
            name: meta.ulid.to_string(),
            clock,
            begun: now,
            told: now,
        }
    }

    fn tell(&mut self, at: DownsampleProgress) -> ControlFlow<()> {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.told) >= TELL_EVERY {
            self.told = now;
            note(&format!(
                "{}: {}",
                self.name,
                text(at, now.saturating_sub(self.begun))
            ));
        }

        ControlFlow::Continue(())
    }
}

fn text(at: DownsampleProgress, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let per_second = at.samples as f64 / seconds;
    let left = seconds * (at.series_total - at.series) as f64 / at.series.max(1) as f64;
    let series = at.series;
    let of = at.series_total;
    format!("{series} of {of} series, {per_second:.0} samples a second, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_rate_and_time_left() {
        let at = DownsampleProgress {
            series: 25,
            series_total: 100,
            samples: 5_000,
        };
        let said = text(at, Duration::from_secs(10));
        assert_eq!(said, "25 of 100 series, 500 samples a second, 30 s left");
    }
}
