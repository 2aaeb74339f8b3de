//! Lengths of the files of blocks.

use std::collections::HashMap;

use object_store::ObjectStore;
use parking_lot::Mutex;
use trireme_block::{BlockError, BlockMeta, CHUNKS_DIR, INDEX_FILE, segment_name};
use ulid::Ulid;

use crate::{BucketError, block_files};

/// Lengths (bytes) of a block's index and chunk files.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) index: u64,
    pub(super) segments: Vec<u64>,
}

/// Lengths that were asked for because the metas of older writers do not say them.
#[derive(Default)]
pub(super) struct Layouts {
    known: Mutex<HashMap<Ulid, Layout>>,
}

impl Layouts {
    /// What the meta says, or what is known from before.
    pub(super) fn of(&self, meta: &BlockMeta) -> Option<Layout> {
        let files = meta.thanos.iter().flat_map(|thanos| &thanos.files);
        let sizes = files
            .filter_map(|file| Some((file.rel_path.as_str(), file.size_bytes?)))
            .collect();
        complete(&sizes).or_else(|| self.known.lock().get(&meta.ulid).cloned())
    }

    /// Lists the files of a block.
    pub(super) async fn fetch(
        &self,
        store: &dyn ObjectStore,
        ulid: Ulid,
    ) -> Result<Layout, BucketError> {
        let files = block_files(store, ulid)
            .await?
            .ok_or_else(|| Self::gone(ulid))?;
        let sizes = files
            .iter()
            .map(|(path, len)| (path.as_str(), *len))
            .collect();
        let layout = complete(&sizes).ok_or_else(|| Self::gone(ulid))?;

        self.known.lock().insert(ulid, layout.clone());
        Ok(layout)
    }

    /// The error for a block that has no index or no chunk file any more.
    pub(super) fn gone(ulid: Ulid) -> BucketError {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "its files are not in the bucket",
        );
        BlockError::Io {
            place: ulid.to_string(),
            source,
        }
        .into()
    }

    pub(super) fn retain(&self, keep: &dyn Fn(Ulid) -> bool) {
        self.known.lock().retain(|ulid, _| keep(*ulid));
    }
}

/// The lengths, if there is an index and at least one chunk file, and none is missing between two.
fn complete(sizes: &HashMap<&str, u64>) -> Option<Layout> {
    let index = *sizes.get(INDEX_FILE)?;
    let count = sizes
        .keys()
        .filter(|path| path.starts_with(CHUNKS_DIR))
        .count();
    let segments = (0..count)
        .map(|at: usize| {
            sizes
                .get(format!("{CHUNKS_DIR}/{}", segment_name(at)).as_str())
                .copied()
        })
        .collect::<Option<Vec<u64>>>()?;

    (count > 0).then_some(Layout { index, segments })
}
