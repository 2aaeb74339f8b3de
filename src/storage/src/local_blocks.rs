//! The local blocks of a node, shared by the block writer, the uploader and queries.
//!
//! ```text
//! blocks/<tenant>/<ULID>/             a block
//! blocks/<tenant>/<ULID>.shipped      its copy in the bucket was verified
//! blocks/<tenant>/quarantine-<ULID>/  a damaged block, set aside for a person to look at
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use slog::{Logger, error, info, warn};
use trireme_block::{
    Block, BlockError, BlockMeta, Incoming, scan_all, set_aside, set_aside_blocks,
};
use trireme_model::Tenant;
use ulid::Ulid;

/// Threads that open blocks at a start: most of the time goes into waiting for the disk.
const OPENING_AT_ONCE: usize = 8;

/// A local block.
pub struct LocalBlock {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its directory.
    pub dir: PathBuf,
    /// Open for reading.
    pub block: Arc<Block>,
    /// Bytes of its files, once somebody has asked.
    bytes: OnceLock<u64>,
    shipped: AtomicBool,
    damaged: AtomicBool,
    /// The list's generation since it is there; 0 if a start found it.
    added: u64,
}

impl LocalBlock {
    /// Its meta.
    pub fn meta(&self) -> &BlockMeta {
        self.block.meta()
    }

    /// What it is called among all blocks.
    fn name(&self) -> (Tenant, Ulid) {
        (self.tenant.clone(), self.meta().ulid)
    }

    /// True once the copy in the bucket was verified.
    pub fn is_shipped(&self) -> bool {
        self.shipped.load(Ordering::Acquire)
    }

    /// Notes on disk that the copy in the bucket was verified.
    pub fn set_shipped(&self) -> std::io::Result<()> {
        fs::write(self.shipped_file(), b"")?;
        self.shipped.store(true, Ordering::Release);
        Ok(())
    }

    /// True if its files were found not to be what was written. What can be read of it is still answered until a good
    /// copy is here.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Its files are not what was written.
    pub fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// When it was noted as shipped (ms since the epoch); `None` if it was not, or cannot be found out.
    pub fn shipped_at_ms(&self) -> Option<i64> {
        let noted = fs::metadata(self.shipped_file())
            .and_then(|file| file.modified())
            .ok()?;
        let since = noted.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis())
            .ok()
            .filter(|_| self.is_shipped())
    }

    fn shipped_file(&self) -> PathBuf {
        self.dir.with_extension("shipped")
    }

    /// Bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        *self.bytes.get_or_init(|| {
            let files = |dir: &Path| {
                fs::read_dir(dir)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter_map(|e| e.metadata().ok())
            };

            let sum = |dir: &Path| {
                files(dir)
                    .filter(|m| m.is_file())
                    .map(|m| m.len())
                    .sum::<u64>()
            };

            sum(&self.dir) + sum(&self.dir.join(trireme_block::CHUNKS_DIR))
        })
    }
}

/// Blocks by what they are called, so that those of a tenant lie beside each other.
type ByName = BTreeMap<(Tenant, Ulid), Arc<LocalBlock>>;

/// All local blocks.
pub struct LocalBlocks {
    root: PathBuf,
    blocks: RwLock<ByName>,
    /// Blocks that were set aside and are not back yet.
    lost: Mutex<BTreeSet<(Tenant, Ulid)>>,
    /// Held while directories of blocks get or lose their names.
    placing: Mutex<()>,
    generation: AtomicU64,
    log: Logger,
}

impl LocalBlocks {
    /// Opens every block under `root`; damaged ones are set aside and named in the log.
    pub fn open(root: &Path, log: Logger) -> Result<Self, BlockError> {
        let local_blocks = Self {
            root: root.to_owned(),
            blocks: RwLock::default(),
            lost: Mutex::default(),
            placing: Mutex::default(),
            generation: AtomicU64::new(0),
            log,
        };

        let tenants = local_blocks.tenants()?;
        let dirs: Vec<PathBuf> = tenants
            .iter()
            .map(|tenant| local_blocks.tenant_dir(tenant))
            .collect();

        let scans = scan_all(&dirs, OPENING_AT_ONCE)?;
        for ((tenant, dir), scan) in tenants.into_iter().zip(dirs).zip(scans) {
            for name in scan.removed {
                info!(local_blocks.log, "removed what a crash left of a block"; "tenant" => %tenant, "name" => name);
            }

            for bad in scan.quarantined {
                error!(local_blocks.log, "damaged block was set aside"; "tenant" => %tenant,
                    "block_id" => %bad.ulid, "path" => %bad.path.display(), "reason" => %bad.reason);
            }

            let here: BTreeSet<Ulid> = scan.blocks.iter().map(|block| block.meta().ulid).collect();
            let lost = set_aside_blocks(&dir)?
                .into_iter()
                .filter(|ulid| !here.contains(ulid));

            local_blocks
                .lost
                .lock()
                .extend(lost.map(|ulid| (tenant.clone(), ulid)));

            let mut blocks = local_blocks.blocks.write();
            for block in scan.blocks {
                let entry = local_blocks.entry(&tenant, block);
                blocks.insert(entry.name(), Arc::new(entry));
            }
        }

        Ok(local_blocks)
    }

    /// Tenants that have a directory, by name.
    fn tenants(&self) -> Result<Vec<Tenant>, BlockError> {
        let io = |source| BlockError::Io {
            place: self.root.display().to_string(),
            source,
        };

        let mut tenants = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io)? {
            let entry = entry.map_err(io)?;
            let tenant = entry
                .file_name()
                .to_str()
                .and_then(|name| Tenant::new(name).ok());
            tenants.extend(tenant.filter(|_| entry.path().is_dir()));
        }

        tenants.sort_unstable();
        Ok(tenants)
    }

    fn entry(&self, tenant: &Tenant, block: Block) -> LocalBlock {
        let dir = self.tenant_dir(tenant).join(block.meta().ulid.to_string());
        let entry = LocalBlock {
            tenant: tenant.clone(),
            dir,
            block: Arc::new(block),
            bytes: OnceLock::new(),
            shipped: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            added: 0,
        };

        entry
            .shipped
            .store(entry.shipped_file().exists(), Ordering::Release);

        entry
    }

    /// Where a tenant's blocks lie.
    pub fn tenant_dir(&self, tenant: &Tenant) -> PathBuf {
        Self::tenant_dir_in(&self.root, tenant)
    }

    /// The same for the list that would be opened over `root`.
    pub fn tenant_dir_in(root: &Path, tenant: &Tenant) -> PathBuf {
        root.join(tenant.as_str())
    }

    /// All blocks, by tenant and name.
    pub fn blocks(&self) -> Vec<Arc<LocalBlock>> {
        self.blocks.read().values().cloned().collect()
    }

    /// The block of this name.
    pub fn find(&self, tenant: &Tenant, ulid: Ulid) -> Option<Arc<LocalBlock>> {
        self.blocks.read().get(&(tenant.clone(), ulid)).cloned()
    }

    /// Blocks that were set aside, at this start or an earlier one, and are not back.
    pub fn lost(&self) -> Vec<(Tenant, Ulid)> {
        self.lost.lock().iter().cloned().collect()
    }

    /// Rises with each block that is added; the head lets go of a block's samples only after that.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// As [`LocalBlocks::generation`], of a tenant's blocks with samples in `[start_ms, end_ms]`: it changes with each of them that is
    /// added.
    pub fn generation_of(&self, tenant: &Tenant, start_ms: i64, end_ms: i64) -> u64 {
        let first = (tenant.clone(), Ulid::nil());
        let last = (tenant.clone(), Ulid(u128::MAX));
        let blocks = self.blocks.read();
        let of_tenant = blocks.range(first..=last).map(|(_, block)| block);
        let concerned = of_tenant.filter(|block| block.meta().overlaps(start_ms, end_ms));
        concerned.map(|block| block.added).max().unwrap_or(0)
    }

    /// Adds a block that was written to the tenant's directory; nothing happens if it is there.
    pub fn add(&self, tenant: &Tenant, meta: &BlockMeta) -> Result<(), BlockError> {
        let _placing = self.placing.lock();
        if self.find(tenant, meta.ulid).is_some() {
            return Ok(());
        }
        self.enter(tenant, meta.ulid)
    }

    /// Puts a copy of a block that was checked into its place. A damaged block there is set aside; where it is then is
    /// the answer. A good one stays, and the copy is dropped.
    pub fn put(&self, tenant: &Tenant, copy: Incoming) -> Result<Option<PathBuf>, BlockError> {
        let _placing = self.placing.lock();
        let dir = self.tenant_dir(tenant);
        let ulid = copy.ulid();
        let old = self.find(tenant, ulid);
        if old.as_ref().is_some_and(|block| !block.is_damaged()) {
            return Ok(None);
        }

        // Somebody may have removed its directory.
        let aside = match old.filter(|block| block.dir.exists()) {
            Some(_) => Some(set_aside(&dir, ulid)?),
            None => None,
        };

        // If there is one of that name now, a cut has written it.
        copy.publish()?;
        self.enter(tenant, ulid)?;

        Ok(aside)
    }

    /// Opens a block that is in its place, and answers queries from it. Called with `placing` held.
    fn enter(&self, tenant: &Tenant, ulid: Ulid) -> Result<(), BlockError> {
        let block = Block::open(&self.tenant_dir(tenant).join(ulid.to_string()))?;
        // One block at a time, since `placing` is held.
        let added = self.generation() + 1;
        let entry = Arc::new(LocalBlock {
            added,
            ..self.entry(tenant, block)
        });

        self.blocks.write().insert(entry.name(), entry);
        self.lost.lock().remove(&(tenant.clone(), ulid));
        self.generation.store(added, Ordering::SeqCst);

        Ok(())
    }

    /// End of the newest block (ms, exclusive).
    pub fn newest_ms(&self) -> Option<i64> {
        self.blocks
            .read()
            .values()
            .map(|block| block.meta().max_time)
            .max()
    }

    /// Drops blocks that are `keep_ms` older than the newest, and the oldest while all are larger than `bytes_max` (0: no
    /// bound). A block that was not shipped stays if `only_shipped`. Answers how many went.
    ///
    /// Age counts from the newest block, as in Prometheus, so that a wrong clock drops nothing; and at most from `now_ms`, so
    /// that a block from the future does not either.
    pub fn retain(&self, now_ms: i64, keep_ms: i64, bytes_max: u64, only_shipped: bool) -> usize {
        let mut oldest_first = self.blocks();
        oldest_first.sort_by_key(|b| b.meta().max_time);
        let newest_ms = oldest_first.last().map_or(i64::MIN, |b| b.meta().max_time);
        let keep_from_ms = now_ms.min(newest_ms).saturating_sub(keep_ms);
        let mut bytes: u64 = if bytes_max == 0 {
            0
        } else {
            oldest_first.iter().map(|b| b.size_bytes()).sum()
        };

        let mut dropped = 0;
        for block in oldest_first {
            let over = bytes_max > 0 && bytes > bytes_max;
            if (block.meta().max_time <= keep_from_ms || over)
                && (block.is_shipped() || !only_shipped)
            {
                bytes = bytes.saturating_sub(if bytes_max == 0 {
                    0
                } else {
                    block.size_bytes()
                });
                self.drop_block(&block);
                dropped += 1;
            }
        }

        dropped
    }

    fn drop_block(&self, block: &Arc<LocalBlock>) {
        let _placing = self.placing.lock();
        {
            let mut blocks = self.blocks.write();
            // Another one may have taken its place.
            if blocks
                .get(&block.name())
                .is_some_and(|there| Arc::ptr_eq(there, block))
            {
                blocks.remove(&block.name());
            }
        }

        // Running queries keep their mapping of the files; a crash in between leaves a temporary for the next scan.
        let doomed = block
            .dir
            .with_file_name(format!("tmp-delete-{}", block.meta().ulid));
        let removed = fs::rename(&block.dir, &doomed).and_then(|()| fs::remove_dir_all(&doomed));
        let _ = fs::remove_file(block.shipped_file());

        match removed {
            Ok(()) => {
                info!(self.log, "local block dropped by retention"; "tenant" => %block.tenant,
                "block_id" => %block.meta().ulid)
            }
            Err(err) => {
                warn!(self.log, "local block could not be removed"; "tenant" => %block.tenant,
                "block_id" => %block.meta().ulid, "err" => %err)
            }
        }
    }
}
