//! The names of blocks that this program writes.
//!
//! A name follows from what a block holds, so that all replicas of a group give the same name to a window. It must also say
//! whose the block is: a bucket is flat, and two tenants to whom one sender sends the same have blocks of equal bytes. So
//! the external labels, the tenant's among them, are part of the name.
//!
//! Of a downsampled block, so are its resolution and the level 1 blocks that it goes back to, by which it is chosen: windows of
//! five minutes and of an hour may be the same bytes where there is a sample an hour, and so may windows of blocks of which one
//! has only stale markers more.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::BlockMeta;

/// Sets these digests apart from all others.
const DOMAIN: &[u8] = b"trireme block name 2\0";
/// Sets those of downsampled blocks apart.
const DOWNSAMPLED: &[u8] = b"trireme downsampled block name 1\0";

/// The name of a raw block that ends at `end_ms` and has this digest and these external labels. Without labels it is the name
/// by content alone, which all blocks had before labels were part of it.
pub(crate) fn name_of(end_ms: i64, digest: &[u8; 32], labels: &BTreeMap<String, String>) -> Ulid {
    if labels.is_empty() {
        return by_content(end_ms, digest);
    }

    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    add_labels(&mut hash, labels);
    hash.update(digest);

    by_content(end_ms, &hash.finalize().into())
}

/// The name of a downsampled block with windows of `resolution_ms` that goes back to these level 1 blocks.
pub(crate) fn downsampled_name_of(
    end_ms: i64,
    digest: &[u8; 32],
    labels: &BTreeMap<String, String>,
    (resolution_ms, sources): (i64, &[Ulid]),
) -> Ulid {
    let mut hash = Sha256::new();
    hash.update(DOWNSAMPLED);
    hash.update(resolution_ms.to_be_bytes());
    hash.update((labels.len() as u64).to_be_bytes());
    add_labels(&mut hash, labels);

    let mut sources = sources.to_vec();
    sources.sort_unstable();
    hash.update((sources.len() as u64).to_be_bytes());
    sources
        .iter()
        .for_each(|source| hash.update(source.to_bytes()));
    hash.update(digest);

    by_content(end_ms, &hash.finalize().into())
}

/// With their lengths, so that no two sets of labels are the same bytes.
fn add_labels(hash: &mut Sha256, labels: &BTreeMap<String, String>) {
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
}

/// True if the block has the name that follows from its digest, in the present form or one of those before.
pub(crate) fn is_named_by(meta: &BlockMeta, digest: &[u8; 32]) -> bool {
    let none = BTreeMap::new();
    let labels = meta.external_labels().unwrap_or(&none);
    let mut forms = [labels, &none].into_iter();
    if forms.any(|labels| meta.ulid == name_of(meta.max_time, digest, labels)) {
        return true;
    }

    let goes_back = (meta.resolution_ms(), meta.compaction.sources.as_slice());
    meta.resolution_ms() > 0
        && meta.ulid == downsampled_name_of(meta.max_time, digest, labels, goes_back)
}

/// Times before the epoch count as 0.
fn by_content(end_ms: i64, digest: &[u8; 32]) -> Ulid {
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest[..10]);
    Ulid::from_parts(
        u64::try_from(end_ms).unwrap_or(0),
        u128::from_be_bytes(random),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_differ_by_tenant_labels_content_and_time() {
        let named = |end, byte, pairs: &[(&str, &str)]| name_of(end, &[byte; 32], &labels(pairs));
        let one = named(7_200_000, 1, &[("tenant_id", "a")]);
        assert_eq!(one, named(7_200_000, 1, &[("tenant_id", "a")]));

        let others = [
            named(7_200_000, 1, &[("tenant_id", "b")]),
            named(7_200_000, 1, &[("tenant_id", "a"), ("group", "g1")]),
            named(7_200_000, 2, &[("tenant_id", "a")]),
            named(14_400_000, 1, &[("tenant_id", "a")]),
            named(7_200_000, 1, &[]),
            // The same letters, cut in another place.
            named(7_200_000, 1, &[("tenant_i", "da")]),
        ];

        assert!(others.iter().all(|other| *other != one));
        assert_eq!(one.timestamp_ms(), 7_200_000);
    }

    #[test]
    fn names_of_downsampled_blocks_differ_by_what_they_stand_for() {
        let sources = [1, 2, 3].map(|n| Ulid::from_parts(n, 0));
        let named = |resolution, sources: &[Ulid], pairs: &[(&str, &str)]| {
            downsampled_name_of(7_200_000, &[1; 32], &labels(pairs), (resolution, sources))
        };
        let one = named(300_000, &sources, &[("tenant_id", "a")]);
        let [a, b, c] = sources;

        assert_eq!(one, named(300_000, &[c, a, b], &[("tenant_id", "a")]));
        let others = [
            named(3_600_000, &sources, &[("tenant_id", "a")]),
            named(300_000, &sources[..2], &[("tenant_id", "a")]),
            named(300_000, &sources, &[("tenant_id", "b")]),
            named(300_000, &sources, &[]),
            name_of(7_200_000, &[1; 32], &labels(&[("tenant_id", "a")])),
        ];

        assert!(others.iter().all(|other| *other != one));
        assert_eq!(one.timestamp_ms(), 7_200_000);
    }
}
