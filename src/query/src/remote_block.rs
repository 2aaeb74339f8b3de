//! A block of the bucket as a source, opened when it is asked.

use std::sync::Arc;

use trireme_base::ErrorKind;
use trireme_block::Aggregate;
use trireme_bucket::{BucketError, BucketReader, ReadBlock};
use trireme_model::Matcher;
use trireme_promql::{Cancel, SeriesRead};

use crate::{BlockSource, Source, SourceError, Texts};

/// A block that may not be open yet. Under `trireme_bucket::attempt` its methods fail where they would wait.
pub struct RemoteBlock {
    reader: Arc<BucketReader>,
    read: Arc<ReadBlock>,
    with_starts: bool,
    aggregate: Aggregate,
}

impl RemoteBlock {
    /// A block of the list, through `reader`. `with_starts`: see [`BlockSource::with_starts`].
    pub fn new(reader: Arc<BucketReader>, read: Arc<ReadBlock>, with_starts: bool) -> Self {
        Self {
            reader,
            read,
            with_starts,
            aggregate: Aggregate::default(),
        }
    }

    /// What is read of a downsampled block.
    pub fn with_aggregate(self, aggregate: Aggregate) -> Self {
        Self { aggregate, ..self }
    }

    /// Asks the open block.
    fn ask<T>(
        &self,
        ask: impl FnOnce(&BlockSource) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let meta = &self.read.block.meta;
        // Whatever the reason: what the bucket holds cannot be told now, which is no fault of this node.
        let block = self
            .reader
            .block(meta)
            .map_err(|e: BucketError| SourceError::failed(ErrorKind::Unavailable, e.to_string()))?;
        let source = BlockSource::new(block, "bucket").with_starts(self.with_starts);

        let answer = ask(&source.with_aggregate(self.aggregate));
        if answer
            .as_ref()
            .is_err_and(|e| e.kind() == ErrorKind::Corrupt)
        {
            self.reader.forget(meta.ulid);
        }

        answer
    }
}

impl Source for RemoteBlock {
    fn name(&self) -> String {
        format!("bucket block {}", self.read.block.meta.ulid)
    }

    fn time_range(&self) -> (i64, i64) {
        let range = self.read.block.meta.range();
        (range.start, range.end.saturating_sub(1))
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        self.ask(|block| block.select(matchers, start_ms, end_ms, cancel))
    }

    fn has_series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<bool, SourceError> {
        self.ask(|block| block.has_series(matchers, start_ms, end_ms))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.ask(|block| block.label_names(matchers, start_ms, end_ms, out))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.ask(|block| block.label_values(name, matchers, start_ms, end_ms, out))
    }
}
