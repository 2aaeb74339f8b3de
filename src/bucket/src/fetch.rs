//! Reading a block back, to copy it to a node that lost its own.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use trireme_block::{META_FILE, is_block_file};
use ulid::Ulid;

use crate::error::at;
use crate::{BucketError, layout};

/// Paths inside the block and lengths (bytes) of its files, `meta.json` last; `None` if there is no such block, or not
/// all of it.
pub async fn block_files(
    store: &dyn ObjectStore,
    ulid: Ulid,
) -> Result<Option<Vec<(String, u64)>>, BucketError> {
    let folder = object_store::path::Path::from(ulid.to_string());
    let mut objects = store.list(Some(&folder));

    let mut files = Vec::new();
    while let Some(object) = objects.try_next().await.map_err(at(&folder))? {
        let inside = object
            .location
            .as_ref()
            .split_once('/')
            .map(|(_, inside)| inside.to_owned());
        files.extend(
            inside
                .filter(|name| is_block_file(name))
                .map(|name| (name, object.size)),
        );
    }

    files.sort_unstable_by_key(|(name, _)| (name == META_FILE, name.clone()));
    Ok(files
        .last()
        .is_some_and(|(name, _)| name == META_FILE)
        .then_some(files))
}

/// The bytes of `range` of a file of a block; fewer where the file ends.
pub async fn read_part(
    store: &dyn ObjectStore,
    ulid: Ulid,
    path: &str,
    range: Range<u64>,
) -> Result<Bytes, BucketError> {
    let path = layout::object(ulid, path);
    store.get_range(&path, range).await.map_err(at(&path))
}

#[cfg(test)]
mod tests {
    use object_store::PutPayload;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_block_without_meta_is_none() {
        let store = InMemory::new();
        let ulid = Ulid::from_parts(7, 7);
        let put = async |name: &str, bytes: &'static [u8]| {
            let path = layout::object(ulid, name);
            store
                .put(&path, PutPayload::from_static(bytes))
                .await
                .expect("put");
        };

        put("index", b"12345").await;
        put("chunks/000001", b"123").await;
        put("no-compact-mark.json", b"{}").await;
        assert_eq!(block_files(&store, ulid).await.expect("listed"), None);
        put("meta.json", b"{}").await;

        let files = [
            ("chunks/000001".to_owned(), 3),
            ("index".to_owned(), 5),
            ("meta.json".to_owned(), 2),
        ];

        assert_eq!(
            block_files(&store, ulid).await.expect("listed"),
            Some(files.to_vec())
        );
        assert_eq!(
            block_files(&store, Ulid::from_parts(8, 8))
                .await
                .expect("listed"),
            None
        );

        assert_eq!(
            read_part(&store, ulid, "index", 1..3).await.expect("read"),
            "23"
        );
    }
}
