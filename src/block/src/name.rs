//! The names of blocks that this program writes.
//!
//! A name follows from what a block holds, so that all replicas of a group give the same name to a window. It must also say
//! whose the block is: a bucket is flat, and two tenants to whom one sender sends the same have blocks of equal bytes. So
//! the external labels, the tenant's among them, are part of the name.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::BlockMeta;

/// Sets these digests apart from all others.
const DOMAIN: &[u8] = b"trireme block name 2\0";

/// The name of a block that ends at `end_ms` and has this digest and these external labels. Without labels it is the name
/// by content alone, which all blocks had before labels were part of it.
pub(crate) fn name_of(end_ms: i64, digest: &[u8; 32], labels: &BTreeMap<String, String>) -> Ulid {
    if labels.is_empty() {
        return by_content(end_ms, digest);
    }
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        // With their lengths, so that no two sets of labels are the same bytes.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(digest);
    by_content(end_ms, &hash.finalize().into())
}

/// True if the block has the name that follows from its digest, in the present form or the one before.
pub(crate) fn is_named_by(meta: &BlockMeta, digest: &[u8; 32]) -> bool {
    let none = BTreeMap::new();
    let labels = meta.external_labels().unwrap_or(&none);
    [labels, &none].iter().any(|labels| meta.ulid == name_of(meta.max_time, digest, labels))
}

/// Times before the epoch count as 0.
fn by_content(end_ms: i64, digest: &[u8; 32]) -> Ulid {
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest[..10]);
    Ulid::from_parts(u64::try_from(end_ms).unwrap_or(0), u128::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
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
}
