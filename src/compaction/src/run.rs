//! Doing a job.
//!
//! ```text
//! sources ──▶ <dir>/<ULID>/ ──▶ bucket: files, read back, meta.json ──▶ deletion marks ──▶ the local block goes
//! ```
//!
//! Each arrow is safe to stop at. Before `meta.json` nobody takes the objects for a block; behind it queries leave the
//! sources out, and [`Compactor::finish`] marks those that this run did not come to. A block that is downsampled gets no mark: it
//! stays.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use slog::{Logger, warn};
use tokio::runtime::Handle;
use trireme_block::{
    Block, BlockError, BlockMeta, ChunkEncodings, DownsampleError, WriteOptions, downsample_block,
    write_block,
};
use trireme_bucket::{
    BucketError, BucketReader, HashedBlock, Published, ReaderOptions, mark_for_deletion,
    mark_no_compact, mark_no_downsample, publish,
};
use ulid::Ulid;

use crate::finish::details_of;
use crate::merge::{Fault, Merge};
use crate::{CompactionError, Job, bytes_of};

/// `thanos.source` of compacted blocks, as Thanos's own.
const SOURCE: &str = "compactor";
/// Memory for pieces of objects that are read in no order; sources are read past it.
const CACHE_BYTES: usize = 1 << 20;
/// Bytes on the local disk for symbols and postings tables of the sources of one job.
const HEADER_BYTES: u64 = 2 << 30;
/// The longest wait for one request.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Details of the mark of a block of which nothing is left when it is downsampled.
const EMPTY: &str =
    "has no samples that count when it is downsampled: only stale markers and NaN, or none at all";
/// Folder for copies of index headers.
const HEADERS: &str = "headers";

/// Gives the local copy of a block, if there is a good one.
pub type FindLocal = Arc<dyn Fn(&BlockMeta) -> Option<Arc<Block>> + Send + Sync>;

/// Bytes of sources that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadBytes {
    /// Of local copies: the bytes of their files.
    pub local: u64,
    /// From the bucket.
    pub bucket: u64,
}

/// What a job did.
#[derive(Clone, Debug)]
pub struct Done {
    /// The result. None if the block that was to be downsampled has no samples that count: it is then marked, so that nobody
    /// tries again.
    pub meta: Option<BlockMeta>,
    /// False if it was in the bucket already.
    pub is_new: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that were read for it.
    pub read: ReadBytes,
    /// Sources that were marked for deletion.
    pub marked: Vec<Ulid>,
}

/// What jobs are done with.
#[derive(Clone)]
pub struct CompactorParts {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Local copies.
    pub local: FindLocal,
    /// Directory for blocks under construction, made if missing. It is the compactor's alone: what lies there is removed.
    pub dir: PathBuf,
    /// No chunk crosses a multiple of this (ms).
    pub part_ms: i64,
    /// Requests and merging run here; its threads must not be those that call.
    pub runtime: Handle,
    /// Set when the node stops.
    pub stop: Arc<AtomicBool>,
    /// Logger.
    pub log: Logger,
}

/// Does jobs.
#[derive(Clone)]
pub struct Compactor {
    pub(crate) parts: CompactorParts,
}

/// What was made on the local disk.
struct Made {
    block: Option<HashedBlock>,
    read: ReadBytes,
}

impl Compactor {
    /// Over these parts.
    pub fn new(parts: CompactorParts) -> Self {
        Self { parts }
    }

    /// What it was made of.
    pub fn into_parts(self) -> CompactorParts {
        self.parts
    }

    /// Removes what earlier runs left in the directory. No job may be under way.
    pub fn clear_dir(&self) -> Result<(), BlockError> {
        match std::fs::remove_dir_all(&self.parts.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(self.io(source)),
            _ => std::fs::create_dir_all(&self.parts.dir).map_err(|source| self.io(source)),
        }
    }

    fn io(&self, source: std::io::Error) -> BlockError {
        BlockError::Io {
            place: self.parts.dir.display().to_string(),
            source,
        }
    }

    /// Does a job: merges, uploads, reads back, marks the sources; or downsamples, uploads and reads back. `now_s` (seconds
    /// since the epoch) goes into the marks.
    ///
    /// After an error, or when the future is dropped, it may be done again by anybody.
    pub async fn compact(&self, job: &Job, now_s: i64) -> Result<Done, CompactionError> {
        let Made { block, read } = self.make_apart(job, now_s).await?;
        let Some(block) = block else {
            return self.leave_empty(job, now_s, read).await;
        };

        let meta = block.meta().clone();
        let published = publish(self.parts.store.as_ref(), &block).await;
        let bytes = block.size_bytes();

        drop(block);
        self.remove_local(meta.ulid);
        let is_new = published? == Published::Uploaded;
        let marked = match job.is_downsampling() {
            true => Vec::new(),
            false => self.mark_sources(job, &meta, now_s).await?,
        };

        Ok(Done {
            meta: Some(meta),
            is_new,
            bytes,
            read,
            marked,
        })
    }

    /// [`Self::make`] on a thread where it may block; what cannot be read is put aside.
    async fn make_apart(&self, job: &Job, now_s: i64) -> Result<Made, CompactionError> {
        let this = self.clone();
        let given = job.clone();
        let making = self.parts.runtime.spawn_blocking(move || this.make(&given));
        let made = making
            .await
            .map_err(|error| CompactionError::Thread(error.to_string()))?;

        if let Err(error) = &made {
            self.quarantine(job, error, now_s).await;
        }
        made
    }

    /// Nothing was made: the sources have no samples that count.
    async fn leave_empty(
        &self,
        job: &Job,
        now_s: i64,
        read: ReadBytes,
    ) -> Result<Done, CompactionError> {
        let store = self.parts.store.as_ref();
        for source in &job.sources {
            mark_no_downsample(store, source.meta.ulid, EMPTY, now_s).await?;
        }

        Ok(Done {
            meta: None,
            is_new: false,
            bytes: 0,
            read,
            marked: Vec::new(),
        })
    }

    fn remove_local(&self, ulid: Ulid) {
        let dir = self.parts.dir.join(ulid.to_string());
        if let Err(err) = std::fs::remove_dir_all(&dir) {
            warn!(self.parts.log, "a compacted block cannot be removed from the local disk";
                "path" => %dir.display(), "err" => %err);
        }
    }

    /// The result of a merge is in the bucket and verified: its sources are to be deleted. It may have the name of one of them,
    /// which then holds the others.
    async fn mark_sources(
        &self,
        job: &Job,
        result: &BlockMeta,
        now_s: i64,
    ) -> Result<Vec<Ulid>, CompactionError> {
        let mut marked = Vec::new();
        for source in job
            .sources
            .iter()
            .map(|source| source.meta.ulid)
            .filter(|name| *name != result.ulid)
        {
            mark_for_deletion(
                self.parts.store.as_ref(),
                source,
                &details_of(result.ulid),
                now_s,
            )
            .await?;
            marked.push(source);
        }

        Ok(marked)
    }

    /// Keeps compaction, or downsampling, away from a source in the bucket whose bytes are bad, so that the others go on.
    async fn quarantine(&self, job: &Job, error: &CompactionError, now_s: i64) {
        let Some(ulid) = error.bad_source(job) else {
            return;
        };

        let store = self.parts.store.as_ref();
        let text = format!("cannot be read: {error}");
        warn!(self.parts.log, "a block cannot be compacted, it is left alone from now on"; "block_id" => %ulid,
            "downsampling" => job.is_downsampling(), "err" => %error);

        let marked = match job.is_downsampling() {
            true => mark_no_downsample(store, ulid, &text, now_s).await,
            false => mark_no_compact(store, ulid, "manual", &text, now_s).await,
        };

        if let Err(err) = marked {
            warn!(self.parts.log, "a block that cannot be compacted cannot be marked"; "block_id" => %ulid,
                "err" => %err);
        }
    }

    /// Writes the union of the sources, or the coarser form of the only one, to the local disk and hashes it. Blocks.
    fn make(&self, job: &Job) -> Result<Made, CompactionError> {
        let reader = self.reader();

        let fetched = Arc::new(AtomicU64::new(0));
        let mut read = ReadBytes::default();

        let sources = self.open_sources(job, &reader, &fetched, &mut read)?;

        let written = match job.is_downsampling() {
            true => self.downsample(job, &sources),
            false => self.merge(job, &sources).map(Some),
        };

        read.bucket = fetched.load(Ordering::Relaxed);

        let names: Vec<Ulid> = job.sources.iter().map(|source| source.meta.ulid).collect();
        if let Err(err) = reader.retain(&|ulid| !names.contains(&ulid)) {
            warn!(self.parts.log, "copies of indexes cannot be removed"; "err" => %err);
        }

        let Some(meta) = written? else {
            return Ok(Made { block: None, read });
        };

        let dir = self.parts.dir.join(meta.ulid.to_string());
        Ok(Made {
            block: Some(HashedBlock::open(&dir, &job.labels, SOURCE)?),
            read,
        })
    }

    fn reader(&self) -> BucketReader {
        let headers = self.parts.dir.join(HEADERS);
        let options = ReaderOptions {
            cache_bytes_max: CACHE_BYTES,
            timeout: TIMEOUT,
            header_dir: Some(headers),
            header_bytes_max: HEADER_BYTES,
            ..ReaderOptions::default()
        };

        BucketReader::new(
            Arc::clone(&self.parts.store),
            self.parts.runtime.clone(),
            options,
        )
    }

    /// The blocks of a job, from the local disk where they are there.
    fn open_sources(
        &self,
        job: &Job,
        reader: &BucketReader,
        fetched: &Arc<AtomicU64>,
        read: &mut ReadBytes,
    ) -> Result<Vec<Source>, CompactionError> {
        let mut sources = Vec::new();
        for source in &job.sources {
            let local = (self.parts.local)(&source.meta);
            // What a downsampled block says of itself is taken from its source.
            let local = local.filter(|local| {
                !job.is_downsampling() || is_told_alike(local.meta(), &source.meta)
            });

            if local.is_some() {
                read.local += bytes_of(&source.meta);
            }

            let is_local = local.is_some();
            let block = match local {
                Some(block) => block,
                None => Arc::new(reader.scan(&source.meta, fetched).map_err(
                    |error| match error {
                        BucketError::Block(error) => CompactionError::Source {
                            block: source.meta.ulid,
                            is_local,
                            error,
                        },
                        other => other.into(),
                    },
                )?),
            };

            sources.push(Source { block, is_local });
        }
        Ok(sources)
    }

    /// None if the source has no samples that count.
    fn downsample(
        &self,
        job: &Job,
        sources: &[Source],
    ) -> Result<Option<BlockMeta>, CompactionError> {
        let [source] = sources else {
            let what = format!("one block is downsampled at a time, not {}", sources.len());
            return Err(BlockError::Input(what).into());
        };

        let mut samples = 0;
        let made = downsample_block(
            &source.block,
            &self.parts.dir,
            job.resolution_ms,
            &mut |progress| {
                samples = progress.samples;
                match self.parts.stop.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        );

        let made = made.map_err(|error| not_downsampled(source, error))?;

        let meta = source.block.meta();

        // Other programs count in coarse blocks what they like.
        let is_counted = meta.resolution_ms() == 0 || meta.trireme.is_some();
        let counted = if is_counted {
            samples
        } else {
            meta.stats.num_samples
        };
        if let Err(error) = source.check_count(counted) {
            if let Some(made) = &made {
                self.remove_local(made.ulid);
            }
            return Err(error);
        }

        Ok(made)
    }

    fn merge(&self, job: &Job, sources: &[Source]) -> Result<BlockMeta, CompactionError> {
        let blocks = sources.iter().map(|source| &*source.block);
        let merge = Merge::open(
            blocks,
            job.range.clone(),
            self.parts.part_ms,
            &self.parts.stop,
        );

        let mut merge = merge.map_err(|(number, error)| sources[number].failed(error))?;
        let options = options_of(job);

        let written = write_block(&self.parts.dir, job.range.clone(), &options, &mut merge);
        let written = match (written, merge.fault()) {
            (Err(_), Some(Fault::Stopped)) => return Err(CompactionError::Stopped),
            (Err(error), Some(Fault::Source(number))) => return Err(sources[number].failed(error)),
            (written, _) => written?,
        };

        let meta = written.ok_or_else(|| {
            BlockError::Input(format!("the sources of {:?} have no samples", job.range))
        })?;
        let mut counts = sources.iter().zip(merge.samples());
        if let Err(error) = counts.try_for_each(|(source, found)| source.check_count(found)) {
            self.remove_local(meta.ulid);
            return Err(error);
        }

        Ok(meta)
    }
}

fn not_downsampled(source: &Source, error: DownsampleError) -> CompactionError {
    match error {
        DownsampleError::Source(error) => source.failed(error),
        DownsampleError::Write(error) => CompactionError::Write(error),
        DownsampleError::Stopped => CompactionError::Stopped,
    }
}

/// How the union of the sources of a job is written.
fn options_of(job: &Job) -> WriteOptions {
    WriteOptions {
        external_labels: job.labels.clone(),
        source: SOURCE.to_owned(),
        level: job.level(),
        sources: job.origins(),
        parents: job.parents(),
        // Start timestamps are kept where there are any; chunks without are the same in both.
        encodings: ChunkEncodings::Starts,
        ..WriteOptions::default()
    }
}

/// True if a local copy has the labels of the bucket's block and goes back to the same blocks.
fn is_told_alike(local: &BlockMeta, there: &BlockMeta) -> bool {
    local.external_labels() == there.external_labels() && local.compaction == there.compaction
}

/// A block that is read for a job.
struct Source {
    block: Arc<Block>,
    is_local: bool,
}

impl Source {
    fn failed(&self, error: BlockError) -> CompactionError {
        if self.is_local {
            // The scrubber then reads all of it, and the bucket's copy is taken next time.
            self.block.note_error(&error);
        }
        CompactionError::Source {
            block: self.block.meta().ulid,
            is_local: self.is_local,
            error,
        }
    }

    /// Were as many samples read as the block says that it has? Deleted ones count there and are not read.
    fn check_count(&self, found: u64) -> Result<(), CompactionError> {
        let meta = self.block.meta();
        let tombstones = self.block.tombstones();
        let said = meta.stats.num_samples;
        if said == found || said == 0 || tombstones.iter().next().is_some() {
            return Ok(());
        }

        Err(CompactionError::SampleCount {
            block: meta.ulid,
            is_local: self.is_local,
            found,
            said,
        })
    }
}
