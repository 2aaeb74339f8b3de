//! Runs seeds of the simulation, on all cores, and says how to repeat one that fails.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Parser;
use parking_lot::Mutex;
use trireme_base::{Clock, SystemClock};
use trireme_simulation::{Kind, Mutation, Scenario, Summary, Trace, run_scenario};

/// Seeds between two lines that say how far it is.
const PROGRESS_EVERY: u64 = 1_000;

/// Simulates a replica group under faults.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only seeds of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Runs the seeds as if they were of this kind.
    #[arg(long = "as")]
    as_kind: Option<String>,
    /// Puts a known bug in.
    #[arg(long)]
    mutation: Option<String>,
    /// Threads; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Goes on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Lines of the trace to print.
    #[arg(long, default_value_t = 200)]
    lines: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mutation = match &arguments.mutation {
        Some(name) => Some(Mutation::named(name).with_context(|| {
            format!(
                "there is no bug of that name; there are {:?}",
                Mutation::ALL
            )
        })?),
        None => None,
    };

    let as_kind = match &arguments.as_kind {
        Some(name) => Some(Kind::named(name).with_context(|| {
            format!("there is no kind of that name; there are {:?}", Kind::ALL)
        })?),
        None => None,
    };

    let kind_of = |seed: u64| as_kind.unwrap_or_else(|| Kind::of(seed));
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let total = Mutex::new(Summary::default());
    let failed = Mutex::new(Vec::new());

    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }

                    let begun = seed - arguments.from;
                    if begun > 0 && begun.is_multiple_of(PROGRESS_EVERY) {
                        let seconds = (clock.monotonic() - began).as_secs();
                        say(format_args!(
                            "{begun} of {} seeds begun in {seconds} s",
                            arguments.seeds
                        ));
                    }

                    if arguments
                        .kind
                        .as_ref()
                        .is_some_and(|kind| *kind != format!("{:?}", kind_of(seed)))
                    {
                        continue;
                    }

                    match run_scenario(
                        Scenario::with(kind_of(seed), seed),
                        mutation,
                        Trace::default(),
                    ) {
                        Ok(summary) => total.lock().add(&summary),
                        Err(failure) => {
                            // At once; the summary comes at the end.
                            say(format_args!(
                                "seed {seed} ({:?}): {}",
                                kind_of(seed),
                                failure.problem
                            ));
                            failed.lock().push((seed, failure.problem));
                            if !arguments.keep_going {
                                next.store(end, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });

    let mut out = std::io::stdout().lock();
    writeln!(out, "{:#?}", total.into_inner())?;
    let mut failed = failed.into_inner();

    failed.sort();
    if let Some((seed, _)) = failed.first()
        && let Err(failure) = run_scenario(
            Scenario::with(kind_of(*seed), *seed),
            mutation,
            Trace::kept(),
        )
    {
        let lines: Vec<&str> = failure.trace.lines().collect();
        for line in &lines[lines.len().saturating_sub(arguments.lines)..] {
            writeln!(out, "{line}")?;
        }
    }

    for (seed, problem) in &failed {
        let kind = kind_of(*seed);
        let repeated = if kind == Kind::of(*seed) {
            String::new()
        } else {
            format!(" --as {kind:?}")
        };
        writeln!(out, "seed {seed} ({kind:?}): {problem}")?;
        writeln!(out, "  repeat: scripts/simulate --from {seed}{repeated}")?;
    }

    writeln!(out, "{} of {} seeds failed", failed.len(), arguments.seeds)?;
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn say(what: std::fmt::Arguments<'_>) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stderr(), "{what}");
}
