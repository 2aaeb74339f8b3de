//! What every part of a node stands on: time, threads, metrics, the locked data directory.

use std::sync::Arc;

use anyhow::Context;
use slog::{Logger, info, o};
use tokio::sync::mpsc;
use trireme_actors::MailboxMetrics;
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, NodeName, SystemClock};
use trireme_consensus::RingBook;
use trireme_promql::STACK_BYTES;
use trireme_settings::Settings;
use trireme_storage::Gate;
use trireme_telemetry::Metrics;

use crate::datadir::DataDir;
use crate::io_threads::IoThreads;
use crate::membership;

/// Jobs that may wait for the CPU pool beside queries.
const POOL_QUEUE_JOBS: usize = 1_024;
/// Bodies that may wait to be decoded; their memory is bounded for itself.
const DECODE_QUEUE_JOBS: usize = 1_024;
/// Threads for sockets and the object store.
const IO_THREADS: usize = 2;

/// The foundation of a node.
pub(crate) struct NodeContext {
    pub(crate) settings: Settings,
    pub(crate) name: NodeName,
    /// The ring this node goes by.
    pub(crate) book: Arc<RingBook>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) mailboxes: MailboxMetrics,
    pub(crate) log: Logger,
    pub(crate) data_dir: DataDir,
    /// Sockets and the object store.
    pub(crate) io: IoThreads,
    /// Cuts, checkpoints, log reads.
    pub(crate) pool: Arc<CpuPool>,
    /// Queries, apart from the rest so that neither starves the other. A thread for each place.
    pub(crate) query_pool: Arc<CpuPool>,
    /// Large bodies of writes, apart from queries so that writes never wait for them.
    pub(crate) decode_pool: Arc<CpuPool>,
    pub(crate) cores: usize,
    pub(crate) gate: Arc<Gate>,
    /// Asks the node to stop, with the reason.
    pub(crate) ask_stop: mpsc::Sender<String>,
}

impl NodeContext {
    /// Locks the data directory and starts the threads.
    pub(crate) fn open(
        settings: &Settings,
        log: &Logger,
        ask_stop: mpsc::Sender<String>,
    ) -> anyhow::Result<Self> {
        let log = log.new(o!("node" => settings.node.name.clone()));
        let of_settings = membership::ring_of_settings(settings)?;
        let data_dir = DataDir::open(settings.node.data_dir.as_ref(), settings.storage.shards)?;

        info!(log, "starting"; "stream" => %data_dir.stream(), "new" => data_dir.is_new(),
            "data_dir" => &settings.node.data_dir);
        let book = RingBook::open(
            &data_dir.path("ring"),
            of_settings,
            log.new(o!("part" => "ring")),
        )?;

        let metrics = Metrics::with_process_metrics();
        build_info_metric(&metrics)?;
        let io = IoThreads::start(IO_THREADS).context("cannot start the I/O runtime")?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let places = settings.query.max_concurrency + settings.query.max_streams;
        let pool =
            CpuPool::new("cpu", cores, POOL_QUEUE_JOBS).context("cannot start the CPU pool")?;
        let query_pool = CpuPool::with_stack("query", places, places * 2, STACK_BYTES);
        let query_pool = query_pool.context("cannot start the query pool")?;
        let decode_pool = CpuPool::new("decode", cores, DECODE_QUEUE_JOBS);

        Ok(Self {
            name: NodeName::new(&settings.node.name),
            settings: settings.clone(),
            book: Arc::new(book),
            clock: Arc::new(SystemClock::new()),
            mailboxes: MailboxMetrics::new(&metrics)?,
            metrics,
            log,
            data_dir,
            io,
            pool: Arc::new(pool),
            query_pool: Arc::new(query_pool),
            decode_pool: Arc::new(decode_pool.context("cannot start the threads that decode")?),
            cores,
            gate: Arc::default(),
            ask_stop,
        })
    }

    /// A logger for one part.
    pub(crate) fn part_log(&self, part: &'static str) -> Logger {
        self.log.new(o!("part" => part))
    }
}

fn build_info_metric(metrics: &Metrics) -> anyhow::Result<()> {
    let build = trireme_telemetry::build_info();
    let labels = ["version", "revision", "rustversion"];
    let gauge = metrics.gauges(
        "trireme_build_info",
        "1, labelled with what was built.",
        &labels,
    )?;

    gauge
        .with_label_values(&[build.version, build.revision, build.rust_version])
        .set(1);

    Ok(())
}
