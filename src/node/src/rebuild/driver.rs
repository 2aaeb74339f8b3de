//! Does what the rebuild machine says: calls, files, metrics, log lines.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, IntGauge};
use prost::Message;
use slog::{Logger, error, info, warn};
use tokio::sync::mpsc;
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, ErrorKind, NodeName, StreamId};
use trireme_head::{HeadError, verify_checkpoint};
use trireme_log::Log;
use trireme_replication::{Action, Rebuild, RebuildLimits, SourceFault};
use trireme_storage::{ENDED, Store};
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::{CallBook, CallError};
use trireme_wire::rebuild::{Begin, Checksum, Fetch, Manifest, Piece, Question, Request, Sum};
use trireme_wire::rpc::Method;

use super::staging::{Found, Staging};
use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::membership::EPOCH_OUTSIDE;
use crate::node::TO_INSTALL;
use crate::storage::Storage;

/// How often a machine that waits is asked again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A source checkpoints its whole head before it answers.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(600);
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// A source reads a whole file before it answers.
const SUM_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause after this node's own disk refused something.
const DISK_PAUSE: Duration = Duration::from_secs(5);
/// Time between log lines about the progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Metrics of a replica that is rebuilt.
#[derive(Clone)]
pub(crate) struct RebuildMetrics {
    incomplete: IntGauge,
    remaining: IntGauge,
    bytes: IntCounter,
    snapshots: IntCounter,
    faults: IntCounter,
}

impl RebuildMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            incomplete: metrics.gauge(
                "trireme_rebuild_incomplete",
                "1 while this replica does not have everything and is not asked for reads.",
            )?,
            remaining: metrics.gauge(
                "trireme_rebuild_remaining_bytes",
                "Bytes that are still to be copied from a peer.",
            )?,
            bytes: metrics.counter(
                "trireme_rebuild_copied_bytes_total",
                "Bytes copied from peers.",
            )?,
            snapshots: metrics.counter(
                "trireme_rebuild_begun_total",
                "Snapshots of peers that this replica began to copy.",
            )?,
            faults: metrics.counter(
                "trireme_rebuild_faults_total",
                "Calls to a source that failed, and files that had to be copied again.",
            )?,
        })
    }
}

/// Whether the driver has something to do after this.
enum Next {
    GoOn,
    Over,
}

struct Driver {
    machine: Rebuild,
    staging: Staging,
    calls: Arc<CallBook>,
    store: Arc<Store>,
    pool: Arc<CpuPool>,
    clock: Arc<dyn Clock>,
    /// Bytes a second; 0 means no bound.
    rate: u64,
    /// The rate allows the next call then.
    next_at: Duration,
    told_at: Duration,
    metrics: RebuildMetrics,
    ask_stop: mpsc::Sender<String>,
    log: Logger,
}

/// Watches whether this replica has to be rebuilt, and does it. A group of one has nobody to copy from,
/// but one that waits to join will have.
pub(crate) fn spawn(
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
) -> anyhow::Result<()> {
    let staging = Staging::of(&context.data_dir.path(""));
    if cluster.calls.all().is_empty() && cluster.place.is_active {
        staging.clear()?;
        storage.store.parts().completeness.set_complete(true);
        return Ok(());
    }

    let machine = machine(&staging)?;
    let driver = Driver {
        machine,
        staging,
        calls: Arc::clone(&cluster.calls),
        store: Arc::clone(&storage.store),
        pool: Arc::clone(&context.pool),
        clock: Arc::clone(&context.clock),
        rate: context.settings.cluster.rebuild_rate.0,
        next_at: Duration::ZERO,
        told_at: Duration::ZERO,
        metrics: RebuildMetrics::new(&context.metrics)?,
        ask_stop: context.ask_stop.clone(),
        log: context.part_log("rebuild"),
    };

    context.io.spawn(driver.run());
    Ok(())
}

/// The machine as the last process left it.
fn machine(staging: &Staging) -> io::Result<Rebuild> {
    let limits = RebuildLimits::default();
    Ok(match staging.found()? {
        Found::Nothing => Rebuild::complete(limits),
        Found::Undecided => Rebuild::undecided(limits),
        Found::Needed(reason) => match staging.copy() {
            Some((source, manifest)) => Rebuild::resumed(
                limits,
                reason,
                source,
                manifest,
                |path: &str, bytes: u64| staging.have(path, bytes),
            ),
            None => Rebuild::needed(limits, reason),
        },
    })
}

impl Driver {
    async fn run(mut self) {
        loop {
            self.show();
            let look = {
                let group = self.store.parts().hub.group().lock();
                // Whom a node knows that is not in the ring yet need not be of the group it will be in.
                let now = self.clock.monotonic();
                (group.epoch() != EPOCH_OUTSIDE).then(|| match self.machine.is_complete() {
                    true => group.standing_look(now),
                    false => group.rebuild_look(now),
                })
            };

            let Some(look) = look else {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };

            let done = match self.cancelled() {
                Ok(()) => {
                    let action = self.machine.next(&look);
                    self.act(action).await
                }
                Err(err) => Err(err),
            };

            match done {
                Ok(Next::Over) => return,
                Ok(Next::GoOn) => {}
                Err(err) => {
                    error!(self.log, "the disk refused what a rebuild needs, it is tried again"; "err" => %err);
                    tokio::time::sleep(DISK_PAUSE).await;
                }
            }
        }
    }

    /// Leaves the rebuild if an operator has asked for it. An error is one of this node's own disk.
    fn cancelled(&mut self) -> io::Result<()> {
        if !self.store.parts().completeness.take_cancel() {
            return Ok(());
        }
        match self.machine.cancel() {
            Ok(()) => {
                warn!(
                    self.log,
                    "the rebuild was cancelled, this replica goes on with what it has"
                );
                self.show();
                self.staging.clear()
            }
            Err(err) => {
                warn!(self.log, "the rebuild is not cancelled"; "reason" => %err);
                Ok(())
            }
        }
    }

    /// Does one thing. An error is one of this node's own disk.
    async fn act(&mut self, action: Action) -> io::Result<Next> {
        match action {
            Action::Install => return self.install().await,
            Action::Wait => tokio::time::sleep(LOOK_EVERY).await,
            Action::Need(reason) => {
                warn!(self.log, "this replica has to be rebuilt from a peer; it takes writes meanwhile, but answers no queries";
                    "reason" => reason.text());
                self.show();
                self.staging.mark_needed(reason)?;
            }
            Action::Complete => {
                info!(
                    self.log,
                    "nothing to copy: the logs of the group reach back to its beginning"
                );
                self.show();
                self.staging.clear()?;
            }
            Action::Revoke(why) => {
                warn!(self.log, "no rebuild is needed after all, this replica answers queries again";
                    "reason" => why.text());
                self.show();
                self.staging.clear()?;
            }
            Action::Begin(source) => self.begin(&source).await?,
            Action::Fetch {
                source,
                snapshot,
                file,
                offset,
                bytes_max,
            } => {
                let fetch = Fetch {
                    snapshot,
                    file: file as u32,
                    offset,
                    bytes_max,
                };
                self.fetch(&source, file, fetch).await?;
            }
            Action::Check {
                source,
                snapshot,
                file,
            } => {
                let sum = Sum {
                    snapshot,
                    file: file as u32,
                };
                self.check(&source, file, sum).await?;
            }
        }
        Ok(Next::GoOn)
    }

    async fn begin(&mut self, source: &NodeName) -> io::Result<()> {
        let answer = self
            .ask::<Manifest>(source, Question::Begin(Begin {}), BEGIN_TIMEOUT)
            .await;
        let manifest = match answer {
            Ok(manifest) => manifest,
            Err(err) => {
                self.fault(source, SourceFault::NoAnswer, &err.to_string());
                return Ok(());
            }
        };

        if let Some(problem) = self.problem_of(&manifest) {
            self.fault(source, SourceFault::Unfit, &problem);
            return Ok(());
        }

        self.staging.begin(source, &manifest)?;
        let staging = self.staging.clone();
        self.machine
            .began(manifest.clone(), |path, bytes| staging.have(path, bytes));
        self.metrics.snapshots.inc();

        let progress = self.machine.progress();
        info!(self.log, "copying a snapshot"; "peer" => %source, "snapshot" => manifest.snapshot,
            "files" => manifest.files.len(), "bytes" => progress.bytes_total, "have_bytes" => progress.bytes);

        Ok(())
    }

    /// Why a snapshot cannot be used here.
    fn problem_of(&self, manifest: &Manifest) -> Option<String> {
        let options = self.store.parts().shards.first()?.options();
        if manifest.window_ms != options.window_ms || manifest.shards != u32::from(options.shards) {
            return Some(format!(
                "it has {} shards and windows of {} ms, this node {} and {} ms; storage.shards and storage.window must be equal",
                manifest.shards, manifest.window_ms, options.shards, options.window_ms
            ));
        }

        manifest
            .stray_path()
            .map(|path| format!("it names a file that belongs to no snapshot: {path:?}"))
    }

    async fn fetch(&mut self, source: &NodeName, file: usize, fetch: Fetch) -> io::Result<()> {
        self.keep_rate().await;

        let offset = fetch.offset;
        match self
            .ask::<Piece>(source, Question::Fetch(fetch), FETCH_TIMEOUT)
            .await
        {
            Ok(piece) if piece.is_whole() && !piece.data.is_empty() => {
                let Some(path) = self.path(file) else {
                    return Ok(());
                };
                let staging = self.staging.clone();
                let bytes = piece.data.len() as u64;
                self.on_disk(move || staging.write(&path, offset, &piece.data))
                    .await?;
                self.machine.fetched(file, bytes);
                self.metrics.bytes.inc_by(bytes);
                self.paid(bytes);
            }
            Ok(_) => self.fault(
                source,
                SourceFault::NoAnswer,
                "a piece does not fit its checksum, or is empty",
            ),
            Err(err) => self.call_failed(source, &err),
        }

        Ok(())
    }

    async fn check(&mut self, source: &NodeName, file: usize, sum: Sum) -> io::Result<()> {
        self.keep_rate().await;
        match self
            .ask::<Checksum>(source, Question::Sum(sum), SUM_TIMEOUT)
            .await
        {
            Ok(theirs) => {
                let Some(path) = self.path(file) else {
                    return Ok(());
                };

                let bytes = self.machine.manifest().map_or(0, |m| m.files[file].bytes);
                let staging = self.staging.clone();
                let name = path.clone();
                let is_equal = self
                    .on_disk(move || {
                        let is_equal = staging.checksum(&name, bytes)? == theirs.crc32c;
                        if is_equal {
                            staging.finish(&name)?;
                        }
                        Ok(is_equal)
                    })
                    .await?;

                if !is_equal {
                    self.metrics.faults.inc();
                    warn!(self.log, "a copied file differs from the source's and is copied again"; "path" => path);
                }

                self.machine.checked(file, is_equal, self.clock.monotonic());
            }
            Err(err) => self.call_failed(source, &err),
        }

        Ok(())
    }

    /// Hands over to the next start of this process, which finds everything in its place.
    async fn install(&mut self) -> io::Result<Next> {
        let Some((source, manifest)) = self.staging.copy() else {
            self.machine.not_installed(self.clock.monotonic());
            return Ok(Next::GoOn);
        };

        if let Some(stream) = self.would_lose(&manifest) {
            // Neither the snapshot nor the log of this node has those records; a later snapshot may.
            self.metrics.faults.inc();
            error!(self.log, "this node has records that the snapshot and its own log have not; it is not installed";
                "peer" => %source, "stream" => %stream);
            let completeness = &self.store.parts().completeness;
            completeness.set_problem(format!(
                "the snapshot of {source} lacks records of {stream} that are here and in no log"
            ));
            self.machine.not_installed(self.clock.monotonic());
            return Ok(Next::GoOn);
        }

        let staging = self.staging.clone();
        let copied = manifest.clone();
        self.on_disk(move || staging.prune(&copied)).await?;

        if let Err(err) = self.verify().await? {
            // Installed, it would only be set aside by the next start.
            self.fault(&source, SourceFault::Unfit, &err.to_string());
            self.machine.not_installed(self.clock.monotonic());
            tokio::time::sleep(DISK_PAUSE).await;
            return Ok(Next::GoOn);
        }

        let staging = self.staging.clone();
        self.on_disk(move || staging.mark_ready()).await?;
        info!(self.log, "everything is copied, the node starts anew to install it"; "peer" => %source);

        // A node that stops already installs it when it is started again.
        let _ = self.ask_stop.try_send(TO_INSTALL.to_owned());
        Ok(Next::Over)
    }

    /// Reads the copied checkpoints as a start would.
    async fn verify(&self) -> io::Result<Result<(), HeadError>> {
        for shard in &self.store.parts().shards {
            let options = shard.options().clone();
            let dir = self.staging.file(&format!("head/{:03}", options.number));
            let verified = self
                .on_disk(move || Ok(verify_checkpoint(&dir, &options)))
                .await?;
            if verified.is_err() {
                return Ok(verified);
            }
        }
        Ok(Ok(()))
    }

    /// A stream of which this node has more than the snapshot, without the log that leads there.
    fn would_lose(&self, manifest: &Manifest) -> Option<StreamId> {
        let log = self.store.log();
        // What has ended is in the snapshot, although no position of it says so.
        let has_ended = Log::load_ended(&self.staging.file(ENDED))
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        let theirs: BTreeMap<StreamId, u64> = manifest
            .positions
            .iter()
            .map(|p| (p.stream(), p.seq))
            .collect();

        log.written_positions()
            .into_iter()
            .filter(|(stream, _)| !has_ended.has(*stream))
            .map(|(stream, seq)| (stream, seq, theirs.get(&stream).copied()))
            .find_map(|(stream, seq, theirs)| {
                let theirs = theirs.unwrap_or(0);
                let is_there = || {
                    log.first_seq(stream)
                        .is_some_and(|first| first <= theirs + 1)
                };
                (seq > theirs && !is_there()).then_some(stream)
            })
    }

    async fn ask<A: Message + Default>(
        &self,
        source: &NodeName,
        question: Question,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let calls = self.calls.get(source);
        let calls = calls.ok_or_else(|| CallError::new(ErrorKind::NotFound, "no such member"))?;
        let body = Bytes::from(
            Request {
                question: Some(question),
            }
            .encode_to_vec(),
        );

        let answer = calls.call(Method::Rebuild, body, timeout).await?;

        A::decode(answer).map_err(|e| CallError::new(ErrorKind::Corrupt, e.to_string()))
    }

    fn call_failed(&mut self, source: &NodeName, err: &CallError) {
        let fault = match err.kind() {
            ErrorKind::NotFound => SourceFault::SnapshotGone,
            _ => SourceFault::NoAnswer,
        };
        self.fault(source, fault, &err.to_string());
    }

    fn fault(&mut self, source: &NodeName, fault: SourceFault, reason: &str) {
        self.metrics.faults.inc();
        warn!(self.log, "source of a rebuild failed"; "peer" => %source, "fault" => ?fault, "reason" => reason);
        self.store
            .parts()
            .completeness
            .set_problem(format!("{source}: {reason}"));
        self.machine.failed(fault, self.clock.monotonic());

        // A source that answers at once that it cannot must not be asked in a tight loop.
        self.next_at = self.next_at.max(self.clock.monotonic() + LOOK_EVERY);
    }

    fn path(&self, file: usize) -> Option<String> {
        self.machine
            .manifest()?
            .files
            .get(file)
            .map(|file| file.path.clone())
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.pool.call(work).await.map_err(io::Error::other)?
    }

    async fn keep_rate(&self) {
        let wait = self.next_at.saturating_sub(self.clock.monotonic());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn paid(&mut self, bytes: u64) {
        if self.rate > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            self.next_at = self.next_at.max(self.clock.monotonic()) + takes;
        }
    }

    /// Tells everybody how far it is.
    fn show(&mut self) {
        let completeness = &self.store.parts().completeness;
        let is_complete = self.machine.is_complete();
        completeness.set_complete(is_complete);
        completeness.set_reason(self.machine.reason());
        self.metrics.incomplete.set(i64::from(!is_complete));

        let progress = self.machine.progress();
        let remaining = progress.bytes_total.saturating_sub(progress.bytes);
        self.metrics
            .remaining
            .set(i64::try_from(remaining).unwrap_or(i64::MAX));

        let now = self.clock.monotonic();
        if remaining > 0 && now.saturating_sub(self.told_at) >= TELL_EVERY {
            self.told_at = now;
            info!(self.log, "copying from a peer"; "peer" => progress.source.as_ref().map(NodeName::to_string),
                "bytes" => progress.bytes, "of_bytes" => progress.bytes_total);
        }

        completeness.set_progress(progress);
    }
}
