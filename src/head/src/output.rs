//! What a shard answers to a batch.

use trireme_model::WriteOutcome;
use trireme_wire::entry::EntryWriter;
use trireme_wire::record::RecordDraft;

/// A draft is finished when it has so many bytes, far below the bound of a record.
const DRAFT_BYTES: usize = 2 << 20;

/// What became of a batch in one shard. Reuse it: its vectors keep their room.
#[derive(Default)]
pub struct IngestOutput {
    /// Counts and rejections for the answer. `samples` and `histograms` include duplicates.
    pub outcome: WriteOutcome,
    /// Stored samples whose timestamp had another value before; the rule decided (I3).
    pub conflicts: u64,
    /// Series that were made.
    pub new_series: u64,
    /// Series of the batch (by index) that belong to other shards: send them there with their raw key.
    pub redirects: Vec<(u32, u16)>,
    /// Records for the log, in this order and before any later draft of this shard. Empty if nothing was stored.
    /// Duplicates are in them too: the answer must wait until a quorum has what it repeats.
    pub drafts: Vec<RecordDraft>,
}

impl IngestOutput {
    /// Empties it for the next batch.
    pub fn clear(&mut self) {
        let mut redirects = std::mem::take(&mut self.redirects);
        let mut drafts = std::mem::take(&mut self.drafts);
        redirects.clear();
        drafts.clear();
        *self = Self {
            redirects,
            drafts,
            ..Self::default()
        };
    }
}

/// Writes entries and starts a new draft when one is large enough.
pub(crate) struct DraftWriter<'a> {
    shard: u16,
    tenant: &'a str,
    entry: EntryWriter,
    drafts: &'a mut Vec<RecordDraft>,
}

impl<'a> DraftWriter<'a> {
    pub fn new(shard: u16, tenant: &'a str, drafts: &'a mut Vec<RecordDraft>) -> Self {
        Self {
            shard,
            tenant,
            entry: EntryWriter::new(shard, tenant),
            drafts,
        }
    }

    /// The entry to write to; call it for every series.
    #[inline]
    pub fn entry(&mut self) -> &mut EntryWriter {
        if self.entry.len() >= DRAFT_BYTES {
            let full =
                std::mem::replace(&mut self.entry, EntryWriter::new(self.shard, self.tenant));
            self.drafts.push(full.finish());
        }
        &mut self.entry
    }

    /// True if nothing was written, by this one and by those before it.
    pub fn is_empty(&self) -> bool {
        self.entry.is_empty() && self.drafts.is_empty()
    }

    pub fn finish(self) {
        if !self.entry.is_empty() {
            self.drafts.push(self.entry.finish());
        }
    }
}
