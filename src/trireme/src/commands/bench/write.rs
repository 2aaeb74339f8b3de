//! `trireme bench write`: remote-write load from a generated fleet.
//!
//! Bodies are made before they are sent, as many scrapes ahead as `--prepare-bytes` holds; while they are made
//! nothing is sent and the wall clock of the figures stands. The receiver's CPU is counted from before the first
//! request of a phase until it is at rest after the last one, so work it puts off counts too.

mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use trireme_base::{Clock, SystemClock};

pub use report::{Load, Phase, Report};

use super::body::{Batcher, Body, Protocol};
use super::counters::{self, Counters};
use super::fleet::Fleet;
use super::http::Target;
use super::output::ReportArgs;
use super::process::Processes;
use super::sender::{Plan, Senders, Sent};
use crate::commands::{note, when};

/// Writes generated series by remote write and measures the receiver.
///
/// The series look like Kubernetes hosts under a node exporter, a kubelet and cAdvisor: 1,000 series per host, about
/// ten labels each. The first scrape, in which every series is new, is reported apart from the steady state after it.
#[derive(clap::Args)]
pub struct Args {
    /// Remote-write URL; repeat it to spread the connections over several receivers.
    #[arg(
        long = "url",
        value_name = "URL",
        default_value = "http://127.0.0.1:19291/api/v1/write"
    )]
    urls: Vec<String>,
    /// Active series.
    #[arg(long, default_value_t = 50_000)]
    series: usize,
    /// Scrapes of the whole fleet, the first one included.
    #[arg(long, default_value_t = 20)]
    scrapes: u64,
    /// Logical time between two scrapes.
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Time of the first scrape: RFC 3339, Unix seconds, or before now such as -2h [default: so that the last one is now].
    #[arg(long, allow_hyphen_values = true)]
    start: Option<String>,
    /// Samples in a request.
    #[arg(long, default_value_t = 2_000)]
    samples_per_request: usize,
    /// Connections; each one sends its requests one after another.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Every request goes to the next URL instead of each connection keeping its own.
    #[arg(long)]
    rotate: bool,
    /// Remote-write version.
    #[arg(long, value_enum, default_value = "1.0")]
    protocol: Protocol,
    /// Samples per second over all connections; latency then counts from when a request was due [default: no limit].
    #[arg(long)]
    rate: Option<f64>,
    /// Share of the hosts that is replaced at once, with stale markers for the old series.
    #[arg(long, default_value_t = 0.1)]
    churn_share: f64,
    /// Replaces hosts every so many scrapes [default: never].
    #[arg(long, value_name = "SCRAPES")]
    churn_every: Option<u64>,
    /// Header added to every request, as "Name: value"; may be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Process of the receiver; repeat it to measure the sum of several.
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// File with the id of a process of the receiver; may be repeated.
    #[arg(long = "pid-file", value_name = "FILE")]
    pid_files: Vec<PathBuf>,
    /// Data directory of the receiver, measured by its first level (log, blocks); may be repeated.
    #[arg(long = "data-dir", value_name = "DIR")]
    data_dirs: Vec<PathBuf>,
    /// Page of metrics of the receiver, for --counter; may be repeated.
    #[arg(long = "metrics-url", value_name = "URL")]
    metrics_urls: Vec<String>,
    /// Counter on these pages whose growth per sample is reported; may be repeated.
    #[arg(long = "counter", value_name = "NAME")]
    counters: Vec<String>,
    /// Longest wait for the receiver to come to rest after a phase.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    rest_timeout: Duration,
    /// Bytes of bodies prepared ahead; at least one scrape is.
    #[arg(long, default_value_t = 1 << 30, value_name = "BYTES")]
    prepare_bytes: usize,
    /// Tries after the first one for a request that failed with 429, 5xx or without an answer.
    #[arg(long, default_value_t = 8)]
    retries: u32,
    /// Longest wait for an answer.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Other seeds make other values for the same series.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name of what is measured, for the report.
    #[arg(long, default_value = "receiver")]
    name: String,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs the load and prints the report. Fails if no sample was accepted.
pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.series > 0 && args.scrapes > 0,
        "--series and --scrapes must be at least 1"
    );
    ensure!(
        (0.0..=1.0).contains(&args.churn_share),
        "--churn-share must lie between 0 and 1"
    );

    ensure!(
        args.rate.is_none_or(|rate| rate > 0.0),
        "--rate must be above 0"
    );
    ensure!(
        args.churn_every != Some(0),
        "--churn-every must be at least 1"
    );

    let clock = SystemClock::new();
    let report = Run::new(args, &clock)?.finish()?;
    args.report
        .give(&report, || super::table::plain(&[&report]))?;

    ensure!(report.accepted() > 0, "no sample was accepted");
    Ok(())
}

struct Run<'a> {
    args: &'a Args,
    clock: &'a dyn Clock,
    fleet: Fleet,
    batcher: Batcher,
    senders: Senders<'a>,
    receiver: Processes,
    own: Processes,
    counters: Counters,
    churn_rounds: usize,
    prepare_cpu_s: f64,
    send_cpu_s: f64,
}

/// Bodies of some scrapes and what is in them.
#[derive(Default)]
struct Prepared {
    scrapes: Vec<Vec<Body>>,
    new_series: u64,
    stale_markers: u64,
}

impl Prepared {
    fn count(&self, phase: &mut Phase) {
        phase.new_series += self.new_series;
        phase.stale_markers += self.stale_markers;
        phase.requests += self.scrapes.iter().map(Vec::len).sum::<usize>() as u64;
    }
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, clock: &'a dyn Clock) -> anyhow::Result<Self> {
        let (interval_ms, start_ms) = times(args, clock.now_ms())?;
        let targets = args.urls.iter().map(|url| Target::parse(url));
        let plan = Plan {
            targets: targets.collect::<anyhow::Result<_>>()?,
            connections: args.connections,
            rotate: args.rotate,
            protocol: args.protocol,
            headers: header_lines(&args.headers)?,
            rate: args.rate,
            retries: args.retries,
            timeout: args.timeout,
        };

        Ok(Self {
            args,
            clock,
            fleet: Fleet::new(args.series, interval_ms, start_ms, args.seed),
            batcher: Batcher::new(args.protocol, args.samples_per_request),
            senders: Senders::new(plan, clock),
            receiver: Processes::new(&args.pids, &args.pid_files)?,
            own: Processes::own(),
            counters: Counters::new(&args.metrics_urls, &args.counters)?,
            churn_rounds: 0,
            prepare_cpu_s: 0.0,
            send_cpu_s: 0.0,
        })
    }

    fn finish(mut self) -> anyhow::Result<Report> {
        let mut load = Load::new(self.args, &self.fleet);
        let disk_before = super::disk::sizes(&self.args.data_dirs);
        let first = self.phase("new series", 0..1, &mut load)?;
        let disk_first = super::disk::sizes(&self.args.data_dirs);
        let steady = match self.args.scrapes {
            1 => None,
            scrapes => Some(self.phase("steady state", 1..scrapes, &mut load)?),
        };
        let disk_end = super::disk::sizes(&self.args.data_dirs);
        let generator = report::Generator {
            prepare_cpu_s: self.prepare_cpu_s,
            send_cpu_s: self.send_cpu_s,
        };
        let disk = report::disk_parts(
            &disk_before,
            &disk_first,
            &disk_end,
            steady.as_ref().map_or(0, |s| s.samples),
        );

        Ok(Report {
            name: self.args.name.clone(),
            load,
            new_series: first,
            steady,
            disk,
            generator,
        })
    }

    /// Prepares and sends some scrapes and waits for the receiver to come to rest.
    fn phase(
        &mut self,
        what: &str,
        scrapes: std::ops::Range<u64>,
        load: &mut Load,
    ) -> anyhow::Result<Phase> {
        let mut sent = Sent::default();
        let mut phase = Phase::default();
        let mut next = scrapes.start;
        let end = scrapes.end;

        let mut before = None;
        while next < end {
            let prepared = self.prepare(&mut next, end)?;
            load.count(&prepared.scrapes);
            prepared.count(&mut phase);

            // Taken after the first preparation: a receiver just started may still be busy with its own start.
            if before.is_none() {
                before = Some((self.receiver.usage()?, self.counters.read()?));
            }

            self.send(&prepared, &mut sent)?;
            self.tell(
                what,
                &format!("{next} of {} scrapes sent", self.args.scrapes),
            );
        }

        let begin_rest = self.clock.monotonic();
        let (after, busy_until) = self.receiver.at_rest(self.clock, self.args.rest_timeout)?;

        if let Some(error) = &sent.first_error {
            self.tell(what, &format!("first failed try: {error}"));
        }

        phase.scrapes = end - scrapes.start;
        phase.fill(&sent, busy_until.saturating_sub(begin_rest));

        if let Some((usage, counters)) = before {
            phase.counters = counters::growth(&counters, &self.counters.read()?);
            if !self.receiver.is_empty() {
                let series = self.args.series;
                phase.receiver = Some(report::Receiver::new(&usage, &after, &phase, series));
            }
        }

        Ok(phase)
    }

    fn send(&mut self, prepared: &Prepared, sent: &mut Sent) -> anyhow::Result<()> {
        let cpu = self.own.usage()?.cpu_s;
        self.senders.send(&prepared.scrapes, sent)?;
        self.send_cpu_s += self.own.usage()?.cpu_s - cpu;
        Ok(())
    }

    fn tell(&self, phase: &str, text: &str) {
        note(&format!("{}: {phase}: {text}", self.args.name));
    }

    fn prepare(&mut self, next: &mut u64, end: u64) -> anyhow::Result<Prepared> {
        let cpu = self.own.usage()?.cpu_s;
        let mut prepared = Prepared::default();

        let mut bytes = 0;
        while *next < end && bytes < self.args.prepare_bytes {
            let bodies = self.scrape(*next, &mut prepared)?;
            bytes += bodies.iter().map(|body| body.bytes.len()).sum::<usize>();
            prepared.scrapes.push(bodies);
            *next += 1;
        }

        self.prepare_cpu_s += self.own.usage()?.cpu_s - cpu;
        Ok(prepared)
    }

    fn scrape(&mut self, number: u64, prepared: &mut Prepared) -> anyhow::Result<Vec<Body>> {
        let fleet = &mut self.fleet;
        let batcher = &mut self.batcher;
        let mut result = Ok(());

        if number == 0 {
            prepared.new_series += self.args.series as u64;
        }

        let mut ended = Vec::new();
        if self
            .args
            .churn_every
            .is_some_and(|every| number > 0 && number.is_multiple_of(every))
        {
            ended = fleet.replace(self.args.churn_share, self.churn_rounds);
            self.churn_rounds += 1;
        }

        fleet.scrape(number, |point| keep_first(&mut result, batcher.add(point)));
        // Behind the scrape, so that all other series stay in the body, and on the connection, of every scrape.
        for replaced in ended {
            fleet.end(replaced, number, |point| {
                keep_first(&mut result, batcher.add(point))
            });
            prepared.new_series += fleet.series_of(replaced) as u64;
            prepared.stale_markers += fleet.series_of(replaced) as u64;
        }

        result.context("cannot compress a request")?;
        batcher.take().context("cannot compress a request")
    }
}

/// Milliseconds between scrapes, and the time of the first one.
fn times(args: &Args, now_ms: i64) -> anyhow::Result<(i64, i64)> {
    let interval_ms = i64::try_from(args.interval.as_millis()).context("--interval is too long")?;
    let scrapes = i64::try_from(args.scrapes).context("--scrapes is too large")?;
    let start_ms = match &args.start {
        Some(text) => when::parse_time_ms(text, now_ms).context("--start")?,
        None => now_ms - interval_ms.saturating_mul(scrapes),
    };
    Ok((interval_ms, start_ms))
}

fn keep_first<E>(kept: &mut Result<(), E>, new: Result<(), E>) {
    if kept.is_ok() {
        *kept = new;
    }
}

/// Whole header lines from what was typed.
pub fn header_lines(headers: &[String]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for header in headers {
        if !header.contains(':') || header.contains(['\r', '\n']) {
            bail!("--header must look like \"Name: value\", not {header:?}");
        }
        lines.push_str(header);
        lines.push_str("\r\n");
    }

    Ok(lines)
}
