//! `meta.json`: what a block is, in Prometheus's fields and Thanos's section.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

use crate::files;
use crate::{BlockError, ThanosMeta};

/// Name of the file.
pub const META_FILE: &str = "meta.json";

/// The most bytes of a `meta.json` that are read.
const META_BYTES_MAX: u64 = 64 << 20;

/// Content of `meta.json`. Fields that this program does not know are kept and written back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Identity and directory name.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// Start of the time range (ms, inclusive).
    pub min_time: i64,
    /// End of the time range (ms, exclusive).
    pub max_time: i64,
    /// Counts.
    #[serde(default)]
    pub stats: BlockStats,
    /// How it came to be.
    #[serde(default)]
    pub compaction: BlockCompaction,
    /// Always 1.
    pub version: u32,
    /// Thanos's section; blocks in a bucket have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thanos: Option<ThanosMeta>,
    /// Our own section: present in blocks that this program wrote and nobody rewrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trireme: Option<TriremeMeta>,
    /// Fields of other programs.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Counts in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of all kinds.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Float samples; older writers leave this and the next one out.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Histogram samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted intervals.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// How a block came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockCompaction {
    /// 1 for a block cut from a head, more for compacted ones.
    pub level: u32,
    /// All level 1 blocks that went into it, itself included for level 1.
    #[serde(with = "ulid_texts", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    /// The blocks it was made from directly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockParent>,
    /// True if it has no samples left.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// True if compacting it failed.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Notes such as `from-out-of-order`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A block that another was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockParent {
    /// Identity.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// Start of its time range (ms, inclusive).
    pub min_time: i64,
    /// End of its time range (ms, exclusive).
    pub max_time: i64,
}

/// What only this program writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriremeMeta {
    /// SHA-256, in hex, over the bytes of all chunk files in order and then of the index.
    /// Its first ten bytes are the random part of the ULID.
    pub digest: String,
    /// CRC32C over the meta as it is written with 0 here.
    #[serde(default)]
    pub crc: u32,
}

impl BlockMeta {
    /// Parses and checks `meta.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let meta: Self = serde_json::from_slice(bytes)
            .map_err(|e| BlockError::corrupt(META_FILE, e.to_string()))?;
        if meta.version != 1 {
            let what = format!("version {}", meta.version);
            return Err(BlockError::Unsupported {
                place: META_FILE.into(),
                what,
            });
        }

        if meta.min_time > meta.max_time {
            return Err(BlockError::corrupt(META_FILE, "minTime is after maxTime"));
        }

        Ok(meta)
    }

    /// Reads `meta.json` of a block directory; the directory's name must be the ULID in it.
    pub fn read(dir: &Path) -> Result<Self, BlockError> {
        let path = dir.join(META_FILE);
        let bytes = crate::files::read_capped(&path, META_BYTES_MAX)?;
        let meta = Self::parse(&bytes)?;
        let named = dir
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| Ulid::from_string(n).ok());
        if named.is_some_and(|ulid| ulid != meta.ulid) {
            let what = format!("ulid {} is not the name of its directory", meta.ulid);
            return Err(BlockError::corrupt(path.display().to_string(), what));
        }

        Ok(meta)
    }

    /// The same meta with [`TriremeMeta::crc`] brought up to date.
    pub fn sealed(mut self) -> Self {
        if let Some(own) = &mut self.trireme {
            own.crc = 0;
        }

        let crc = crc32c::crc32c(&self.plain_json());
        if let Some(own) = &mut self.trireme {
            own.crc = crc;
        }

        self
    }

    /// The bytes of `meta.json`, sealed.
    pub fn to_json(&self) -> Vec<u8> {
        self.clone().sealed().plain_json()
    }

    fn plain_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        self.serialize(&mut serializer)
            .expect("BUG: a meta has only string keys and finite numbers");
        out.push(b'\n');
        out
    }

    /// False if our own checksum is there and does not fit the rest.
    pub fn crc_matches(&self) -> bool {
        self.trireme.is_none() || self.clone().sealed().trireme == self.trireme
    }

    /// Writes `meta.json` into `dir` through a temporary file, all fsynced.
    pub fn write(&self, dir: &Path) -> Result<(), BlockError> {
        files::replace(&dir.join(META_FILE), &self.to_json())
    }

    /// The time range, end exclusive (ms).
    pub fn range(&self) -> Range<i64> {
        self.min_time..self.max_time
    }

    /// True if the block may have samples in `[start, end]` (ms, both inclusive).
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        self.min_time <= end && start < self.max_time
    }

    /// External labels of Thanos's section.
    pub fn external_labels(&self) -> Option<&BTreeMap<String, String>> {
        self.thanos.as_ref().map(|t| &t.labels)
    }

    /// Resolution (ms) of a downsampled block, 0 for raw samples.
    pub fn resolution_ms(&self) -> i64 {
        self.thanos.as_ref().map_or(0, |t| t.downsample.resolution)
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !b
}

/// ULIDs as their 26 characters.
pub(crate) mod ulid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use ulid::Ulid;

    pub(crate) fn serialize<S: Serializer>(ulid: &Ulid, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&ulid.to_string())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Ulid, D::Error> {
        let text = String::deserialize(d)?;
        Ulid::from_string(&text)
            .map_err(|e| serde::de::Error::custom(format!("bad ulid {text:?}: {e}")))
    }
}

mod ulid_texts {
    use serde::{Deserialize, Deserializer, Serializer};
    use ulid::Ulid;

    pub(super) fn serialize<S: Serializer>(ulids: &[Ulid], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(ulids.iter().map(Ulid::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Ulid>, D::Error> {
        // Go writes an empty list as null.
        let texts = Option::<Vec<String>>::deserialize(d)?.unwrap_or_default();
        texts
            .into_iter()
            .map(|t: String| {
                Ulid::from_string(&t).map_err(|e| serde::de::Error::custom(format!("{t:?}: {e}")))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Prometheus 2.42 and Thanos write it.
    const FOREIGN: &str = r#"{
        "ulid": "01GMRJQ4Y2T4K4T2Z2X5V8J9ZC", "minTime": 1671000000000, "maxTime": 1671007200000,
        "stats": {"numSamples": 10, "numSeries": 2, "numChunks": 2},
        "compaction": {"level": 1, "sources": ["01GMRJQ4Y2T4K4T2Z2X5V8J9ZC"], "hints": ["from-out-of-order"]},
        "version": 1, "future": {"a": [1, 2]},
        "thanos": {"version": 1, "labels": {"tenant_id": "a"}, "downsample": {"resolution": 0}, "source": "receive",
            "segment_files": ["000001"], "files": [{"rel_path": "index", "size_bytes": 7}, {"rel_path": "meta.json"}],
            "index_stats": {"series_max_size": 64}, "rewrites": null, "upload_time": "0001-01-01T00:00:00Z"}}"#;

    #[test]
    fn reads_foreign_metas_and_keeps_what_it_does_not_know() {
        let meta = BlockMeta::parse(FOREIGN.as_bytes()).expect("valid");
        assert_eq!(
            meta.external_labels()
                .and_then(|l| l.get("tenant_id"))
                .map(String::as_str),
            Some("a")
        );

        let again = BlockMeta::parse(&meta.to_json()).expect("own output");
        assert_eq!(again, meta);
        assert_eq!(again.other["future"]["a"][1], 2);
        assert_eq!(
            again.thanos.expect("kept").other["upload_time"],
            "0001-01-01T00:00:00Z"
        );
    }

    #[test]
    fn refuses_other_versions_and_broken_text() {
        let other = FOREIGN.replace(r#""version": 1, "future""#, r#""version": 2, "future""#);
        assert!(matches!(
            BlockMeta::parse(other.as_bytes()),
            Err(BlockError::Unsupported { .. })
        ));

        for len in 0..FOREIGN.len() {
            assert!(BlockMeta::parse(&FOREIGN.as_bytes()[..len]).is_err());
        }
    }

    #[test]
    fn own_checksum_notices_a_changed_number() {
        let mut meta = BlockMeta::parse(FOREIGN.as_bytes()).expect("valid");
        meta.trireme = Some(TriremeMeta {
            digest: "00".into(),
            crc: 0,
        });

        let text = String::from_utf8(meta.to_json()).expect("JSON is text");
        assert!(
            BlockMeta::parse(text.as_bytes())
                .expect("own output")
                .crc_matches()
        );

        let changed = text.replace("1671000000000", "1671000000001");
        assert!(
            !BlockMeta::parse(changed.as_bytes())
                .expect("still JSON")
                .crc_matches()
        );
    }
}
