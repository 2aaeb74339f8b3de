//! The source: gives a peer a snapshot, piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounter;
use prost::Message;
use trireme_actors::TakeSnapshot;
use trireme_base::pool::CpuPool;
use trireme_base::{ErrorKind, Incarnation};
use trireme_mailbox::Port;
use trireme_storage::Snapshots;
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::CallError;
use trireme_wire::rebuild::{Checksum, Fetch, Manifest, Piece, Question, Request, Sum};

use super::staging::checksum_of;

/// Largest piece, whatever is asked for.
const PIECE_BYTES_MAX: u32 = 8 << 20;

/// Metrics of a source.
#[derive(Clone)]
pub(crate) struct ServerMetrics {
    snapshots: IntCounter,
    bytes: IntCounter,
}

impl ServerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            snapshots: metrics.counter(
                "trireme_rebuild_snapshots_total",
                "Snapshots made for peers that are being rebuilt.",
            )?,
            bytes: metrics.counter(
                "trireme_rebuild_served_bytes_total",
                "Bytes given to peers that are being rebuilt.",
            )?,
        })
    }
}

/// Answers calls of `Method::Rebuild`.
#[derive(Clone)]
pub(crate) struct SnapshotServer {
    pub(crate) block_writer: Port<TakeSnapshot>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) pool: Arc<CpuPool>,
    pub(crate) metrics: ServerMetrics,
}

impl SnapshotServer {
    /// Answers one call of the peer with this incarnation.
    pub(crate) async fn answer(
        self,
        peer: Incarnation,
        deadline: Duration,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let request =
            Request::decode(body).map_err(|e| CallError::new(ErrorKind::Invalid, e.to_string()))?;
        match request.question {
            Some(Question::Begin(_)) => self
                .begin(peer, deadline)
                .await
                .map(|m| m.encode_to_vec().into()),
            Some(Question::Fetch(fetch)) => {
                self.fetch(fetch).await.map(|p| p.encode_to_vec().into())
            }
            Some(Question::Sum(sum)) => self.sum(sum).await.map(|c| c.encode_to_vec().into()),
            None => Err(CallError::new(
                ErrorKind::Invalid,
                "this node does not know the question",
            )),
        }
    }

    async fn begin(
        &self,
        taker: Incarnation,
        deadline: Duration,
    ) -> Result<Arc<Manifest>, CallError> {
        let made = self
            .block_writer
            .call(TakeSnapshot { taker }, deadline)
            .await;
        let made = made.map_err(|e| CallError::new(e.kind(), e.to_string()))?;
        let manifest = made.map_err(|e| CallError::new(ErrorKind::Unavailable, e))?;

        self.metrics.snapshots.inc();
        Ok(manifest)
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Piece, CallError> {
        let (path, bytes) = self.file(fetch.snapshot, fetch.file)?;
        let wanted =
            u64::from(fetch.bytes_max.min(PIECE_BYTES_MAX)).min(bytes.saturating_sub(fetch.offset));
        let data = self.read(move || read(&path, fetch.offset, wanted)).await?;
        self.metrics.bytes.inc_by(data.len() as u64);
        Ok(Piece::of(data.into()))
    }

    async fn sum(&self, sum: Sum) -> Result<Checksum, CallError> {
        let (path, bytes) = self.file(sum.snapshot, sum.file)?;
        let crc32c = self.read(move || checksum_of(&path, bytes)).await?;
        Ok(Checksum { crc32c })
    }

    fn file(&self, snapshot: u64, file: u32) -> Result<(std::path::PathBuf, u64), CallError> {
        self.snapshots
            .file(snapshot, file as usize)
            .ok_or_else(|| CallError::new(ErrorKind::NotFound, "the snapshot is not held any more"))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, CallError> {
        let done = self.pool.call(read).await;
        let done = done.map_err(|e| CallError::new(ErrorKind::Unavailable, e.to_string()))?;
        done.map_err(|e| {
            // The snapshot was let go between the look-up and the read.
            let kind = if e.kind() == io::ErrorKind::NotFound {
                ErrorKind::NotFound
            } else {
                ErrorKind::Unavailable
            };
            CallError::new(kind, e.to_string())
        })
    }
}

fn read(path: &Path, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; bytes as usize];
    File::open(path)?.read_exact_at(&mut data, offset)?;
    Ok(data)
}
