//! Marks, and removing a block.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::Serialize;
use trireme_block::{DeletionMark, NoCompactMark, NoDownsampleMark};
use ulid::Ulid;

use crate::BucketError;
use crate::error::at;
use crate::layout::{self, DELETION_MARK, NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK};

/// Says in the bucket that a block is to be deleted; `now_s` is in seconds since the epoch.
///
/// A mark that is there stays: its time counts.
pub async fn mark_for_deletion(
    store: &dyn ObjectStore,
    ulid: Ulid,
    details: &str,
    now_s: i64,
) -> Result<(), BucketError> {
    let mark = DeletionMark {
        id: ulid,
        version: 1,
        details: details.into(),
        deletion_time: now_s,
    };
    put_mark(store, layout::object(ulid, DELETION_MARK), &mark).await
}

/// Takes a deletion mark back; that there is none is no error.
pub async fn unmark_deletion(store: &dyn ObjectStore, ulid: Ulid) -> Result<(), BucketError> {
    delete(store, &layout::object(ulid, DELETION_MARK)).await
}

/// Says in the bucket that compaction is to leave a block alone; `now_s` is in seconds since the epoch.
pub async fn mark_no_compact(
    store: &dyn ObjectStore,
    ulid: Ulid,
    reason: &str,
    details: &str,
    now_s: i64,
) -> Result<(), BucketError> {
    let mark = NoCompactMark {
        id: ulid,
        version: 1,
        details: details.into(),
        no_compact_time: now_s,
        reason: reason.into(),
    };
    put_mark(store, layout::object(ulid, NO_COMPACT_MARK), &mark).await
}

/// Says in the bucket that a block is not to be downsampled; `now_s` is in seconds since the epoch.
pub async fn mark_no_downsample(
    store: &dyn ObjectStore,
    ulid: Ulid,
    details: &str,
    now_s: i64,
) -> Result<(), BucketError> {
    let mark = NoDownsampleMark {
        id: ulid,
        version: 1,
        details: details.into(),
        no_downsample_time: now_s,
        reason: "manual".into(),
    };
    put_mark(store, layout::object(ulid, NO_DOWNSAMPLE_MARK), &mark).await
}

async fn put_mark(
    store: &dyn ObjectStore,
    path: Path,
    mark: &impl Serialize,
) -> Result<(), BucketError> {
    if store.head(&path).await.is_ok() {
        return Ok(());
    }

    let json = serde_json::to_vec_pretty(mark).expect("BUG: a mark has only strings and numbers");
    store
        .put(&path, PutPayload::from(json))
        .await
        .map_err(at(&path))?;

    Ok(())
}

/// Removes a block: `meta.json` first, so that nobody takes the rest for a block, the deletion mark last, so that a
/// removal that was broken off is taken up again. Removing what is not there is no error.
pub async fn delete_block(store: &dyn ObjectStore, ulid: Ulid) -> Result<(), BucketError> {
    delete(store, &layout::meta(ulid)).await?;
    let mark = layout::object(ulid, DELETION_MARK);
    let dir = Path::from(ulid.to_string());

    let mut objects = store.list(Some(&dir));
    while let Some(object) = objects.try_next().await.map_err(at(&dir))? {
        if object.location != mark {
            delete(store, &object.location).await?;
        }
    }

    delete(store, &mark).await
}

async fn delete(store: &dyn ObjectStore, path: &Path) -> Result<(), BucketError> {
    match store.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}
