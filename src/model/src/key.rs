//! The series key.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// 128-bit hash of a tenant and a label set in wire form: the identity of a series.
///
/// 128 bits decide alone; at a billion series the chance that two collide is below 10^-20, so bytes are not compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SeriesKey(pub u128);

impl SeriesKey {
    /// Hashes label bytes; `seed` is [`crate::Tenant::seed`].
    #[inline]
    pub fn of(seed: u64, label_bytes: &[u8]) -> Self {
        Self(xxh3_128_with_seed(label_bytes, seed))
    }

    /// Where the series stands on the circle by which groups share the series; does not depend on its shard.
    #[inline]
    pub fn place(self) -> u64 {
        self.0 as u64
    }

    /// The shard of `0..shards` that owns the series. Every replica of a group uses the same number of shards.
    #[inline]
    pub fn shard(self, shards: u16) -> u16 {
        let high = (self.0 >> 64) as u64;
        ((u128::from(high) * u128::from(shards)) >> 64) as u16
    }
}
