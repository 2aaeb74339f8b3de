//! Trying a bucket before it is relied upon.

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::BucketError;
use crate::error::at;

/// What a store was seen doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCheck {
    /// It creates an object only if none has its key. Where it does not, replicas that upload one block at once
    /// both send it.
    pub creates_conditionally: bool,
}

const BODY: &[u8] = b"written by a check of the bucket, may be deleted";

/// Creates the object twice, reads and lists it, and deletes it.
pub(crate) async fn write_and_read(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<(), BucketError> {
    // Left by a check that broke off.
    delete(store, path).await?;
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };

    store
        .put_opts(path, PutPayload::from_static(BODY), create)
        .await
        .map_err(at(path))?;

    let read = store
        .get(path)
        .await
        .map_err(at(path))?
        .bytes()
        .await
        .map_err(at(path))?;

    let listed = store
        .list_with_delimiter(None)
        .await
        .map_err(at(&"list of blocks"))?;
    let found = listed.objects.iter().any(|object| object.location == *path);

    delete(store, path).await?;
    if read != BODY {
        return Err(differs(path, "other bytes were read than were written"));
    }

    if !found {
        let what = "it was written and is not in the list of objects";
        return Err(differs(path, what));
    }

    Ok(())
}

fn differs(path: &Path, what: &str) -> BucketError {
    BucketError::Differs {
        place: path.to_string(),
        what: what.to_owned(),
    }
}

async fn delete(store: &dyn ObjectStore, path: &Path) -> Result<(), BucketError> {
    match store.delete(path).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}
