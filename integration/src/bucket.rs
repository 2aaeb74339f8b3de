//! Blocks as they lie in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

/// A block read whole.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockCopy {
    /// Name of its directory.
    pub ulid: String,
    /// `meta.json`.
    pub meta: Json,
    /// Bytes of every other file by its path inside the block.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl BlockCopy {
    /// First and last millisecond, the last one excluded.
    pub fn range(&self) -> (i64, i64) {
        (
            self.meta["minTime"].as_i64().unwrap_or(i64::MIN),
            self.meta["maxTime"].as_i64().unwrap_or(i64::MAX),
        )
    }

    /// Number of samples by its meta file.
    pub fn samples(&self) -> u64 {
        self.meta["stats"]["numSamples"].as_u64().unwrap_or(0)
    }

    /// Value of an external label in the `thanos` section.
    pub fn external_label(&self, name: &str) -> Option<&str> {
        self.meta["thanos"]["labels"][name].as_str()
    }
}

/// Directories of the blocks in `dir`: its children that have a ULID's name and a meta file.
pub fn blocks_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };

    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();

        let is_ulid = name.len() == 26
            && name
                .chars()
                .all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());

        if is_ulid && path.join("meta.json").is_file() {
            found.push(path);
        }
    }

    found.sort();
    Ok(found)
}

/// Reads a block.
pub fn read_block(dir: &Path) -> anyhow::Result<BlockCopy> {
    let ulid = dir
        .file_name()
        .context("block directory has no name")?
        .to_string_lossy()
        .into_owned();

    let mut files = BTreeMap::new();
    collect(dir, dir, &mut files)?;
    let meta = files
        .remove("meta.json")
        .with_context(|| format!("{ulid} has no meta.json"))?;
    let meta: Json =
        serde_json::from_slice(&meta).with_context(|| format!("meta.json of {ulid}"))?;
    ensure!(
        meta["ulid"] == ulid.as_str(),
        "meta.json of {ulid} names {}",
        meta["ulid"]
    );

    Ok(BlockCopy { ulid, meta, files })
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(())
}
