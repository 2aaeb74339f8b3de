//! Uploading a block, once.

mod copy;
mod local;

pub use local::HashedBlock;

use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use trireme_block::{BlockMeta, META_FILE, ThanosFile};

use crate::error::at;
use crate::fetch::block_files;
use crate::list::fetch_meta;
use crate::{BucketError, layout};
use copy::{digest_of, put_file};

/// What [`publish`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// This call made the block appear in the bucket.
    Uploaded,
    /// The same block was there.
    AlreadyThere,
    /// A block that was compacted from it was there.
    Compacted,
}

/// How the bucket's copy of a block compares with ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// There is none.
    Absent,
    /// Its meta lists the same files with the same sizes and digests.
    Same,
    /// It is another block under the same name; says how.
    Different(String),
}

/// Compares sizes and digests in the bucket's meta with ours. One small request.
pub async fn compare(
    store: &dyn ObjectStore,
    block: &HashedBlock,
) -> Result<CopyState, BucketError> {
    Ok(match fetch_meta(store, block.meta().ulid).await? {
        None => CopyState::Absent,
        Some(theirs) => match difference(block.meta(), &theirs) {
            None => CopyState::Same,
            Some(what) => CopyState::Different(what),
        },
    })
}

/// Uploads a block: chunk files, index, and `meta.json` last, which makes the block exist.
///
/// Every object is read back and its SHA-256 compared before `meta.json` is written, which is read back too. Calling
/// it again after any failure goes on where it stopped: objects whose bytes are right already are not sent again. Two
/// nodes may do it at once, because they send the same bytes. Dropping the future leaves objects without a
/// `meta.json`, which nobody takes for a block.
pub async fn publish(
    store: &dyn ObjectStore,
    block: &HashedBlock,
) -> Result<Published, BucketError> {
    let ulid = block.meta().ulid;
    match compare(store, block).await? {
        CopyState::Same => return Ok(Published::AlreadyThere),
        CopyState::Different(what) => return Err(differs(block, what)),
        CopyState::Absent => {}
    }

    for file in block.files() {
        put_file(store, ulid, file).await?;
    }

    for file in block.files() {
        let path = layout::object(ulid, &file.rel_path);
        let (size, digest) = digest_of(store, &path).await?;
        if (size, digest.as_str()) != (file.size(), file.sha256.as_str()) {
            let what = format!("{size} bytes with SHA-256 {digest} were read back");
            return Err(BucketError::Differs {
                place: path.to_string(),
                what,
            });
        }
    }

    put_meta(store, block).await
}

/// Checks that a block which stands for one of ours is whole: its files are there, as long as its meta says.
pub async fn check_holder(store: &dyn ObjectStore, holder: &BlockMeta) -> Result<(), BucketError> {
    let there = block_files(store, holder.ulid).await?.unwrap_or_default();
    let listed = holder.thanos.iter().flat_map(|thanos| &thanos.files);
    let mut sizes = listed.filter_map(|file| Some((&file.rel_path, file.size_bytes?)));
    let lacking =
        sizes.find(|(path, size)| !there.iter().any(|(name, len)| name == *path && len == size));
    let what = match lacking {
        Some((path, _)) => format!("{path} is missing or has another length"),
        None if there.is_empty() => "it is not whole".to_owned(),
        None => return Ok(()),
    };

    Err(BucketError::Differs {
        place: holder.ulid.to_string(),
        what,
    })
}

/// Reads all files of a block in the bucket and holds them against the digests that its meta lists.
///
/// A block without digests, as others write them, is an error: nothing says what its bytes should be.
pub async fn verify_copy(store: &dyn ObjectStore, meta: &BlockMeta) -> Result<(), BucketError> {
    let listed = meta.thanos.iter().flat_map(|thanos| &thanos.files);
    let files: Vec<_> = listed.filter(|file| file.rel_path != META_FILE).collect();
    if files.is_empty() {
        let what = "its meta lists no files".to_owned();
        return Err(differs_at(&meta.ulid, what));
    }

    for file in files {
        let path = layout::object(meta.ulid, &file.rel_path);
        let (Some(size), Some(hash)) = (file.size_bytes, &file.hash) else {
            let what = "its meta does not say what the file should be".to_owned();
            return Err(differs_at(&path, what));
        };

        let (there, digest) = digest_of(store, &path).await?;
        if (there, &digest) != (size, &hash.value) {
            let what = format!("{there} bytes with SHA-256 {digest} were read back");
            return Err(differs_at(&path, what));
        }
    }

    Ok(())
}

fn differs_at(place: &impl ToString, what: String) -> BucketError {
    BucketError::Differs {
        place: place.to_string(),
        what,
    }
}

async fn put_meta(store: &dyn ObjectStore, block: &HashedBlock) -> Result<Published, BucketError> {
    let path = layout::meta(block.meta().ulid);
    let payload = PutPayload::from(block.meta().to_json());
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };

    match store.put_opts(&path, payload, create).await {
        // A store that knows no conditions may have taken it over another one: what counts is what is there now.
        Ok(_) => match compare(store, block).await? {
            CopyState::Same => Ok(Published::Uploaded),
            CopyState::Different(what) => Err(differs(block, what)),
            CopyState::Absent => Err(differs(block, "it was put and is not there".to_owned())),
        },
        // Another node was faster; or a retry inside the client met its own first try.
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => match compare(store, block).await? {
            CopyState::Same => Ok(Published::AlreadyThere),
            CopyState::Different(what) => Err(differs(block, what)),
            CopyState::Absent => {
                let what = "it was there and then it was not".to_owned();
                Err(differs(block, what))
            }
        },
        Err(error) => Err(at(&path)(error)),
    }
}

fn differs(block: &HashedBlock, what: String) -> BucketError {
    BucketError::Differs {
        place: layout::meta(block.meta().ulid).to_string(),
        what,
    }
}

/// Says how two metas of one name describe different content.
fn difference(ours: &BlockMeta, theirs: &BlockMeta) -> Option<String> {
    if ours.range() != theirs.range() || ours.external_labels() != theirs.external_labels() {
        return Some("time range or external labels".into());
    }

    let ours = files_of(ours);
    let theirs = files_of(theirs);
    for file in ours.iter().filter(|f| f.rel_path != META_FILE) {
        match theirs.iter().find(|f| f.rel_path == file.rel_path) {
            None => return Some(format!("{} is not listed", file.rel_path)),
            Some(their) if their.size_bytes != file.size_bytes => {
                return Some(format!("size of {}", file.rel_path));
            }
            // Thanos lists digests only if told to.
            Some(their) if their.hash.is_some() && their.hash != file.hash => {
                return Some(format!("digest of {}", file.rel_path));
            }
            Some(_) => {}
        }
    }

    (theirs.len() > ours.len()).then(|| "more files".to_owned())
}

fn files_of(meta: &BlockMeta) -> Vec<ThanosFile> {
    meta.thanos
        .as_ref()
        .map(|t| t.files.clone())
        .unwrap_or_default()
}
