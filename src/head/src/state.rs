//! A shard's data, behind its lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use trireme_base::{Ended, StreamId};
use trireme_model::{Labels, SeriesKey, Tenant};
use trireme_wire::entry::FloatEntry;

use crate::bucket::BucketId;
use crate::chunkfile::{CHUNKS_DIR, ChunkFiles};
use crate::cut::{LeftWindow, OpenCuts};
use crate::index::{Index, Lists};
use crate::keys::KeyTable;
use crate::recent::Recent;
use crate::series::Series;
use crate::slab::Slab;
use crate::streams::{Positions, Stream};
use crate::tenant::TenantState;
use crate::{HeadError, ShardOptions, TenantTimes};

/// After so many collections of series without anything for it a tenant is taken for gone: two windows as a rule.
const IDLE_COLLECTIONS: u32 = 2;
/// The same for one that has metadata here.
const IDLE_WITH_METADATA: u32 = 12;

/// Where a label set in a sender's own order belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// A series of this shard, by its canonical key.
    Here(SeriesKey),
    /// Another shard.
    Shard(u16),
}

/// The last cut made here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastCut {
    /// Its number; `None` before the first.
    pub number: Option<i64>,
    /// Per stream the seq up to which its samples of cuts up to `number` are in blocks, save for what is left.
    pub positions: Positions,
    /// What it and earlier cuts could not write, the earliest first.
    pub left: Vec<LeftWindow>,
}

pub(crate) struct State {
    pub tenants: Vec<TenantState>,
    times: Arc<TenantTimes>,
    tenant_ids: HashMap<Arc<str>, u32, FixedState>,
    /// Tenants that had nothing for a while: their places are for new ones. One that came back meanwhile keeps its own.
    vacant: Vec<u32>,
    pub series: Slab<Series>,
    pub keys: KeyTable,
    pub lists: Lists,
    pub aliases: HashMap<u128, Alias, FixedState>,
    pub files: ChunkFiles,
    pub streams: BTreeMap<StreamId, Stream>,
    /// Nothing is kept for these.
    pub ended: Ended,
    /// Last window the own stream closed in this shard.
    pub own_marker: Option<i64>,
    /// Next reference of the own stream; never used twice in a stream.
    pub next_ref: u32,
    pub last_cut: LastCut,
    /// A cut that was begun: no sample goes into it any more.
    pub cutting: Option<(i64, Positions)>,
    /// A checkpoint or cut is walking over the slots: none is used again meanwhile.
    pub frozen: bool,
    /// Cuts later than the last one that samples went to.
    pub cuts: OpenCuts,
    pub conflicts: u64,
    /// What readers at a moment leave out.
    pub recent: Recent,
    /// Series dropped since the start; tells a reader that slots may have changed hands.
    pub dropped_series: u64,
    pub scratch: Vec<u64>,
    pub floats: Vec<FloatEntry>,
    pub label_scratch: Vec<u8>,
    pair_scratch: Vec<u32>,
}

impl State {
    pub fn new(options: &ShardOptions) -> Result<Self, HeadError> {
        Ok(Self {
            tenants: Vec::new(),
            times: Arc::clone(&options.times),
            tenant_ids: HashMap::with_hasher(FixedState::default()),
            vacant: Vec::new(),
            series: Slab::new(),
            keys: KeyTable::new(),
            lists: Lists::default(),
            aliases: HashMap::with_hasher(FixedState::default()),
            files: ChunkFiles::open(&options.dir.join(CHUNKS_DIR))?,
            streams: BTreeMap::new(),
            ended: Ended::default(),
            own_marker: None,
            next_ref: 1,
            last_cut: LastCut::default(),
            cutting: None,
            frozen: false,
            cuts: OpenCuts::default(),
            conflicts: 0,
            recent: Recent::default(),
            dropped_series: 0,
            scratch: Vec::new(),
            floats: Vec::new(),
            label_scratch: Vec::new(),
            pair_scratch: Vec::new(),
        })
    }

    /// Bytes of the aliases.
    pub fn alias_bytes(&self) -> usize {
        self.aliases.allocation_size()
    }

    pub fn tenant_number(&self, tenant: &str) -> Option<u32> {
        self.tenant_ids.get(tenant).copied()
    }

    /// Number of a tenant, made when new.
    pub fn intern_tenant(&mut self, tenant: &Tenant) -> u32 {
        if let Some(number) = self.tenant_number(tenant.as_str()) {
            self.tenants[number as usize].idle_collections = 0;
            return number;
        }

        let newest = self.times.of(tenant.as_str());
        let new = TenantState::new(tenant.clone(), newest);
        let number = match self.take_vacant() {
            Some(number) => {
                let old = std::mem::replace(&mut self.tenants[number as usize], new);
                self.tenant_ids.remove(old.tenant.as_str());
                number
            }
            None => {
                self.tenants.push(new);
                self.tenants.len() as u32 - 1
            }
        };

        self.tenant_ids.insert(Arc::from(tenant.as_str()), number);
        number
    }

    /// True if there is a place for one more tenant.
    pub fn has_place_for_tenant(&self, tenants_max: usize) -> bool {
        self.tenants.len() < tenants_max
            || (!self.frozen && self.vacant.iter().any(|n| self.is_idle(*n)))
    }

    /// A place whose tenant still has nothing. None while numbers are being written down.
    fn take_vacant(&mut self) -> Option<u32> {
        if self.frozen {
            return None;
        }

        while let Some(number) = self.vacant.pop() {
            if self.is_idle(number) {
                return Some(number);
            }
        }

        None
    }

    fn is_idle(&self, number: u32) -> bool {
        let tenant = &self.tenants[number as usize];
        tenant.series == 0 && tenant.idle_collections >= IDLE_COLLECTIONS
    }

    /// Counts how long tenants have had nothing; of those that had nothing for long, what is left is dropped, and their
    /// places are for new ones. Called when series were collected, with nobody walking over the tenants.
    pub fn note_idle_tenants(&mut self) {
        self.vacant.clear();
        for (number, tenant) in self.tenants.iter_mut().enumerate() {
            if tenant.series > 0 {
                tenant.idle_collections = 0;
                continue;
            }

            tenant.idle_collections = tenant.idle_collections.saturating_add(1);
            // The series of a tenant's metadata may all lie in other shards.
            let needed = if tenant.metadata.is_empty() {
                IDLE_COLLECTIONS
            } else {
                IDLE_WITH_METADATA
            };

            if tenant.idle_collections >= needed {
                let name = tenant.tenant.clone();
                let idle_collections = tenant.idle_collections;
                let newest = Arc::clone(&tenant.newest_of_all);
                *tenant = TenantState {
                    idle_collections,
                    ..TenantState::new(name, newest)
                };
                self.vacant.push(number as u32);
            }
        }
    }

    /// Gives back what the tables took for series that are gone. Called when series were collected, with nobody walking over
    /// them.
    pub fn shrink(&mut self) {
        self.series.shrink();
        self.keys.shrink();
        self.lists.shrink();

        for tenant in &mut self.tenants {
            tenant.shrink();
        }

        (
            self.scratch,
            self.floats,
            self.label_scratch,
            self.pair_scratch,
        ) = Default::default();

        // Most stand for series that are gone; that of one that is not costs a look at its labels to find again.
        if self.aliases.len() > 2 * self.series.len() {
            self.aliases = HashMap::with_hasher(FixedState::default());
        }
    }

    /// Brings the exemplars and metadata of all tenants below their bounds, at the cost of who has the most.
    pub fn relieve(&mut self, options: &ShardOptions) {
        while self.sum(|t| t.exemplar_bytes) > options.exemplar_bytes_max {
            let Some(most) = self.tenants.iter_mut().max_by_key(|t| t.exemplar_bytes) else {
                break;
            };
            most.halve_exemplars();
        }

        while self.sum(|t| t.metadata_bytes) > options.metadata_bytes_max {
            let Some(most) = self.tenants.iter_mut().max_by_key(|t| t.metadata_bytes) else {
                break;
            };
            most.halve_metadata();
        }
    }

    /// A figure of all tenants together.
    fn sum(&self, of: fn(&TenantState) -> usize) -> usize {
        self.tenants.iter().map(of).sum()
    }

    /// The last cut, made or begun, below which nothing new may go.
    pub fn cut_floor(&self) -> Option<i64> {
        self.cutting
            .as_ref()
            .map(|(k, _)| *k)
            .max(self.last_cut.number)
    }

    /// No sample lies in a window before this.
    pub fn oldest_window(&self) -> Option<i64> {
        let left = self.last_cut.left.iter().map(|left| left.window);
        self.cuts.oldest_window().into_iter().chain(left).min()
    }

    /// Notes cuts that samples went to.
    pub fn note_cuts(&mut self, cuts: impl IntoIterator<Item = BucketId>) {
        let last = self.last_cut.number;
        cuts.into_iter()
            .filter(|id| Some(id.cut) > last)
            .for_each(|id| self.cuts.note(id));
    }

    /// The series of a tenant with this key. Keys are hashes with a seed of the tenant's name, so those of two tenants may be
    /// made equal on purpose: the number is compared as well.
    #[inline]
    pub fn find(&self, tenant: u32, key: SeriesKey) -> Option<u32> {
        self.keys.find(key, |slot| {
            self.series
                .get(slot)
                .is_some_and(|s| s.key == key && s.tenant == tenant)
        })
    }

    /// Makes a series that is not there; `None` when a table is full.
    pub fn create(&mut self, tenant: u32, key: SeriesKey, labels: &Labels) -> Option<u32> {
        let reuse = !self.frozen;
        let state = &mut self.tenants[tenant as usize];
        let mut pairs = std::mem::take(&mut self.pair_scratch);

        pairs.clear();
        pairs.extend(
            labels
                .iter()
                .map(|(name, value)| state.index.intern(name, value, reuse)),
        );

        let list = self.lists.insert(&pairs);

        let slot = list.and_then(|list| self.series.insert(Series::new(key, tenant, list), reuse));
        if let Some(slot) = slot {
            self.keys.insert(key, slot);
            state.index.add_series(slot, &pairs);
            state.series += 1;
        }

        self.pair_scratch = pairs;
        slot
    }

    /// The slot of a label set in canonical form, made when new.
    pub fn find_or_create(&mut self, tenant: u32, labels: &Labels) -> Option<u32> {
        let key = SeriesKey::of(self.tenants[tenant as usize].seed, labels.as_bytes());
        self.find(tenant, key)
            .or_else(|| self.create(tenant, key, labels))
    }

    pub fn index_of(&self, series: &Series) -> &Index {
        &self.tenants[series.tenant as usize].index
    }

    /// Label set of a series.
    pub fn labels_of(&self, series: &Series) -> Labels {
        let mut scratch = Vec::with_capacity(512);
        self.index_of(series)
            .labels(self.lists.get(series.labels), &mut scratch)
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::{Exemplar, MetricMetadata};

    use super::*;

    fn state(options: &ShardOptions) -> State {
        State::new(options).expect("the directory can be written")
    }

    fn options(dir: &tempfile::TempDir) -> ShardOptions {
        let own = StreamId {
            incarnation: trireme_base::Incarnation(1),
            boot: trireme_base::Boot(1),
        };
        ShardOptions::new(0, 1, 7_200_000, dir.path().to_owned(), own)
    }

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("a valid name")
    }

    #[test]
    fn equal_keys_of_two_tenants_are_two_series() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = state(&options(&dir));
        let a = state.intern_tenant(&tenant("a"));
        let b = state.intern_tenant(&tenant("b"));

        // Names with equal seeds can be made: the hash is no secret.
        state.tenants[b as usize].seed = state.tenants[a as usize].seed;

        let labels = Labels::from_pairs([("__name__", "up")]);
        let of_a = state.find_or_create(a, &labels).expect("room");
        let of_b = state.find_or_create(b, &labels).expect("room");

        assert_ne!(of_a, of_b);
        let key = SeriesKey::of(state.tenants[a as usize].seed, labels.as_bytes());
        assert_eq!(
            (state.find(a, key), state.find(b, key)),
            (Some(of_a), Some(of_b))
        );
    }

    #[test]
    fn tenants_without_data_make_room_for_new_ones() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = state(&options(&dir));
        let first = state.intern_tenant(&tenant("typo"));
        let kept = state.intern_tenant(&tenant("kept"));

        state
            .find_or_create(kept, &Labels::from_pairs([("__name__", "up")]))
            .expect("room");

        assert!(!state.has_place_for_tenant(2));

        state.note_idle_tenants();
        assert!(
            !state.has_place_for_tenant(2),
            "one collection is not long enough"
        );

        state.note_idle_tenants();
        assert!(state.has_place_for_tenant(2));
        assert_eq!(state.intern_tenant(&tenant("new")), first);
        assert_eq!(state.tenant_number("typo"), None);
        assert_eq!(state.tenant_number("kept"), Some(kept));
        assert_eq!(state.tenants.len(), 2);
    }

    #[test]
    fn a_tenant_that_comes_back_keeps_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = state(&options(&dir));
        let first = state.intern_tenant(&tenant("a"));

        state.note_idle_tenants();
        state.note_idle_tenants();
        assert_eq!(state.intern_tenant(&tenant("a")), first);
        assert_eq!(state.intern_tenant(&tenant("b")), first + 1);

        // While numbers are written down, none changes hands.
        state.note_idle_tenants();
        state.note_idle_tenants();
        state.frozen = true;
        assert_eq!(state.intern_tenant(&tenant("c")), first + 2);
    }

    #[test]
    fn exemplars_and_metadata_of_all_tenants_are_bounded_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = options(&dir);
        (options.exemplar_bytes_max, options.metadata_bytes_max) = (100_000, 100_000);

        let mut state = state(&options);
        let small = state.intern_tenant(&tenant("small")) as usize;
        state.tenants[small].add_metadata("up", &MetricMetadata::default(), 10);

        for i in 0..20 {
            let number = state.intern_tenant(&tenant(&format!("large-{i}"))) as usize;
            for n in 0..100 {
                let help = "h".repeat(1_000);
                let metadata = MetricMetadata {
                    help,
                    ..MetricMetadata::default()
                };

                state.tenants[number].add_metadata(&format!("m{n}"), &metadata, 1_000);
                let labels = Labels::from_pairs([("trace_id", "x".repeat(500))]);
                state.tenants[number].add_exemplar(
                    SeriesKey(n),
                    &Exemplar {
                        labels,
                        v: 1.0,
                        t: 1,
                    },
                    1_000,
                );
            }

            state.relieve(&options);
            assert!(
                state
                    .tenants
                    .iter()
                    .map(|t| t.metadata_bytes)
                    .sum::<usize>()
                    <= 100_000
            );

            assert!(
                state
                    .tenants
                    .iter()
                    .map(|t| t.exemplar_bytes)
                    .sum::<usize>()
                    <= 100_000
            );
        }

        assert_eq!(
            state.tenants[small].metadata.len(),
            1,
            "who has little loses nothing"
        );
    }
}
