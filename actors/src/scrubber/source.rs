//! Where a block is copied from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use trireme_base::NodeName;
use trireme_bucket::BucketError;
use trireme_wire::blocks::{BlockName, Fetch, FileList, Question};
use trireme_wire::rebuild::Piece;

use super::ScrubberParts;
use super::compare::ask;
use super::error::ScrubError;
use super::plan::Wanted;

const FILES_TIMEOUT: Duration = Duration::from_secs(30);
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Somebody who may have a block.
pub(super) enum Source {
    /// A replica of the group.
    Peer(NodeName),
    /// The object store.
    Bucket(Arc<dyn ObjectStore>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Bucket(_) => f.write_str("the bucket"),
        }
    }
}

impl Source {
    /// Where a block may be had from: peers that list it, then the bucket.
    pub(super) fn of(parts: &ScrubberParts, wanted: &Wanted) -> Vec<Self> {
        let peers = wanted.peers.iter().cloned().map(Self::Peer);
        peers
            .chain(parts.bucket.iter().cloned().map(Self::Bucket))
            .collect()
    }

    /// As a label of metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Bucket(_) => "bucket",
        }
    }

    /// Paths and lengths (bytes) of the block's files.
    pub(super) async fn files(
        &self,
        parts: &ScrubberParts,
        wanted: &Wanted,
    ) -> Result<Vec<(String, u64)>, ScrubError> {
        match self {
            Self::Peer(peer) => {
                let question = Question::Files(name_of(wanted));
                let list: FileList = ask(parts, peer, question, FILES_TIMEOUT).await?;
                Ok(list
                    .files
                    .into_iter()
                    .map(|file| (file.path, file.bytes))
                    .collect())
            }
            Self::Bucket(store) => {
                let store = Arc::clone(store);
                let ulid = wanted.ulid;
                // On the runtime for I/O: the actor's thread only waits.
                let files = parts
                    .runtime
                    .spawn(async move { trireme_bucket::block_files(store.as_ref(), ulid).await });
                files.await.map_err(interrupted)??.ok_or(ScrubError::Nobody)
            }
        }
    }

    /// Bytes of a file from `offset` on, `len` at most and one at least.
    pub(super) async fn piece(
        &self,
        parts: &ScrubberParts,
        wanted: &Wanted,
        path: &str,
        offset: u64,
        len: u32,
    ) -> Result<Bytes, ScrubError> {
        let piece = match self {
            Self::Peer(peer) => {
                let name = Some(name_of(wanted));
                let path = path.to_owned();
                let question = Question::Fetch(Fetch {
                    name,
                    path,
                    offset,
                    bytes_max: len,
                });

                let piece: Piece = ask(parts, peer, question, FETCH_TIMEOUT).await?;
                if !piece.is_whole() {
                    return Err(ScrubError::Unfit(
                        "a piece does not fit its checksum".to_owned(),
                    ));
                }

                piece.data
            }
            Self::Bucket(store) => {
                let store = Arc::clone(store);
                let ulid = wanted.ulid;
                let path = path.to_owned();
                let range = offset..offset + u64::from(len);
                let piece = parts.runtime.spawn(async move {
                    let read = trireme_bucket::read_part(store.as_ref(), ulid, &path, range);
                    tokio::time::timeout(FETCH_TIMEOUT, read).await
                });
                piece.await.map_err(interrupted)?.map_err(|_| {
                    ScrubError::Unfit("the bucket did not answer in time".to_owned())
                })??
            }
        };

        if piece.is_empty() || piece.len() > len as usize {
            return Err(ScrubError::Unfit(format!(
                "a piece of {} bytes came, {len} were asked for",
                piece.len()
            )));
        }

        Ok(piece)
    }
}

fn name_of(wanted: &Wanted) -> BlockName {
    BlockName {
        tenant: wanted.tenant.to_string(),
        ulid: wanted.ulid.to_string(),
    }
}

fn interrupted(error: tokio::task::JoinError) -> ScrubError {
    BucketError::Config(format!("a request was interrupted: {error}")).into()
}
