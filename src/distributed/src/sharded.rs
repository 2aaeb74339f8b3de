//! A shard of the series of a storage.

use trireme_model::Labels;
use trireme_promql::{Cancel, Select, SelectError, SelectRequest, SeriesSet};
use xxhash_rust::xxh64::Xxh64;

/// Labels that functions remove. Series that differ only in these may become equal, which is an error that must be seen:
/// they have to be in one shard.
const NOT_HASHED: [&str; 3] = ["__name__", "__type__", "__unit__"];

/// The shard of `shards` that a series belongs to; the same on every node.
pub(crate) fn shard_of(labels: &Labels, shards: u32) -> u32 {
    let mut hash = Xxh64::new(0);
    for (name, value) in labels.iter().filter(|(name, _)| !NOT_HASHED.contains(name)) {
        hash.update(name.as_bytes());
        hash.update(b"\xff");
        hash.update(value.as_bytes());
        hash.update(b"\xff");
    }

    (hash.digest() % u64::from(shards.max(1))) as u32
}

/// The series of `inner` that belong to one of `shards` shards.
pub struct Sharded<'a> {
    inner: &'a dyn Select,
    shard: u32,
    shards: u32,
}

impl<'a> Sharded<'a> {
    /// Shard `shard` (from 0) of `shards`.
    pub fn new(inner: &'a dyn Select, shard: u32, shards: u32) -> Self {
        Self {
            inner,
            shard,
            shards,
        }
    }
}

impl Select for Sharded<'_> {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let mut set = self.inner.select(request, cancel)?;
        set.series
            .retain(|series| shard_of(series.labels(), self.shards) == self.shard);
        Ok(set)
    }
}
