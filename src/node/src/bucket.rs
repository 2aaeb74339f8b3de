//! The object store as the settings name it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use prometheus::{IntGauge, IntGaugeVec};
use slog::{Logger, info, warn};
use trireme_base::Clock;
use trireme_bucket::{
    BucketConfig, BucketKind, BucketReader, ConditionalPut, LeftOut, Listing, MetaCache, ReadRules,
    Refreshed, StoreCheck,
};
use trireme_settings::{BucketType, ConditionalPutSetting, Settings};
use trireme_telemetry::{Metrics, MetricsError};
use ulid::Ulid;

/// A client of the object store.
pub type Store = Arc<dyn object_store::ObjectStore>;

/// Opens the bucket; `None` if the settings say so. A file bucket without a path of its own lies at `default_path`.
///
/// `log` hears once if the store turns out to lack something.
pub fn open(
    settings: &Settings,
    default_path: PathBuf,
    log: &Logger,
) -> anyhow::Result<Option<Store>> {
    config(settings, default_path)
        .open(log)
        .context("cannot open the bucket")
}

/// Writes a small object of this name, reads, lists and deletes it.
pub async fn check(
    settings: &Settings,
    default_path: PathBuf,
    log: &Logger,
    name: &str,
) -> anyhow::Result<StoreCheck> {
    config(settings, default_path)
        .check(log, name)
        .await
        .context("the bucket cannot be used")
}

fn config(settings: &Settings, default_path: PathBuf) -> BucketConfig {
    let bucket = &settings.bucket;
    let kind = match bucket.kind {
        BucketType::File => BucketKind::File,
        BucketType::S3 => BucketKind::S3,
        BucketType::Gcs => BucketKind::Gcs,
        BucketType::Azure => BucketKind::Azure,
        BucketType::None => BucketKind::None,
    };

    BucketConfig {
        kind,
        path: if bucket.path.is_empty() {
            default_path
        } else {
            PathBuf::from(&bucket.path)
        },
        name: bucket.name.clone(),
        prefix: bucket.prefix.clone(),
        endpoint: bucket.endpoint.clone(),
        region: bucket.region.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: bucket.secret_key.clone(),
        allow_http: bucket.allow_http,
        conditional_put: match bucket.conditional_put {
            ConditionalPutSetting::Auto => ConditionalPut::Auto,
            ConditionalPutSetting::Off => ConditionalPut::Off,
        },
        ca_file: None,
    }
}

/// How blocks of the bucket become series, as the settings say.
pub fn read_rules(settings: &Settings) -> ReadRules {
    let bucket = &settings.bucket;
    ReadRules {
        tenant_label: settings.tenants.label.clone(),
        default_tenant: Some(bucket.default_tenant.clone()).filter(|tenant| !tenant.is_empty()),
        replica_labels: bucket.replica_labels.clone(),
        own_labels: bucket.external_labels.clone(),
    }
}

/// After so many intervals without a list, queries say that theirs is old.
const OLD_AFTER_INTERVALS: u32 = 10;
/// No list younger than this is called old, however short the interval.
const OLD_AFTER_MIN: Duration = Duration::from_secs(300);

/// What is said before the first list.
const NEVER_READ: &str = "the list of blocks in the bucket was not read yet: what is only there is missing from this answer";

/// How good the list of the bucket's blocks is.
pub(crate) struct Freshness {
    clock: Arc<dyn Clock>,
    every: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Monotonic time of the last list; `None` before the first.
    listed_at: Option<Duration>,
    /// Blocks whose metas could not be read and are not known from before.
    unreadable: Vec<Ulid>,
}

impl Freshness {
    pub(crate) fn new(clock: Arc<dyn Clock>, every: Duration) -> Self {
        Self {
            clock,
            every,
            seen: Mutex::default(),
        }
    }

    fn listed(&self, unreadable: Vec<Ulid>) {
        *self.seen.lock() = Seen {
            listed_at: Some(self.clock.monotonic()),
            unreadable,
        };
    }

    /// What may be missing from an answer about times from `start_ms` on.
    pub(crate) fn complaint(&self, start_ms: i64) -> Option<String> {
        let seen = self.seen.lock();
        let Some(listed_at) = seen.listed_at else {
            return Some(NEVER_READ.to_owned());
        };

        let age = self.clock.monotonic().saturating_sub(listed_at);
        if age > (self.every * OLD_AFTER_INTERVALS).max(OLD_AFTER_MIN) {
            return Some(format!(
                "the list of blocks in the bucket is {} minutes old: newer ones are missing from this answer",
                age.as_secs() / 60
            ));
        }

        // A name has the time at which the block ends, or was made: all samples are before it.
        let first_ms = u64::try_from(start_ms).unwrap_or(0);
        let concerned = |ulid: &&Ulid| ulid.timestamp_ms() >= first_ms;
        let unreadable = seen.unreadable.iter().filter(concerned).count();
        let example = seen.unreadable.iter().find(concerned)?;

        Some(format!(
            "the meta of {unreadable} blocks in the bucket cannot be read, for example of {example}: \
             what they hold may be missing from this answer"
        ))
    }
}

/// What the list of blocks shows.
pub(crate) struct ListMetrics {
    blocks: IntGauge,
    left_out: IntGaugeVec,
}

impl ListMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            blocks: metrics.gauge(
                "trireme_bucket_blocks",
                "Blocks in the bucket, as of the last list.",
            )?,
            left_out: metrics.gauges(
                "trireme_bucket_blocks_left_out",
                "Blocks in the bucket that queries do not read, by reason.",
                &["reason"],
            )?,
        })
    }
}

/// Says when a list has to show marks: it has several entries for each block.
struct MarksDue {
    every: Duration,
    /// Monotonic time of the last one.
    seen_at: Option<Duration>,
}

impl MarksDue {
    fn listing(&self, now: Duration) -> Listing {
        match self.seen_at {
            Some(at) if now.saturating_sub(at) < self.every => Listing::Names,
            _ => Listing::Objects,
        }
    }

    fn note(&mut self, listing: Listing, began: Duration) {
        if listing == Listing::Objects {
            self.seen_at = Some(began);
        }
    }
}

/// Reads the list of blocks again and again.
pub(crate) struct ListKeeper {
    pub(crate) store: Store,
    pub(crate) metas: Arc<MetaCache>,
    pub(crate) reader: Arc<BucketReader>,
    pub(crate) freshness: Arc<Freshness>,
    /// Time between two lists that show marks.
    pub(crate) marks_every: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ListMetrics,
    pub(crate) log: Logger,
}

impl ListKeeper {
    /// Until the future is dropped.
    pub(crate) async fn keep_fresh(self) {
        let mut before = BTreeMap::new();
        let mut ahead = tokio::task::JoinSet::new();

        // Blocks may have gone while this node was not running.
        let mut is_first = true;
        let mut is_told = false;
        let mut marks = MarksDue {
            every: self.marks_every,
            seen_at: None,
        };

        loop {
            let now = self.clock.monotonic();

            let listing = marks.listing(now);
            match self.metas.refresh(self.store.as_ref(), listing).await {
                Ok(refreshed) => {
                    marks.note(listing, now);
                    before = self.tell_left_out(&before);

                    if is_first || !refreshed.removed.is_empty() {
                        self.forget_the_gone();
                    }

                    is_first = false;
                    if let Some(err) = self
                        .reader
                        .cannot_copy()
                        .filter(|_| !std::mem::replace(&mut is_told, true))
                    {
                        warn!(self.log, "copies of indexes cannot be kept on disk, bucket blocks are read without";
                            "err" => err);
                    }

                    if !refreshed.added.is_empty() {
                        // The newest are asked for most; those that are open already cost nothing.
                        ahead.abort_all();
                        while ahead.try_join_next().is_some() {}
                        ahead.spawn(Arc::clone(&self.reader).open_ahead(self.metas.newest_first()));
                    }

                    self.note(refreshed);
                }
                Err(err) => {
                    warn!(self.log, "bucket cannot be listed, queries use the last list"; "err" => %err);
                }
            }

            tokio::time::sleep(self.freshness.every).await;
        }
    }

    /// Lets go of what is kept of blocks that are gone.
    fn forget_the_gone(&self) {
        if let Err(err) = self.reader.retain(&|ulid| self.metas.get(ulid).is_some()) {
            warn!(self.log, "copies of indexes cannot be removed"; "err" => %err);
        }
    }

    fn note(&self, refreshed: Refreshed) {
        let log = &self.log;
        for (ulid, err) in &refreshed.failed {
            warn!(log, "meta of a bucket block cannot be read"; "block_id" => %ulid, "err" => %err);
        }

        for (ulid, err) in &refreshed.bad_marks {
            warn!(log, "mark of a bucket block cannot be read, the block is used"; "block_id" => %ulid,
                "err" => %err);
        }

        let failed = refreshed.failed.into_iter().map(|(ulid, _)| ulid);
        self.freshness.listed(
            failed
                .filter(|ulid| self.metas.get(*ulid).is_none())
                .collect(),
        );
    }

    /// Counts the blocks that queries leave out, and logs how many when that changes. Gives the counts by reason.
    fn tell_left_out(&self, before: &BTreeMap<&'static str, i64>) -> BTreeMap<&'static str, i64> {
        let mut counts: BTreeMap<&str, i64> =
            LeftOut::REASONS.iter().map(|reason| (*reason, 0)).collect();

        let mut examples = BTreeMap::new();
        for (ulid, why) in self.metas.left_out() {
            *counts.entry(why.reason()).or_default() += 1;
            examples.insert(why.reason(), ulid);
        }

        self.metrics.blocks.set(self.metas.blocks().len() as i64);
        for (reason, count) in &counts {
            self.metrics
                .left_out
                .with_label_values(&[*reason])
                .set(*count);
            if *count > 0 && before.get(reason) != Some(count) {
                let example = examples
                    .get(reason)
                    .map(Ulid::to_string)
                    .unwrap_or_default();
                info!(self.log, "blocks in the bucket are not read"; "reason" => *reason, "blocks" => *count,
                    "example" => example);
            }
        }

        counts
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::ManualClock;

    use super::*;

    #[test]
    fn marks_are_looked_for_at_the_start_and_each_interval() {
        let at = Duration::from_secs;
        let mut marks = MarksDue {
            every: at(900),
            seen_at: None,
        };

        assert_eq!(marks.listing(at(5)), Listing::Objects);
        assert_eq!(
            marks.listing(at(65)),
            Listing::Objects,
            "the first one failed"
        );

        marks.note(Listing::Objects, at(65));
        assert_eq!(marks.listing(at(125)), Listing::Names);
        marks.note(Listing::Names, at(125));
        assert_eq!(marks.listing(at(964)), Listing::Names);
        assert_eq!(marks.listing(at(965)), Listing::Objects);
    }

    #[test]
    fn a_list_that_is_missing_old_or_not_whole_is_said() {
        let clock = Arc::new(ManualClock::at(0));
        let freshness = Freshness::new(clock.clone(), Duration::from_secs(60));
        let complaint = |start_ms| freshness.complaint(start_ms).unwrap_or_default();
        assert!(complaint(0).contains("was not read yet"));

        freshness.listed(Vec::new());
        assert_eq!(complaint(0), "");
        clock.advance_ms(660_000);

        assert!(complaint(0).contains("11 minutes old"), "{}", complaint(0));

        freshness.listed(vec![Ulid::from_parts(7_200_000, 1)]);
        assert!(complaint(7_000_000).contains("the meta of 1 blocks"));
        assert_eq!(complaint(7_200_001), "", "it ended before");
    }
}
