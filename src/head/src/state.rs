//! A shard's data, behind its lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use trireme_base::StreamId;
use trireme_model::{Labels, SeriesKey, Tenant};
use trireme_wire::entry::FloatEntry;

use crate::bucket::BucketId;
use crate::chunkfile::{CHUNKS_DIR, ChunkFiles};
use crate::cut::OpenCuts;
use crate::index::{Index, Lists};
use crate::keys::KeyTable;
use crate::series::Series;
use crate::slab::Slab;
use crate::streams::{Positions, Stream};
use crate::tenant::TenantState;
use crate::{HeadError, ShardOptions, TenantTimes};

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
    /// Per stream the seq up to which its samples of cuts up to `number` are in blocks.
    pub positions: Positions,
}

pub(crate) struct State {
    pub tenants: Vec<TenantState>,
    times: Arc<TenantTimes>,
    tenant_ids: HashMap<Arc<str>, u32, FixedState>,
    pub series: Slab<Series>,
    pub keys: KeyTable,
    pub lists: Lists,
    pub aliases: HashMap<u128, Alias, FixedState>,
    pub files: ChunkFiles,
    pub streams: BTreeMap<StreamId, Stream>,
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
            series: Slab::new(),
            keys: KeyTable::new(),
            lists: Lists::default(),
            aliases: HashMap::with_hasher(FixedState::default()),
            files: ChunkFiles::open(&options.dir.join(CHUNKS_DIR))?,
            streams: BTreeMap::new(),
            own_marker: None,
            next_ref: 1,
            last_cut: LastCut::default(),
            cutting: None,
            frozen: false,
            cuts: OpenCuts::default(),
            conflicts: 0,
            dropped_series: 0,
            scratch: Vec::new(),
            floats: Vec::new(),
            label_scratch: Vec::new(),
            pair_scratch: Vec::new(),
        })
    }

    pub fn tenant_number(&self, tenant: &str) -> Option<u32> {
        self.tenant_ids.get(tenant).copied()
    }

    /// Number of a tenant, made when new.
    pub fn intern_tenant(&mut self, tenant: &Tenant) -> u32 {
        if let Some(number) = self.tenant_number(tenant.as_str()) {
            return number;
        }
        let number = self.tenants.len() as u32;
        let newest = self.times.of(tenant.as_str());
        self.tenants.push(TenantState::new(tenant.clone(), newest));
        self.tenant_ids.insert(Arc::from(tenant.as_str()), number);
        number
    }

    /// The last cut, made or begun, below which nothing new may go.
    pub fn cut_floor(&self) -> Option<i64> {
        self.cutting.as_ref().map(|(k, _)| *k).max(self.last_cut.number)
    }

    /// Notes cuts that samples went to.
    pub fn note_cuts(&mut self, cuts: impl IntoIterator<Item = BucketId>) {
        let last = self.last_cut.number;
        cuts.into_iter().filter(|id| Some(id.cut) > last).for_each(|id| self.cuts.note(id));
    }

    #[inline]
    pub fn find(&self, key: SeriesKey) -> Option<u32> {
        self.keys.find(key, |slot| self.series.get(slot).is_some_and(|s| s.key == key))
    }

    /// Makes a series that is not there; `None` when a table is full.
    pub fn create(&mut self, tenant: u32, key: SeriesKey, labels: &Labels) -> Option<u32> {
        let reuse = !self.frozen;
        let state = &mut self.tenants[tenant as usize];
        let mut pairs = std::mem::take(&mut self.pair_scratch);
        pairs.clear();
        pairs.extend(labels.iter().map(|(name, value)| state.index.intern(name, value, reuse)));
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
        self.find(key).or_else(|| self.create(tenant, key, labels))
    }

    pub fn index_of(&self, series: &Series) -> &Index {
        &self.tenants[series.tenant as usize].index
    }

    /// Label set of a series.
    pub fn labels_of(&self, series: &Series) -> Labels {
        let mut scratch = Vec::with_capacity(512);
        self.index_of(series).labels(self.lists.get(series.labels), &mut scratch)
    }
}
