//! One file to one object.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};
use trireme_block::hex;
use ulid::Ulid;

use super::local::LocalFile;
use crate::error::at;
use crate::{BucketError, layout};

/// Files above this go in parts; S3 takes 5 MiB to 5 GiB a part and 10,000 parts.
const PART_BYTES: usize = 16 << 20;
/// Parts under way at once; bounds memory and connections.
const PARTS_AT_ONCE: usize = 4;
/// Most bytes of a file that are in memory while it is sent.
pub(super) const SENDING_BYTES_MAX: u64 = (PART_BYTES * PARTS_AT_ONCE) as u64;

/// Uploads a file, unless the object has its bytes already.
///
/// Nothing but the bytes that were hashed becomes an object: another replica may have published the same block meanwhile,
/// and a local copy that has gone bad since must not take the place of its files.
pub(super) async fn put_file(
    store: &dyn ObjectStore,
    ulid: Ulid,
    file: &LocalFile,
) -> Result<(), BucketError> {
    let path = layout::object(ulid, &file.rel_path);
    if file.size() > PART_BYTES as u64 {
        if has_bytes(store, &path, file).await? {
            return Ok(());
        }
        return put_parts(store, &path, file).await;
    }

    let bytes = file.read(0, file.size()).map_err(at(&path))?;
    if hex(&Sha256::digest(&bytes)) != file.sha256 {
        return Err(has_changed(&path));
    }

    put_new(store, &path, PutPayload::from(bytes), file).await
}

/// Puts an object; one that is there stays if it has the bytes of the file.
async fn put_new(
    store: &dyn ObjectStore,
    path: &Path,
    payload: PutPayload,
    file: &LocalFile,
) -> Result<(), BucketError> {
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };

    match store.put_opts(path, payload.clone(), create).await {
        Ok(_) => Ok(()),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => {
            // Without a meta.json the object is a leftover; other bytes are of no use to anybody.
            if !has_bytes(store, path, file).await? {
                store.put(path, payload).await.map_err(at(path))?;
            }
            Ok(())
        }
        Err(error) => Err(at(path)(error)),
    }
}

async fn put_parts(
    store: &dyn ObjectStore,
    path: &Path,
    file: &LocalFile,
) -> Result<(), BucketError> {
    let mut upload = store.put_multipart(path).await.map_err(at(path))?;
    let sent = match send_parts(&mut *upload, file).await {
        Ok(digest) if digest == file.sha256 => upload.complete().await.map(drop).map_err(at(path)),
        Ok(_) => Err(has_changed(path)),
        Err(error) => Err(at(path)(error)),
    };

    if sent.is_err() {
        // What is not aborted costs money until the bucket's own clean-up rule removes it.
        let _ = upload.abort().await;
    }

    sent
}

fn has_changed(path: &Path) -> BucketError {
    let what = "the local file has other bytes than when it was hashed".to_owned();
    BucketError::Differs {
        place: path.to_string(),
        what,
    }
}

/// Sends all parts; answers the SHA-256 of what was sent.
async fn send_parts(
    upload: &mut dyn MultipartUpload,
    file: &LocalFile,
) -> object_store::Result<String> {
    let mut digest = Sha256::new();

    let mut under_way = futures::stream::FuturesUnordered::new();
    for start in (0..file.size()).step_by(PART_BYTES) {
        let end = (start + PART_BYTES as u64).min(file.size());
        let bytes = file.read(start, end)?;
        digest.update(&bytes);
        under_way.push(upload.put_part(PutPayload::from(bytes)));
        if under_way.len() >= PARTS_AT_ONCE {
            under_way.try_next().await?;
        }
    }

    while under_way.try_next().await?.is_some() {}
    Ok(hex(&digest.finalize()))
}

/// True if the object exists with the size and digest of the file.
async fn has_bytes(
    store: &dyn ObjectStore,
    path: &Path,
    file: &LocalFile,
) -> Result<bool, BucketError> {
    match store.head(path).await {
        Ok(meta) if meta.size != file.size() => Ok(false),
        Ok(_) => Ok(digest_of(store, path).await?.1 == file.sha256),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

/// Size and SHA-256 (hex) of an object, read as a stream.
pub(super) async fn digest_of(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<(u64, String), BucketError> {
    let mut stream = store.get(path).await.map_err(at(path))?.into_stream();
    let mut digest = Sha256::new();

    let mut size = 0;
    while let Some(piece) = stream.try_next().await.map_err(at(path))? {
        digest.update(&piece);
        size += piece.len() as u64;
    }

    Ok((size, hex(&digest.finalize())))
}
