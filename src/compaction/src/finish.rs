//! What comes after a job: marks that a crash left out, and the end of sources whose time has come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use slog::warn;
use trireme_block::{BlockMeta, DeletionMark};
use trireme_bucket::{
    BucketBlock, BucketError, check_holder, covered, delete_block, fetch_deletion_mark,
    mark_for_deletion, unmark_deletion, verify_copy,
};
use ulid::Ulid;

use crate::retention::expired;
use crate::{Compactor, Limits, Streams};

/// The details of a deletion mark of a block whose retention is over.
const RETENTION: &str = "its retention is over";
/// Begins the details of a deletion mark that compaction has set. Nobody else's marked blocks are deleted.
const DETAILS: &str = "compacted into ";

pub(crate) fn details_of(result: Ulid) -> String {
    format!("{DETAILS}{result}")
}

/// True if this program has compacted the block.
pub fn is_ours(meta: &BlockMeta) -> bool {
    meta.trireme.is_some() && meta.compaction.level > 1
}

/// The block that stands for a marked one, if compaction has marked it.
fn named_in(mark: &DeletionMark) -> Option<Ulid> {
    Ulid::from_string(mark.details.strip_prefix(DETAILS)?).ok()
}

/// True if somebody of this program has set the mark.
fn is_our_mark(mark: &DeletionMark) -> bool {
    named_in(mark).is_some() || mark.details == RETENTION
}

fn is_due(mark: &DeletionMark, now_s: i64, delay: Duration) -> bool {
    let delay_s = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
    now_s.saturating_sub(mark.deletion_time) >= delay_s
}

/// What a round of finishing did.
#[derive(Debug, Default)]
pub struct Finished {
    /// Sources that were marked.
    pub marked: Vec<Ulid>,
    /// Blocks that were marked since their retention is over.
    pub expired: Vec<Ulid>,
    /// Sources and expired blocks that were deleted.
    pub deleted: Vec<Ulid>,
    /// Blocks with which something failed; they are tried again next time.
    pub failed: Vec<(Ulid, BucketError)>,
}

impl Finished {
    /// Notes what failed with a block; true if nothing did.
    fn note(&mut self, ulid: Ulid, result: Result<(), BucketError>) -> bool {
        result
            .map_err(|error| self.failed.push((ulid, error)))
            .is_ok()
    }
}

/// The bucket as it was listed.
struct Listed<'a> {
    blocks: BTreeMap<Ulid, Arc<BucketBlock>>,
    /// Blocks all of which a block holds that is not to be deleted itself, and which.
    covered: HashMap<Ulid, Ulid>,
    /// Blocks whose retention is over.
    expired: BTreeSet<Ulid>,
    streams: &'a Streams,
}

impl<'a> Listed<'a> {
    fn new(blocks: &[Arc<BucketBlock>], now_ms: i64, limits: &'a Limits) -> Self {
        let expired = expired(blocks, now_ms, limits);
        let blocks: BTreeMap<Ulid, Arc<BucketBlock>> = blocks
            .iter()
            .map(|block| (block.meta.ulid, Arc::clone(block)))
            .collect();
        let covered = covered(&blocks);

        Self {
            blocks,
            covered,
            expired,
            streams: &limits.streams,
        }
    }

    /// Of any resolution: a block is held by one of its own alone, so a raw one stays when it is downsampled.
    fn own(&self) -> impl Iterator<Item = &Arc<BucketBlock>> {
        self.blocks
            .values()
            .filter(move |block| self.streams.have(&block.meta))
    }

    /// The block that holds all of a marked one and stays, by its own sources or, where it was made of other blocks with the
    /// same samples, by what the mark says.
    fn holder(&self, block: &BucketBlock, named: Ulid) -> Option<&Arc<BucketBlock>> {
        let by_sources = self
            .covered
            .get(&block.meta.ulid)
            .or_else(|| self.covered.get(&named));
        let holder = self.blocks.get(by_sources.unwrap_or(&named))?;
        let small = &block.meta;
        let large = &holder.meta;
        let holds = holder.deletion.is_none()
            && large.ulid != small.ulid
            && large.external_labels() == small.external_labels()
            && large.resolution_ms() == small.resolution_ms()
            && large.min_time <= small.min_time
            && large.max_time >= small.max_time;

        holds.then_some(holder)
    }
}

impl Compactor {
    /// Marks sources of blocks that were published before a crash and blocks whose retention is over, and deletes those that have
    /// been marked for `delay`.
    ///
    /// `blocks` and `partial` are of a list that shows marks; `is_mine` says which of them this node looks after.
    pub async fn finish(
        &self,
        blocks: &[Arc<BucketBlock>],
        partial: &[Ulid],
        limits: &Limits,
        (now_s, delay): (i64, Duration),
        is_mine: &(dyn Fn(&BlockMeta) -> bool + Sync),
    ) -> Finished {
        let listed = Listed::new(blocks, now_s.saturating_mul(1_000), limits);
        let mut finished = Finished::default();
        self.mark(&listed, now_s, is_mine, &mut finished).await;
        self.mark_expired(&listed, now_s, is_mine, &mut finished)
            .await;
        self.delete(&listed, (now_s, delay), is_mine, &mut finished)
            .await;

        for ulid in partial {
            match self.delete_rest(*ulid, (now_s, delay)).await {
                Ok(true) => finished.deleted.push(*ulid),
                Ok(false) => {}
                Err(error) => finished.failed.push((*ulid, error)),
            }
        }

        finished
    }

    async fn mark(
        &self,
        listed: &Listed<'_>,
        now_s: i64,
        is_mine: &(dyn Fn(&BlockMeta) -> bool + Sync),
        finished: &mut Finished,
    ) {
        let store = self.parts.store.as_ref();

        let mut verified: HashMap<Ulid, bool> = HashMap::new();
        for block in listed.own().filter(|block| block.deletion.is_none()) {
            let holder = listed
                .covered
                .get(&block.meta.ulid)
                .and_then(|by| listed.blocks.get(by));
            let Some(holder) = holder.filter(|holder| is_ours(&holder.meta)) else {
                continue;
            };

            if !is_mine(&block.meta) {
                continue;
            }

            let name = holder.meta.ulid;
            let is_verified = match verified.get(&name) {
                Some(known) => *known,
                None => finished.note(name, verify_copy(store, &holder.meta).await),
            };

            verified.insert(name, is_verified);
            if !is_verified {
                continue;
            }

            match mark_for_deletion(store, block.meta.ulid, &details_of(name), now_s).await {
                Ok(()) => finished.marked.push(block.meta.ulid),
                Err(error) => finished.failed.push((block.meta.ulid, error)),
            }
        }
    }

    async fn mark_expired(
        &self,
        listed: &Listed<'_>,
        now_s: i64,
        is_mine: &(dyn Fn(&BlockMeta) -> bool + Sync),
        finished: &mut Finished,
    ) {
        let store = self.parts.store.as_ref();
        for block in listed.own().filter(|block| is_mine(&block.meta)) {
            let ulid = block.meta.ulid;
            let is_expired = listed.expired.contains(&ulid) && !finished.marked.contains(&ulid);
            let done = match &block.deletion {
                None if is_expired => mark_for_deletion(store, ulid, RETENTION, now_s)
                    .await
                    .map(|()| finished.expired.push(ulid)),
                // Settings and clocks may have changed.
                Some(mark) if mark.details == RETENTION && !is_expired => {
                    warn!(self.parts.log, "a block stays that was marked, since its retention is not over"; "block_id" => %ulid);
                    unmark_deletion(store, ulid).await
                }
                _ => Ok(()),
            };
            finished.note(ulid, done);
        }
    }

    async fn delete(
        &self,
        listed: &Listed<'_>,
        (now_s, delay): (i64, Duration),
        is_mine: &(dyn Fn(&BlockMeta) -> bool + Sync),
        finished: &mut Finished,
    ) {
        let store = self.parts.store.as_ref();

        let mut whole: HashMap<Ulid, bool> = HashMap::new();
        for block in listed.own() {
            let Some(mark) = block
                .deletion
                .as_ref()
                .filter(|mark| is_due(mark, now_s, delay))
            else {
                continue;
            };

            if !is_mine(&block.meta) {
                continue;
            }

            let ulid = block.meta.ulid;
            if is_our_mark(mark) && listed.expired.contains(&ulid) {
                // Also one that was compacted: the block that holds it is to go for its age, too.
                if finished.note(ulid, delete_block(store, ulid).await) {
                    finished.deleted.push(ulid);
                }
                continue;
            }

            let Some(named) = named_in(mark) else {
                continue;
            };
            let Some(holder) = listed.holder(block, named) else {
                warn!(self.parts.log, "a compacted block stays, since the bucket has no block that holds it";
                    "block_id" => %block.meta.ulid, "compacted_into" => %named);
                continue;
            };

            let name = holder.meta.ulid;
            let is_whole = match whole.get(&name) {
                Some(known) => *known,
                None => finished.note(name, check_holder(store, &holder.meta).await),
            };

            whole.insert(name, is_whole);
            if !is_whole {
                continue;
            }

            match delete_block(store, block.meta.ulid).await {
                Ok(()) => finished.deleted.push(block.meta.ulid),
                Err(error) => finished.failed.push((block.meta.ulid, error)),
            }
        }
    }

    /// Goes on with a deletion that was broken off; false if it is none.
    async fn delete_rest(
        &self,
        ulid: Ulid,
        (now_s, delay): (i64, Duration),
    ) -> Result<bool, BucketError> {
        let store = self.parts.store.as_ref();
        let mark = fetch_deletion_mark(store, ulid).await?;
        if !mark.is_some_and(|mark| is_our_mark(&mark) && is_due(&mark, now_s, delay)) {
            return Ok(false);
        }
        delete_block(store, ulid).await?;
        Ok(true)
    }
}
