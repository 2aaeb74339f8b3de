//! Thanos's section of `meta.json` and its marker files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

use crate::meta::ulid_text;

/// The `thanos` object of a `meta.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThanosMeta {
    /// 1; absent means 1.
    #[serde(default = "one")]
    pub version: u32,
    /// External labels; a block without any is not uploaded.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Resolution.
    #[serde(default)]
    pub downsample: ThanosDownsample,
    /// Which program wrote the block, for example `receive`.
    #[serde(default)]
    pub source: String,
    /// Files of the block.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub files: Vec<ThanosFile>,
    /// Sizes that readers plan their requests with.
    #[serde(default)]
    pub index_stats: ThanosIndexStats,
    /// Everything else, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for ThanosMeta {
    fn default() -> Self {
        Self {
            version: 1,
            labels: BTreeMap::new(),
            downsample: ThanosDownsample::default(),
            source: String::new(),
            files: Vec::new(),
            index_stats: ThanosIndexStats::default(),
            other: Map::new(),
        }
    }
}

/// Resolution of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThanosDownsample {
    /// Milliseconds between samples: 0 for raw, 300,000 or 3,600,000.
    #[serde(default)]
    pub resolution: i64,
}

/// One file of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThanosFile {
    /// Path inside the block, with `/`.
    pub rel_path: String,
    /// Length; absent for `meta.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Digest, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ThanosHash>,
}

/// Digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThanosHash {
    /// `SHA256` is the only one known.
    #[serde(rename = "hashFunc")]
    pub function: String,
    /// The digest in hex.
    pub value: String,
}

impl ThanosHash {
    /// A SHA-256 in hex.
    pub fn sha256(hex: String) -> Self {
        Self {
            function: "SHA256".into(),
            value: hex,
        }
    }
}

/// Sizes in the index and chunk files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThanosIndexStats {
    /// Longest series entry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub series_max_size: u64,
    /// Longest chunk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub chunk_max_size: u64,
}

/// `deletion-mark.json`: the block is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionMark {
    /// The block.
    #[serde(with = "ulid_text")]
    pub id: Ulid,
    /// 1.
    pub version: u32,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked (seconds since the epoch).
    pub deletion_time: i64,
}

/// `no-compact-mark.json`: compaction is to leave the block alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoCompactMark {
    /// The block.
    #[serde(with = "ulid_text")]
    pub id: Ulid,
    /// 1.
    pub version: u32,
    /// More about the reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked (seconds since the epoch).
    pub no_compact_time: i64,
    /// `manual` or one of Thanos's reasons.
    pub reason: String,
}

/// `no-downsample-mark.json`: the block is not to be downsampled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDownsampleMark {
    /// The block.
    #[serde(with = "ulid_text")]
    pub id: Ulid,
    /// 1.
    pub version: u32,
    /// More about the reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked (seconds since the epoch).
    pub no_downsample_time: i64,
    /// `manual` is all that Thanos knows; the details say more.
    pub reason: String,
}

fn one() -> u32 {
    1
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Go writes empty maps and lists as null.
fn null_is_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}
