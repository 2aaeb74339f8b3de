//! Which blocks the bucket has.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use trireme_base::ErrorKind;
use trireme_block::{BlockError, BlockMeta, DeletionMark, NoCompactMark, NoDownsampleMark};
use ulid::Ulid;

use crate::error::at;
use crate::layout::{self, DELETION_MARK, NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK};
use crate::reading::{Reading, covers};
use crate::{BucketError, LeftOut, ReadBlock, ReadRules};

/// The most bytes of a meta or mark that are read.
const SMALL_OBJECT_BYTES_MAX: u64 = 64 << 20;

/// All directories whose names are ULIDs, sorted; blocks without `meta.json` included.
pub async fn list_blocks(store: &dyn ObjectStore) -> Result<Vec<Ulid>, BucketError> {
    let root = store
        .list_with_delimiter(None)
        .await
        .map_err(at(&"list of blocks"))?;
    let mut ulids: Vec<Ulid> = root
        .common_prefixes
        .iter()
        .filter_map(layout::ulid_of)
        .collect();

    ulids.sort_unstable();
    Ok(ulids)
}

/// Reads a block's meta; none if the block does not exist or is not complete.
pub async fn fetch_meta(
    store: &dyn ObjectStore,
    ulid: Ulid,
) -> Result<Option<BlockMeta>, BucketError> {
    let path = layout::meta(ulid);
    let Some(bytes) = get_small(store, &path).await? else {
        return Ok(None);
    };

    let meta = BlockMeta::parse(&bytes)?;
    if meta.ulid != ulid {
        let what = format!("names block {}", meta.ulid);
        return Err(BlockError::Corrupt {
            place: path.to_string(),
            what,
        }
        .into());
    }

    Ok(Some(meta))
}

/// Reads a small object; none if there is none.
pub(crate) async fn get_small(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<Bytes>, BucketError> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };

    if found.meta.size > SMALL_OBJECT_BYTES_MAX {
        let what = format!("has {} bytes", found.meta.size);
        return Err(BlockError::Corrupt {
            place: path.to_string(),
            what,
        }
        .into());
    }

    found.bytes().await.map(Some).map_err(at(path))
}

async fn get_mark<T: DeserializeOwned>(
    store: &dyn ObjectStore,
    ulid: Ulid,
    name: &str,
) -> Result<Option<T>, BucketError> {
    let path = layout::object(ulid, name);
    let Some(bytes) = get_small(store, &path).await? else {
        return Ok(None);
    };

    Ok(Some(serde_json::from_slice(&bytes).map_err(
        |e: serde_json::Error| BlockError::Corrupt {
            place: path.to_string(),
            what: e.to_string(),
        },
    )?))
}

/// Reads the mark that a block is to be deleted; none if there is none.
pub async fn fetch_deletion_mark(
    store: &dyn ObjectStore,
    ulid: Ulid,
) -> Result<Option<DeletionMark>, BucketError> {
    get_mark(store, ulid, DELETION_MARK).await
}

/// A block in the bucket.
#[derive(Clone, Debug)]
pub struct BucketBlock {
    /// Its meta.
    pub meta: BlockMeta,
    /// Set if it is to be deleted; readers leave it out after a while.
    pub deletion: Option<DeletionMark>,
    /// Set if it is not to be compacted.
    pub no_compact: Option<NoCompactMark>,
    /// Set if it is not to be downsampled.
    pub no_downsample: Option<NoDownsampleMark>,
}

impl BucketBlock {
    /// Without marks.
    pub fn new(meta: BlockMeta) -> Self {
        Self {
            meta,
            deletion: None,
            no_compact: None,
            no_downsample: None,
        }
    }
}

/// What of the bucket is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The names of blocks: one entry for each. A mark of a block is not seen, nor a meta that is gone while other
    /// objects of its block are left.
    Names,
    /// All objects: several for each block.
    Objects,
}

/// What a refresh found.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Blocks that are new since the last one.
    pub added: Vec<Ulid>,
    /// Blocks that are gone.
    pub removed: Vec<Ulid>,
    /// Directories without `meta.json`: uploads under way or broken off.
    pub partial: Vec<Ulid>,
    /// Blocks whose meta could not be read, with the reason; they are tried again next time.
    pub failed: Vec<(Ulid, BucketError)>,
    /// Blocks with a mark that could not be read, with the reason; the block is there nevertheless.
    pub bad_marks: Vec<(Ulid, BucketError)>,
}

impl Refreshed {
    /// Notes what was read of a block, and puts it among the `blocks`; `known` are those of the last time.
    fn note(
        &mut self,
        ulid: Ulid,
        result: Result<Option<Loaded>, BucketError>,
        known: &BTreeMap<Ulid, Arc<BucketBlock>>,
        blocks: &mut BTreeMap<Ulid, Arc<BucketBlock>>,
    ) {
        match result {
            Ok(Some((block, bad_marks))) => {
                self.bad_marks
                    .extend(bad_marks.into_iter().map(|error| (ulid, error)));
                if !known.contains_key(&ulid) {
                    self.added.push(ulid);
                }
                blocks.insert(ulid, block);
            }
            Ok(None) => self.partial.push(ulid),
            Err(error) => {
                // A block that was readable stays usable through a hiccup of the store.
                if let Some(old) = known.get(&ulid) {
                    blocks.insert(ulid, old.clone());
                }
                self.failed.push((ulid, error));
            }
        }
    }
}

/// The blocks of the bucket as of the last refresh.
#[derive(Default)]
pub struct MetaCache {
    rules: ReadRules,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    blocks: BTreeMap<Ulid, Arc<BucketBlock>>,
    reading: Reading,
    generation: u64,
}

impl MetaCache {
    /// Knows no block yet; `rules` say how blocks are read.
    pub fn new(rules: ReadRules) -> Self {
        Self {
            rules,
            known: RwLock::default(),
        }
    }

    /// Metas and marks under way at once.
    const REQUESTS_AT_ONCE: usize = 128;

    /// Lists the bucket, reads metas of new blocks and, if the listing shows them, the marks of all blocks.
    ///
    /// Metas never change once written, so a refresh costs one listing and a request per new block or mark. An error
    /// of the listing leaves the cache as it was.
    pub async fn refresh(
        &self,
        store: &dyn ObjectStore,
        listing: Listing,
    ) -> Result<Refreshed, BucketError> {
        let known = self.known.read().blocks.clone();
        let listed = match listing {
            Listing::Objects => list_with_marks(store).await?,
            Listing::Names => list_names(store, &known).await?,
        };
        let mut refreshed = Refreshed::default();
        let work = listed.into_iter().map(|(ulid, seen)| {
            let old = known.get(&ulid).cloned();
            async move { (ulid, load(store, ulid, seen, old).await) }
        });
        let mut blocks = BTreeMap::new();

        let mut loaded = futures::stream::iter(work).buffer_unordered(Self::REQUESTS_AT_ONCE);
        while let Some((ulid, result)) = loaded.next().await {
            refreshed.note(ulid, result, &known, &mut blocks);
        }

        refreshed.removed = known
            .keys()
            .filter(|ulid| !blocks.contains_key(ulid))
            .copied()
            .collect();

        refreshed.added.sort_unstable();
        refreshed.partial.sort_unstable();
        self.replace(blocks);
        Ok(refreshed)
    }

    fn replace(&self, blocks: BTreeMap<Ulid, Arc<BucketBlock>>) {
        let reading = Reading::of(&blocks, &self.rules);
        let mut known = self.known.write();
        let generation = known.generation + 1;

        *known = Known {
            blocks,
            reading,
            generation,
        };
    }

    /// All blocks by ULID.
    pub fn blocks(&self) -> Vec<Arc<BucketBlock>> {
        self.known.read().blocks.values().cloned().collect()
    }

    /// Blocks of a tenant to read for samples in `[start, end]` (ms, inclusive), by ULID.
    pub fn select(&self, tenant: &str, start: i64, end: i64) -> Vec<Arc<ReadBlock>> {
        let known = self.known.read();
        let raw = known
            .reading
            .by_tenant
            .get(tenant)
            .into_iter()
            .flat_map(|of| &of.raw);

        raw.filter(|read| read.block.meta.overlaps(start, end))
            .cloned()
            .collect()
    }

    /// Downsampled blocks of a tenant that may have samples in `[start, end]` (ms, inclusive), by ULID.
    pub fn downsampled(&self, tenant: &str, start: i64, end: i64) -> Vec<Arc<ReadBlock>> {
        let known = self.known.read();
        let downsampled = known
            .reading
            .by_tenant
            .get(tenant)
            .into_iter()
            .flat_map(|of| &of.downsampled);

        downsampled
            .filter(|read| read.block.meta.overlaps(start, end))
            .cloned()
            .collect()
    }

    /// True if a tenant has blocks with samples in `[start, end]` (ms, inclusive).
    pub fn has(&self, tenant: &str, start: i64, end: i64) -> bool {
        let known = self.known.read();
        known.reading.by_tenant.get(tenant).is_some_and(|of| {
            of.raw
                .iter()
                .chain(&of.downsampled)
                .any(|read| read.block.meta.overlaps(start, end))
        })
    }

    /// All blocks that queries read, those with the newest samples first.
    pub fn newest_first(&self) -> Vec<Arc<ReadBlock>> {
        let known = self.known.read();
        let mut blocks: Vec<_> = known
            .reading
            .by_tenant
            .values()
            .flat_map(|of| &of.raw)
            .cloned()
            .collect();

        drop(known);
        blocks.sort_by_key(|read| std::cmp::Reverse(read.block.meta.max_time));
        blocks
    }

    /// Blocks that queries do not read, and why.
    pub fn left_out(&self) -> BTreeMap<Ulid, LeftOut> {
        self.known.read().reading.left_out.clone()
    }

    /// How often the bucket was listed.
    pub fn generation(&self) -> u64 {
        self.known.read().generation
    }

    /// A block that was compacted from this one, directly or not, and stands for it.
    pub fn holder_of(&self, meta: &BlockMeta) -> Option<Arc<BucketBlock>> {
        let known = self.known.read();
        let mut blocks = known
            .blocks
            .values()
            .filter(|block| block.deletion.is_none());
        blocks.find(|block| covers(&block.meta, meta)).cloned()
    }

    /// How blocks are read.
    pub fn rules(&self) -> &ReadRules {
        &self.rules
    }

    /// One block.
    pub fn get(&self, ulid: Ulid) -> Option<Arc<BucketBlock>> {
        self.known.read().blocks.get(&ulid).cloned()
    }
}

/// What the listing shows of a block, or lets one suppose.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    meta: bool,
    deletion: bool,
    no_compact: bool,
    no_downsample: bool,
}

impl Seen {
    /// What is known of a block.
    fn of(block: &BucketBlock) -> Self {
        Self {
            meta: true,
            deletion: block.deletion.is_some(),
            no_compact: block.no_compact.is_some(),
            no_downsample: block.no_downsample.is_some(),
        }
    }
}

/// What the names alone tell: blocks that are known are as they were, and the others are tried.
async fn list_names(
    store: &dyn ObjectStore,
    known: &BTreeMap<Ulid, Arc<BucketBlock>>,
) -> Result<BTreeMap<Ulid, Seen>, BucketError> {
    Ok(list_blocks(store)
        .await?
        .into_iter()
        .map(|ulid| {
            let unknown = Seen {
                meta: true,
                ..Seen::default()
            };
            (
                ulid,
                known.get(&ulid).map_or(unknown, |block| Seen::of(block)),
            )
        })
        .collect())
}

async fn list_with_marks(store: &dyn ObjectStore) -> Result<BTreeMap<Ulid, Seen>, BucketError> {
    let mut blocks: BTreeMap<Ulid, Seen> = BTreeMap::new();

    let mut objects = store.list(None);
    while let Some(object) = objects.try_next().await.map_err(at(&"list of blocks"))? {
        let Some(ulid) = layout::ulid_of(&object.location) else {
            continue;
        };
        let seen = blocks.entry(ulid).or_default();
        match object.location.parts().nth(1).as_ref().map(AsRef::as_ref) {
            Some(trireme_block::META_FILE) => seen.meta = true,
            Some(DELETION_MARK) => seen.deletion = true,
            Some(NO_COMPACT_MARK) => seen.no_compact = true,
            Some(NO_DOWNSAMPLE_MARK) => seen.no_downsample = true,
            _ => {}
        }
    }

    Ok(blocks)
}

/// The block, and why marks of it could not be read: that must not hide what the block holds.
type Loaded = (Arc<BucketBlock>, Vec<BucketError>);

async fn load(
    store: &dyn ObjectStore,
    ulid: Ulid,
    seen: Seen,
    old: Option<Arc<BucketBlock>>,
) -> Result<Option<Loaded>, BucketError> {
    if !seen.meta {
        return Ok(None);
    }
    if let Some(old) = old.as_ref().filter(|old| Seen::of(old) == seen) {
        return Ok(Some((old.clone(), Vec::new())));
    }

    let meta = match old {
        Some(old) => Some(old.meta.clone()),
        None => fetch_meta(store, ulid).await?,
    };
    let Some(meta) = meta else { return Ok(None) };

    // Somebody meant to say so: what cannot be read still keeps compaction and downsampling away. A deletion that cannot be
    // read deletes nothing.
    let mut bad = Vec::new();
    let unreadable = Some(unreadable_no_compact(ulid));
    let mark = (NO_COMPACT_MARK, seen.no_compact, unreadable);
    let no_compact = seen_mark(store, ulid, mark, &mut bad).await;

    let unreadable = Some(unreadable_no_downsample(ulid));
    let mark = (NO_DOWNSAMPLE_MARK, seen.no_downsample, unreadable);
    let no_downsample = seen_mark(store, ulid, mark, &mut bad).await;
    let deletion = seen_mark(store, ulid, (DELETION_MARK, seen.deletion, None), &mut bad).await;

    Ok(Some((
        Arc::new(BucketBlock {
            meta,
            deletion,
            no_compact,
            no_downsample,
        }),
        bad,
    )))
}

fn unreadable_no_compact(ulid: Ulid) -> NoCompactMark {
    NoCompactMark {
        id: ulid,
        version: 1,
        details: UNREADABLE.into(),
        no_compact_time: 0,
        reason: "manual".into(),
    }
}

fn unreadable_no_downsample(ulid: Ulid) -> NoDownsampleMark {
    NoDownsampleMark {
        id: ulid,
        version: 1,
        details: UNREADABLE.into(),
        no_downsample_time: 0,
        reason: "manual".into(),
    }
}

/// Details of what stands for a mark that cannot be read.
const UNREADABLE: &str = "the mark in the bucket cannot be read";

/// Reads a mark that the listing shows. Why it cannot be read goes to `bad`; if its bytes are at fault, `unreadable` stands for it.
async fn seen_mark<T: DeserializeOwned>(
    store: &dyn ObjectStore,
    ulid: Ulid,
    (name, is_there, unreadable): (&str, bool, Option<T>),
    bad: &mut Vec<BucketError>,
) -> Option<T> {
    if !is_there {
        return None;
    }
    get_mark(store, ulid, name).await.unwrap_or_else(|error| {
        let is_corrupt = error.kind() == ErrorKind::Corrupt;
        bad.push(error);
        unreadable.filter(|_| is_corrupt)
    })
}
