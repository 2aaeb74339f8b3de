//! A local block, ready to be uploaded.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use trireme_block::{
    BlockMeta, CHUNKS_DIR, INDEX_FILE, LocalFile as BlockFile, META_FILE, RangeRead, ThanosFile,
    ThanosHash, ThanosMeta, hex, segment_name,
};

use crate::BucketError;

/// A block with the digests of its files and the meta that the bucket gets.
pub struct HashedBlock {
    meta: BlockMeta,
    files: Vec<LocalFile>,
}

/// One file, open for reading.
pub struct LocalFile {
    pub(super) rel_path: String,
    file: BlockFile,
    pub(super) sha256: String,
}

impl LocalFile {
    pub(super) fn size(&self) -> u64 {
        self.file.len()
    }

    /// The bytes of `[start, end)`, as the store takes them.
    pub(super) fn read(&self, start: u64, end: u64) -> object_store::Result<Bytes> {
        let bytes = self.file.read_at(start, (end - start) as usize);
        bytes.map_err(|source| object_store::Error::Generic {
            store: "local block",
            source: Box::new(source),
        })
    }
}

/// Bytes hashed at once.
const PIECE_BYTES: usize = 1 << 20;

impl HashedBlock {
    /// Most bytes of a block that are in memory while it is sent.
    pub const SENDING_BYTES_MAX: u64 = super::copy::SENDING_BYTES_MAX;

    /// Bytes of this one that are in memory while it is sent, at most.
    pub fn sending_bytes(&self) -> u64 {
        let longest = self.files.iter().map(LocalFile::size).max().unwrap_or(0);
        longest.min(Self::SENDING_BYTES_MAX)
    }

    /// Opens and hashes all files: about a second per gigabyte, so call it on a CPU thread.
    ///
    /// `external_labels` are those of the bucket's meta and must have one at least, the tenant's; `source` is the
    /// name of the writing program there.
    pub fn open(
        dir: &Path,
        external_labels: &BTreeMap<String, String>,
        source: &str,
    ) -> Result<Self, BucketError> {
        let mut meta = BlockMeta::read(dir)?;
        if external_labels.is_empty() {
            return Err(BucketError::Config(format!(
                "block {} has no external labels",
                meta.ulid
            )));
        }

        let files = open_files(dir)?;
        let mut thanos = meta.thanos.take().unwrap_or_default();
        thanos.labels.clone_from(external_labels);
        source.clone_into(&mut thanos.source);
        thanos.files = list_files(&files);

        list_segments(&mut thanos, files.len() - 1);
        meta.thanos = Some(thanos);
        Ok(Self {
            meta: meta.sealed(),
            files,
        })
    }

    /// The meta as the bucket gets it.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(LocalFile::size).sum()
    }

    pub(super) fn files(&self) -> &[LocalFile] {
        &self.files
    }
}

/// The files of a block, the index last.
fn open_files(dir: &Path) -> Result<Vec<LocalFile>, BucketError> {
    let mut files = Vec::new();

    let mut number = 0;
    loop {
        let rel_path = format!("{CHUNKS_DIR}/{}", segment_name(number));
        if !dir.join(&rel_path).exists() {
            break;
        }
        files.push(open_file(dir, rel_path)?);
        number += 1;
    }

    files.push(open_file(dir, INDEX_FILE.to_owned())?);
    Ok(files)
}

/// How files are listed in the meta; its own file is, too.
fn list_files(files: &[LocalFile]) -> Vec<ThanosFile> {
    files
        .iter()
        .map(|f| ThanosFile {
            rel_path: f.rel_path.clone(),
            size_bytes: Some(f.size()),
            hash: Some(ThanosHash::sha256(f.sha256.clone())),
        })
        .chain([ThanosFile {
            rel_path: META_FILE.into(),
            size_bytes: None,
            hash: None,
        }])
        .collect()
}

/// Names the chunk files also in the way that Thanos had before it listed all files.
fn list_segments(thanos: &mut ThanosMeta, count: usize) {
    let names: Vec<String> = (0..count).map(segment_name).collect();
    thanos.other.insert("segment_files".into(), names.into());
}

fn open_file(dir: &Path, rel_path: String) -> Result<LocalFile, BucketError> {
    let path = dir.join(&rel_path);
    let file = BlockFile::open(&path).map_err(|e| io_at(&path, e))?;
    let mut digest = Sha256::new();

    let mut at = 0;
    while at < file.len() {
        let bytes = (file.len() - at).min(PIECE_BYTES as u64) as usize;
        digest.update(file.read_at(at, bytes).map_err(|e| io_at(&path, e))?);
        at += bytes as u64;
    }

    let sha256 = hex(&digest.finalize());
    Ok(LocalFile {
        rel_path,
        file,
        sha256,
    })
}

fn io_at(path: &Path, source: std::io::Error) -> trireme_block::BlockError {
    trireme_block::BlockError::Io {
        place: path.display().to_string(),
        source,
    }
}
