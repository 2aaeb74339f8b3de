//! Power cuts: what was not synced is partly there, partly not, in any mixture of sectors.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use support::{Recorder, draft, record, stream};
use trireme_base::{SeededRng, SystemClock};
use trireme_log::disk::{Disk, DiskFile, RealDisk};
use trireme_log::{CompletionTag, Log, LogOptions};

const SECTOR: usize = 512;

/// What of each file would survive a power cut, and what is only in the page cache.
#[derive(Clone, Default)]
struct PowerDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Bytes>>>,
    /// The known bug: a sync that does nothing.
    skip_sync: bool,
}

#[derive(Default)]
struct Bytes {
    synced: Vec<u8>,
    cached: Vec<u8>,
}

struct PowerFile {
    path: PathBuf,
    disk: PowerDisk,
    file: Box<dyn DiskFile>,
    at: usize,
}

impl PowerFile {
    fn change<T>(&self, change: impl FnOnce(&mut Bytes) -> T) -> T {
        change(self.disk.files.lock().entry(self.path.clone()).or_default())
    }
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.create(path, bytes)?;
        let zeros = vec![0; bytes as usize];
        self.files.lock().insert(
            path.to_owned(),
            Bytes {
                synced: zeros.clone(),
                cached: zeros,
            },
        );

        Ok(Box::new(PowerFile {
            path: path.to_owned(),
            disk: self.clone(),
            file,
            at: 0,
        }))
    }
}

impl DiskFile for PowerFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let all: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let end = self.at + all.len();
        self.change(|bytes| {
            if bytes.cached.len() < end {
                bytes.cached.resize(end, 0);
            }
            bytes.cached[end - all.len()..end].copy_from_slice(&all);
        });

        self.at = end;
        self.file.write_all(buffers)
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset as usize;
        self.file.rewind(offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.disk.skip_sync {
            self.change(|bytes| bytes.synced.clone_from(&bytes.cached));
        }
        Ok(())
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.change(|b| b.cached.truncate(bytes as usize));
        self.file.shrink(bytes)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.file.publish(from, to)?;
        let mut files = self.disk.files.lock();
        let bytes = files.remove(from).unwrap();
        files.insert(to.to_owned(), bytes);
        self.path = to.to_owned();
        Ok(())
    }
}

impl PowerDisk {
    /// Writes to `dir` what a cut leaves now: the synced bytes, and any sectors of the rest.
    fn cut(&self, from: &Path, dir: &Path, rng: &mut SeededRng) {
        std::fs::create_dir_all(dir).unwrap();
        for (path, bytes) in &*self.files.lock() {
            let mut left = bytes.synced.clone();
            if left != bytes.cached {
                left.resize(left.len().max(bytes.cached.len()), 0);
                for (n, sector) in bytes.cached.chunks(SECTOR).enumerate() {
                    if rng.chance(0.5) {
                        left[n * SECTOR..n * SECTOR + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            std::fs::write(dir.join(path.strip_prefix(from).unwrap()), left).unwrap();
        }
    }
}

/// Writes at random, cuts the power in the middle, starts again; true if everything called durable is there.
fn survives(seed: u64, skip_sync: bool) -> bool {
    let mut rng = SeededRng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("before");
    let after = dir.path().join("after");
    let disk = PowerDisk {
        skip_sync,
        ..PowerDisk::default()
    };
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        ..support::options()
    };
    let open = |dir: &Path, own, options| {
        Log::open(
            dir,
            options,
            stream(own),
            &[],
            Arc::new(Recorder::default()),
            Arc::new(SystemClock::new()),
        )
        .unwrap()
    };

    let (log, _) = open(&home, 1, options);

    let mut seq = 0;
    for tag in 0..20 + rng.below(60) {
        if rng.chance(0.5) {
            log.append_own(vec![draft(0, rng.below(900) as usize)], CompletionTag(tag))
                .unwrap();
        } else {
            seq += 1;
            log.append_foreign(vec![record(stream(9), seq, (seq as usize * 37) % 900)])
                .unwrap();
        }
        if rng.chance(0.3) {
            log.flush().unwrap();
        }
    }

    // First what was promised, then the cut: the log's thread may go on between, which only adds.
    let durable = log.durable_positions();
    disk.cut(&home, &after, &mut rng);
    drop(log);

    let (log, found) = open(&after, 2, support::options());
    let all_there = durable.iter().all(|(stream, seq): &(_, u64)| {
        found.positions.iter().any(|(s, q)| s == stream && q >= seq)
    });

    if !skip_sync {
        assert!(
            found.damage.is_empty(),
            "seed {seed}: a torn write is no damage: {found:?}"
        );
        for (id, last) in &found.positions {
            let mut next = 1;
            while next <= *last {
                let records = log.read(*id, next, 10_000).unwrap();
                assert!(
                    records
                        .iter()
                        .enumerate()
                        .all(|(n, r)| r.seq() == next + n as u64),
                    "seed {seed}"
                );
                next += records.len() as u64;
            }
        }
    }

    all_there
}

#[test]
fn a_power_cut_takes_nothing_that_was_called_durable() {
    for seed in 0..60 {
        assert!(survives(seed, false), "seed {seed}");
    }
}

#[test]
fn the_same_test_notices_a_sync_that_does_nothing() {
    assert!((0..20).any(|seed| !survives(seed, true)));
}
