//! Gives other replicas of the group a list of this node's blocks, and the blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntCounter;
use prost::Message;
use trireme_base::ErrorKind;
use trireme_base::pool::CpuPool;
use trireme_block::{block_files, is_block_file};
use trireme_model::Tenant;
use trireme_storage::{Cutting, LocalBlock, SettledBlocks};
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::CallError;
use trireme_wire::blocks::{
    BlockName, Fetch, FileList, List, ListedBlock, Listing, Question, Request,
};
use trireme_wire::rebuild::{Piece, SnapshotFile};
use ulid::Ulid;

/// Largest piece, whatever is asked for.
const PIECE_BYTES_MAX: u32 = 8 << 20;
/// Blocks of a page of the list.
const PAGE_BLOCKS: usize = 2_000;

/// Answers calls of `Method::Blocks`.
#[derive(Clone)]
pub(crate) struct BlockServer {
    cutting: Cutting,
    pool: Arc<CpuPool>,
    served_bytes: IntCounter,
}

impl BlockServer {
    /// Serves the blocks of the node; files are read on `pool`.
    pub(crate) fn new(
        cutting: Cutting,
        pool: Arc<CpuPool>,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        let served_bytes = metrics.counter(
            "trireme_scrub_served_bytes_total",
            "Bytes of blocks given to replicas that lacked them.",
        )?;
        Ok(Self {
            cutting,
            pool,
            served_bytes,
        })
    }

    /// Answers one call.
    pub(crate) async fn answer(self, body: Bytes) -> Result<Bytes, CallError> {
        let request =
            Request::decode(body).map_err(|e| CallError::new(ErrorKind::Invalid, e.to_string()))?;
        let pool = Arc::clone(&self.pool);
        let answer = pool
            .call(move || match request.question {
                Some(Question::List(list)) => self.list(&list).map(|l| l.encode_to_vec()),
                Some(Question::Files(name)) => self.files(&name).map(|f| f.encode_to_vec()),
                Some(Question::Fetch(fetch)) => self.fetch(&fetch).map(|p| p.encode_to_vec()),
                None => Err(CallError::new(
                    ErrorKind::Invalid,
                    "this node does not know the question",
                )),
            })
            .await;

        answer
            .map_err(|e| CallError::new(ErrorKind::Unavailable, e.to_string()))?
            .map(Bytes::from)
    }

    fn list(&self, list: &List) -> Result<Listing, CallError> {
        let unavailable = |what: &str| Err(CallError::new(ErrorKind::Unavailable, what));
        if !self.cutting.store.parts().completeness.is_complete() {
            return unavailable("this replica is being rebuilt itself");
        }
        let Some(SettledBlocks { cut, blocks, .. }) = self.cutting.settled_blocks() else {
            return unavailable("blocks are being written, or the log is being replayed");
        };

        Ok(page(blocks, list.after.as_ref(), cut))
    }

    fn files(&self, name: &BlockName) -> Result<FileList, CallError> {
        let block = self.block(Some(name))?;
        let files = block_files(&block.dir).map_err(|e| CallError::new(e.kind(), e.to_string()))?;
        Ok(FileList {
            files: files
                .into_iter()
                .map(|(path, bytes)| SnapshotFile { path, bytes })
                .collect(),
        })
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Piece, CallError> {
        let block = self.block(fetch.name.as_ref())?;
        if !is_block_file(&fetch.path) {
            return Err(CallError::new(
                ErrorKind::Invalid,
                format!("{:?} is no file of a block", fetch.path),
            ));
        }

        let bytes_max = fetch.bytes_max.min(PIECE_BYTES_MAX);
        let data = read(&block.dir.join(&fetch.path), fetch.offset, bytes_max).map_err(|e| {
            // The block went between the list and the read.
            let is_gone = e.kind() == io::ErrorKind::NotFound;
            CallError::new(
                if is_gone {
                    ErrorKind::NotFound
                } else {
                    ErrorKind::Unavailable
                },
                e.to_string(),
            )
        })?;

        self.served_bytes.inc_by(data.len() as u64);
        Ok(Piece::of(data.into()))
    }

    /// A good block of this node.
    fn block(&self, name: Option<&BlockName>) -> Result<Arc<LocalBlock>, CallError> {
        let invalid = || CallError::new(ErrorKind::Invalid, "that is no name of a block");
        let name = name.ok_or_else(invalid)?;
        let tenant = Tenant::new(&name.tenant).map_err(|_| invalid())?;
        let ulid = Ulid::from_string(&name.ulid).map_err(|_| invalid())?;
        let found = self
            .cutting
            .local_blocks
            .find(&tenant, ulid)
            .filter(|block| !block.is_damaged());

        found.ok_or_else(|| {
            CallError::new(
                ErrorKind::NotFound,
                "this node has no good block of that name",
            )
        })
    }
}

/// The blocks behind `after`, as many as go into a page. Damaged ones are left out.
fn page(blocks: Vec<Arc<LocalBlock>>, after: Option<&BlockName>, cut: Option<i64>) -> Listing {
    let mut named: Vec<(BlockName, Arc<LocalBlock>)> = blocks
        .into_iter()
        .filter(|block| !block.is_damaged())
        .map(|block| (name_of(&block), block))
        .filter(|(name, _)| after.is_none_or(|after| key(name) > key(after)))
        .collect();

    named.sort_by(|(a, _), (b, _)| key(a).cmp(&key(b)));
    let more = named.len() > PAGE_BLOCKS;
    named.truncate(PAGE_BLOCKS);

    Listing {
        blocks: named
            .into_iter()
            .map(|(name, block): (BlockName, Arc<LocalBlock>)| ListedBlock {
                name: Some(name),
                start_ms: block.meta().min_time,
                end_ms: block.meta().max_time,
                bytes: block.size_bytes(),
            })
            .collect(),
        more,
        cut,
    }
}

fn key(name: &BlockName) -> (&str, &str) {
    (&name.tenant, &name.ulid)
}

fn name_of(block: &LocalBlock) -> BlockName {
    BlockName {
        tenant: block.tenant.to_string(),
        ulid: block.meta().ulid.to_string(),
    }
}

/// Bytes of a file from `offset` on, fewer than `bytes_max` only where it ends.
fn read(path: &Path, offset: u64, bytes_max: u32) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file
        .metadata()?
        .len()
        .saturating_sub(offset)
        .min(u64::from(bytes_max));

    let mut data = vec![0; left as usize];
    file.read_exact_at(&mut data, offset)?;
    Ok(data)
}
