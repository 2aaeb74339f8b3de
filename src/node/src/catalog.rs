//! What this node holds, for queries: head, local blocks, bucket.

mod cardinality;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use trireme_block::BlockMeta;
use trireme_bucket::{BucketReader, MetaCache, ReadBlock};
use trireme_head::Shard;
use trireme_model::{Matcher, MetricMetadata, Tenant};
use trireme_query::{
    BlockSource, Catalog, ExemplarSeries, Far, HeadSource, Labelled, Located, Moments, RemoteBlock,
    Scope, Source, SourceError, SourceList, Span, TsdbStatus, choose_blocks, choose_resolutions,
    clipped, is_uncovered, only_coarser,
};
use trireme_storage::LocalBlocks;

use crate::bucket::Freshness;

/// The bucket as queries read it.
pub(crate) struct BucketView {
    pub(crate) store: crate::bucket::Store,
    pub(crate) reader: Arc<BucketReader>,
    pub(crate) metas: Arc<MetaCache>,
    pub(crate) freshness: Arc<Freshness>,
}

impl BucketView {
    /// What the blocks of a tenant are read through.
    fn far(&self, tenant: &Tenant) -> Far {
        Far {
            reader: Arc::clone(&self.reader),
            tenant: tenant.as_str().into(),
        }
    }

    /// What to say if only blocks that are too coarse lie over a part of the times of a scope.
    fn only_coarser(
        &self,
        scope: &Scope,
        local: &[&BlockMeta],
        remote: &[Arc<ReadBlock>],
        downsampled: &[Arc<ReadBlock>],
    ) -> Option<String> {
        let start = scope.start_ms;
        let end = scope.end_ms;
        let mut coarser = self.metas.downsampled(scope.tenant.as_str(), start, end);

        coarser.retain(|read| read.block.meta.resolution_ms() > scope.max_source_resolution_ms);
        let finest = coarser
            .iter()
            .map(|read| read.block.meta.resolution_ms())
            .min()?;
        let theirs = |of: &'_ Arc<ReadBlock>| -> Range<i64> { of.block.meta.range() };
        let mut read: Vec<Span<'_>> = local
            .iter()
            .map(|meta: &&BlockMeta| -> Span<'_> { (meta.range(), &[]) })
            .collect();

        read.extend(
            remote
                .iter()
                .chain(downsampled)
                .map(|of| (theirs(of), &*of.labels)),
        );

        let unread: Vec<Span<'_>> = coarser.iter().map(|of| (theirs(of), &*of.labels)).collect();
        is_uncovered(&read, &unread, start, end).then(|| only_coarser(finest))
    }

    /// Downsampled blocks of a scope that may be read.
    fn downsampled(&self, scope: &Scope) -> Vec<Arc<ReadBlock>> {
        if scope.max_source_resolution_ms <= 0 {
            return Vec::new();
        }

        let mut blocks =
            self.metas
                .downsampled(scope.tenant.as_str(), scope.start_ms, scope.end_ms);

        blocks.retain(|read| read.block.meta.resolution_ms() <= scope.max_source_resolution_ms);
        blocks
    }

    /// A block as a source.
    fn source(&self, read: &Arc<ReadBlock>, scope: &Scope, with_starts: bool) -> Arc<dyn Source> {
        let source = RemoteBlock::new(Arc::clone(&self.reader), Arc::clone(read), with_starts);
        with_labels(source.with_aggregate(scope.aggregate), &read.labels)
    }
}

/// Blocks of several resolutions as sources of which each is read where no better one is.
fn in_parts(blocks: &[(&BlockMeta, Arc<dyn Source>)]) -> Vec<Arc<dyn Source>> {
    let metas: Vec<&BlockMeta> = blocks.iter().map(|(meta, _)| *meta).collect();
    let parts = choose_resolutions(&metas);
    parts
        .iter()
        .flat_map(|part| clipped(Arc::clone(&blocks[part.number].1), &part.spans))
        .collect()
}

/// A source, under labels if there are any.
fn with_labels(source: RemoteBlock, labels: &Arc<[(String, String)]>) -> Arc<dyn Source> {
    if labels.is_empty() {
        return Arc::new(source);
    }
    Arc::new(Labelled::new(source, Arc::clone(labels)))
}

/// All sources of a node.
pub(crate) struct NodeCatalog {
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) local_blocks: Arc<LocalBlocks>,
    pub(crate) bucket: Option<BucketView>,
    /// Start timestamps are given to readers: those of the head just as those of blocks.
    pub(crate) with_starts: bool,
}

impl NodeCatalog {
    /// The shards of the head.
    fn heads(&self, scope: &Scope) -> Vec<Arc<dyn Source>> {
        self.shards
            .iter()
            .enumerate()
            .map(|(number, shard): (usize, &Arc<Shard>)| {
                let moment = scope
                    .moments
                    .as_ref()
                    .and_then(|moments| moments.get(number).cloned());
                let source = HeadSource::new(Arc::clone(shard), scope.tenant.clone()).at(moment);
                Arc::new(source.with_starts(self.with_starts)) as Arc<dyn Source>
            })
            .collect()
    }
}

impl Catalog for NodeCatalog {
    fn generation(&self) -> u64 {
        self.local_blocks.generation()
    }

    fn generation_of(&self, scope: &Scope) -> u64 {
        self.local_blocks
            .generation_of(&scope.tenant, scope.start_ms, scope.end_ms)
    }

    fn moments(&self) -> Moments {
        self.shards
            .iter()
            .map(|shard| Arc::new(shard.moment()))
            .collect()
    }

    fn head_sources(&self, scope: &Scope) -> Option<Vec<Arc<dyn Source>>> {
        let blocks = self.local_blocks.blocks();
        let mut of_tenant = blocks.iter().filter(|b| b.tenant == scope.tenant);
        if of_tenant.any(|b| b.meta().overlaps(scope.start_ms, scope.end_ms)) {
            return None;
        }

        let bucket = self.bucket.as_ref().filter(|_| !scope.local_only);
        let has_remote = bucket.is_some_and(|b| {
            b.freshness.complaint(scope.start_ms).is_some()
                || b.metas
                    .has(scope.tenant.as_str(), scope.start_ms, scope.end_ms)
        });

        if has_remote {
            return None;
        }

        Some(self.heads(scope))
    }

    fn sources(&self, scope: &Scope) -> SourceList {
        let mut list = SourceList::default();
        let local: Vec<_> = self
            .local_blocks
            .blocks()
            .into_iter()
            .filter(|b| b.tenant == scope.tenant)
            .collect();

        let local_metas: Vec<&BlockMeta> = local.iter().map(|b| b.meta()).collect();
        let bucket = self.bucket.as_ref().filter(|_| !scope.local_only);
        let remote = bucket.map_or_else(Vec::new, |b| {
            b.metas
                .select(scope.tenant.as_str(), scope.start_ms, scope.end_ms)
        });
        let downsampled = bucket.map_or_else(Vec::new, |b| b.downsampled(scope));
        let remote_metas: Vec<&BlockMeta> = remote.iter().map(|b| &b.block.meta).collect();

        let mut blocks: Vec<(&BlockMeta, Arc<dyn Source>)> = Vec::new();
        for located in choose_blocks(&local_metas, &remote_metas, scope.start_ms, scope.end_ms) {
            match (located, bucket) {
                (Located::Local(i), _) => {
                    let source = BlockSource::new(Arc::clone(&local[i].block), "local");
                    blocks.push((
                        local_metas[i],
                        Arc::new(source.with_starts(self.with_starts)),
                    ));
                }
                (Located::Bucket(i), Some(bucket)) => {
                    blocks.push((
                        remote_metas[i],
                        bucket.source(&remote[i], scope, self.with_starts),
                    ));
                    list.far.get_or_insert_with(|| bucket.far(&scope.tenant));
                }
                (Located::Bucket(_), None) => {}
            }
        }

        if let Some(bucket) = bucket.filter(|_| !downsampled.is_empty()) {
            let source = |read: &Arc<ReadBlock>| bucket.source(read, scope, self.with_starts);
            blocks.extend(
                downsampled
                    .iter()
                    .map(|read| (&read.block.meta, source(read))),
            );
            list.far.get_or_insert_with(|| bucket.far(&scope.tenant));
            list.sources.extend(in_parts(&blocks));
        } else {
            list.sources
                .extend(blocks.into_iter().map(|(_, source)| source));
        }

        list.warnings
            .extend(bucket.and_then(|b| b.freshness.complaint(scope.start_ms)));
        let too_coarse =
            bucket.and_then(|b| b.only_coarser(scope, &local_metas, &remote, &downsampled));

        list.warnings.extend(too_coarse);
        list.sources.extend(self.heads(scope));
        list
    }

    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        let mut found = BTreeMap::new();
        for shard in &self.shards {
            for set in matchers {
                found.extend(shard.exemplars(tenant, set, start_ms, end_ms));
            }
        }

        Ok(found
            .into_iter()
            .map(|(labels, exemplars)| ExemplarSeries { labels, exemplars })
            .collect())
    }

    fn metadata(
        &self,
        tenant: &Tenant,
        metric: Option<&str>,
    ) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        Ok(self
            .shards
            .iter()
            .flat_map(|shard| shard.metadata(tenant, metric))
            .collect())
    }

    fn tsdb_status(&self, tenant: &Tenant, limit: usize) -> Result<TsdbStatus, SourceError> {
        Ok(cardinality::status(&self.shards, tenant, limit))
    }
}
