//! Writing a block.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use sha2::{Digest, Sha256};
use trireme_model::Labels;
use ulid::Ulid;

use crate::chunks::{CHUNKS_DIR, ChunkWriter, SEGMENT_BYTES_MAX};
use crate::encode::{ChunkEncodings, EncodedChunk, SampleCounts, SeriesEncoder};
use crate::files::TempDir;
use crate::index::{ChunkMeta, INDEX_FILE, IndexWriter};
use crate::meta::TriremeMeta;
use crate::name::{downsampled_name_of, name_of};
use crate::scan::set_aside;
use crate::{
    Block, BlockCompaction, BlockError, BlockMeta, BlockParent, BlockStats, SeriesInput,
    SeriesSource, ThanosDownsample, ThanosIndexStats, ThanosMeta,
};

/// Samples in a chunk: what Prometheus aims at, too.
pub const CHUNK_SAMPLES_MAX: usize = 120;

/// What the meta of a new block says besides what is found in it, and bounds.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// External labels; a raw block with none has no `thanos` section in its meta.
    pub external_labels: BTreeMap<String, String>,
    /// `thanos.source`.
    pub source: String,
    /// Resolution of downsampled samples (ms), 0 for raw.
    pub resolution_ms: i64,
    /// Compaction level.
    pub level: u32,
    /// Level 1 blocks that went into it; empty means itself.
    pub sources: Vec<Ulid>,
    /// Blocks it is made from directly.
    pub parents: Vec<BlockParent>,
    /// Notes for `compaction.hints`.
    pub hints: Vec<String>,
    /// Size at which a chunk file is full (bytes).
    pub segment_bytes_max: u64,
    /// The most samples of a chunk.
    pub chunk_samples_max: usize,
    /// Encodings of chunks; they decide whether start timestamps are kept.
    pub encodings: ChunkEncodings,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            external_labels: BTreeMap::new(),
            source: "receive".into(),
            resolution_ms: 0,
            level: 1,
            sources: Vec::new(),
            parents: Vec::new(),
            hints: Vec::new(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            chunk_samples_max: CHUNK_SAMPLES_MAX,
            encodings: ChunkEncodings::Classic,
        }
    }
}

/// Writes the block of `window` (ms, end exclusive) under `dir/<ULID>`; none if the source has no samples.
///
/// The bytes of chunks and index depend on the series, the window's end, and bounds and encoding in `options` alone; the
/// ULID on these bytes, the external labels and, with a resolution, on that and the sources. Everything is fsynced before the directory gets its name, so after a crash there is the whole
/// block or a `tmp-` directory. A block of that name that is there already stays and its meta is the answer; if it
/// cannot be opened, it is set aside as by [`crate::scan_blocks`] and replaced.
pub fn write_block(
    dir: &Path,
    window: Range<i64>,
    options: &WriteOptions,
    source: &mut dyn SeriesSource,
) -> Result<Option<BlockMeta>, BlockError> {
    let mut files = BlockFiles::create(dir, window.clone(), options.segment_bytes_max)?;
    let mut encoder = SeriesEncoder::new(window, options.chunk_samples_max, options.encodings);
    let mut series = SeriesInput::default();
    let mut labels = Labels::default();

    let mut counts = SampleCounts::default();
    while source.next(&mut series)? {
        if !source.continues() {
            files.end_series(&labels, std::mem::take(&mut counts))?;
            labels.clone_from(&series.labels);
        }

        let behind = files.last_time();
        let more = encoder.encode(&series, &mut |chunk| match behind {
            Some(last) if chunk.min_time <= last => Err(not_following(&series.labels)),
            _ => files.add_encoded(chunk),
        })?;

        counts.floats += more.floats;
        counts.histograms += more.histograms;
    }

    files.end_series(&labels, counts)?;
    files.finish(options)
}

fn not_following(labels: &Labels) -> BlockError {
    let what = "a part does not follow the one before it";
    BlockError::Input(format!("series {labels}: {what}"))
}

/// The files of a block while they are written, chunk by chunk and series by series.
pub(crate) struct BlockFiles<'a> {
    dir: &'a Path,
    window: Range<i64>,
    temporary: TempDir,
    digest: Sha256,
    index: IndexWriter,
    chunks: ChunkWriter,
    /// Chunks of the series that is being written.
    metas: Vec<ChunkMeta>,
    stats: BlockStats,
}

impl<'a> BlockFiles<'a> {
    /// Begins a block of `window` in a temporary directory under `dir`.
    pub(crate) fn create(
        dir: &'a Path,
        window: Range<i64>,
        segment_bytes_max: u64,
    ) -> Result<Self, BlockError> {
        if window.is_empty() {
            return Err(BlockError::Input(format!("the window {window:?} is empty")));
        }

        let temporary = TempDir::create(dir, &format!("block-{}", window.end))?;
        let index = IndexWriter::create(temporary.path().join("series.spill"))?;
        let chunks = ChunkWriter::create(temporary.path().join(CHUNKS_DIR), segment_bytes_max)?;

        let digest = Sha256::new();
        let metas = Vec::new();
        let stats = BlockStats::default();

        Ok(Self {
            dir,
            window,
            temporary,
            digest,
            index,
            chunks,
            metas,
            stats,
        })
    }

    /// Adds a chunk to the series that is being written; its times are behind those of the chunk before.
    pub(crate) fn add_chunk(
        &mut self,
        encoding: u8,
        data: &[u8],
        times: RangeInclusive<i64>,
    ) -> Result<(), BlockError> {
        let reference = self.chunks.write(&mut self.digest, encoding, data)?;
        self.metas.push(ChunkMeta {
            min_time: *times.start(),
            max_time: *times.end(),
            reference,
        });
        Ok(())
    }

    fn add_encoded(&mut self, chunk: EncodedChunk<'_>) -> Result<(), BlockError> {
        let times = chunk.min_time..=chunk.max_time;
        self.add_chunk(chunk.encoding.as_u8(), chunk.data, times)
    }

    /// Time of the last sample of the series that is being written; none before its first chunk.
    fn last_time(&self) -> Option<i64> {
        self.metas.last().map(|chunk| chunk.max_time)
    }

    /// Ends a series; one without chunks is left out.
    pub(crate) fn end_series(
        &mut self,
        labels: &Labels,
        counts: SampleCounts,
    ) -> Result<(), BlockError> {
        if self.metas.is_empty() {
            return Ok(());
        }

        self.index.add(labels, &self.metas)?;
        self.stats.num_chunks += self.metas.len() as u64;
        self.stats.num_float_samples += counts.floats;
        self.stats.num_histogram_samples += counts.histograms;
        self.metas.clear();

        Ok(())
    }

    /// Makes the block durable and gives it its name; none without series.
    pub(crate) fn finish(self, options: &WriteOptions) -> Result<Option<BlockMeta>, BlockError> {
        let Self {
            dir,
            window,
            temporary,
            mut digest,
            index,
            chunks,
            mut stats,
            ..
        } = self;

        if index.series() == 0 {
            return Ok(None);
        }

        let path = temporary.path().to_owned();
        stats.num_series = index.series();
        stats.num_samples = stats.num_float_samples + stats.num_histogram_samples;

        let chunk_max_size = chunks.finish()?;
        let sizes = index.finish(path.join(INDEX_FILE), &mut digest)?;

        let digest: [u8; 32] = digest.finalize().into();
        let index_stats = ThanosIndexStats {
            series_max_size: sizes.series_bytes_max,
            chunk_max_size,
        };
        let meta = meta_of(window, options, stats, index_stats, digest).sealed();

        meta.write(&path)?;

        publish(dir, temporary, meta)
    }
}

/// Gives a block its name. One of that name that is there already stays, if it can be opened.
fn publish(
    dir: &Path,
    mut temporary: TempDir,
    meta: BlockMeta,
) -> Result<Option<BlockMeta>, BlockError> {
    let target = dir.join(meta.ulid.to_string());
    if temporary.publish(&target)? {
        return Ok(Some(meta));
    }

    match Block::open(&target) {
        Ok(old) => Ok(Some(old.meta().clone())),
        Err(error) if error.is_damage() => {
            set_aside(dir, meta.ulid)?;
            temporary.publish(&target)?;
            Ok(Some(meta))
        }
        Err(error) => Err(error),
    }
}

fn meta_of(
    window: Range<i64>,
    options: &WriteOptions,
    stats: BlockStats,
    index_stats: ThanosIndexStats,
    digest: [u8; 32],
) -> BlockMeta {
    let labels = &options.external_labels;
    let goes_back = (options.resolution_ms, options.sources.as_slice());
    let ulid = match options.resolution_ms {
        0 => name_of(window.end, &digest, labels),
        _ => downsampled_name_of(window.end, &digest, labels, goes_back),
    };
    let thanos = thanos_of(options, index_stats);

    BlockMeta {
        ulid,
        min_time: window.start,
        max_time: window.end,
        stats,
        compaction: BlockCompaction {
            level: options.level,
            sources: if options.sources.is_empty() {
                vec![ulid]
            } else {
                options.sources.clone()
            },
            parents: options.parents.clone(),
            hints: options.hints.clone(),
            ..BlockCompaction::default()
        },
        version: 1,
        thanos,
        trireme: Some(TriremeMeta {
            digest: hex(&digest),
            crc: 0,
        }),
        other: serde_json::Map::new(),
    }
}

fn thanos_of(options: &WriteOptions, index_stats: ThanosIndexStats) -> Option<ThanosMeta> {
    let has_section = !options.external_labels.is_empty() || options.resolution_ms > 0;
    has_section.then(|| ThanosMeta {
        labels: options.external_labels.clone(),
        source: options.source.clone(),
        downsample: ThanosDownsample {
            resolution: options.resolution_ms,
        },
        index_stats,
        ..ThanosMeta::default()
    })
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Removes what a crash or an error left in `dir`: entries that begin with the prefix of temporaries.
pub(crate) fn remove_temporaries(dir: &Path) -> Result<Vec<String>, BlockError> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(dir).map_err(crate::error::at(dir))? {
        let entry = entry.map_err(crate::error::at(dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(TempDir::PREFIX)) else {
            continue;
        };
        fs::remove_dir_all(entry.path()).map_err(crate::error::at(&entry.path()))?;
        removed.push(name.to_owned());
    }

    Ok(removed)
}
