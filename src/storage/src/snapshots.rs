//! Snapshots that this node holds for peers that are being rebuilt.
//!
//! ```text
//! snapshots/<number>/manifest      CRC32C u32, then what is in it and for whom
//! snapshots/<number>/head/...      hard links to checkpoints and chunk files, a copy of the cut manifest
//! snapshots/<number>/blocks/...    hard links to blocks
//! ```
//!
//! Links keep the files while the originals are replaced and deleted, and cost no room until then. While a snapshot is
//! held, the log behind its positions is kept as well, so that who installs it finds the rest. Both are bounded: a
//! snapshot nobody asked about for the lease is let go, and so is every one when the log has twice its retention.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use slog::{Logger, info, warn};
use trireme_base::{Clock, Incarnation, StreamId};
use trireme_wire::rebuild::Manifest;

/// Peers that may be rebuilt from here at a time.
const HELD_MAX: usize = 4;
const MANIFEST: &str = "manifest";

#[derive(Clone, PartialEq, Message)]
struct Held {
    /// Incarnation of the replica it was made for.
    #[prost(fixed64, tag = "1")]
    taker: u64,
    #[prost(message, optional, tag = "2")]
    manifest: Option<Manifest>,
}

struct Snapshot {
    taker: Incarnation,
    manifest: Arc<Manifest>,
    used_at: Duration,
}

/// All snapshots of a node.
pub struct Snapshots {
    root: PathBuf,
    lease: Duration,
    clock: Arc<dyn Clock>,
    held: Mutex<BTreeMap<u64, Snapshot>>,
    /// The last number given out; changed under the lock of `held`.
    last: AtomicU64,
    log: Logger,
}

impl Snapshots {
    /// Opens what an earlier process held, so that a rebuild goes on after a restart of its source.
    pub fn open(
        root: &Path,
        lease: Duration,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> io::Result<Self> {
        fs::create_dir_all(root)?;

        let mut held = BTreeMap::new();
        for entry in fs::read_dir(root)? {
            let dir = entry?.path();
            match load(&dir) {
                Some((taker, manifest)) => {
                    info!(log, "snapshot of an earlier start is held"; "snapshot" => manifest.snapshot);
                    let snapshot = manifest.snapshot;
                    let used_at = clock.monotonic();
                    held.insert(
                        snapshot,
                        Snapshot {
                            taker,
                            manifest: Arc::new(manifest),
                            used_at,
                        },
                    );
                }
                None => fs::remove_dir_all(&dir)?,
            }
        }

        let last = AtomicU64::new(held.keys().next_back().copied().unwrap_or(0));
        Ok(Self {
            root: root.to_owned(),
            lease,
            clock,
            held: Mutex::new(held),
            last,
            log,
        })
    }

    /// A new snapshot for `taker`: `fill` puts files into the given directory and tells what they are. The one that was
    /// made for it before is let go.
    pub fn make<E: From<io::Error>>(
        &self,
        taker: Incarnation,
        fill: impl FnOnce(&Path) -> Result<Manifest, E>,
    ) -> Result<Arc<Manifest>, E> {
        let number = {
            let mut held = self.held.lock();
            let old: Vec<u64> = held
                .iter()
                .filter(|(_, s)| s.taker == taker)
                .map(|(n, _)| *n)
                .collect();

            old.into_iter()
                .for_each(|number| self.drop_one(&mut held, number, "made anew"));
            if held.len() >= HELD_MAX {
                return Err(
                    io::Error::other(format!("{HELD_MAX} snapshots are held already")).into(),
                );
            }

            // Wall time: a number must not come again after a restart, nor within this process.
            let number = self
                .clock
                .now_ms()
                .unsigned_abs()
                .max(self.last.load(Ordering::Relaxed) + 1);

            self.last.store(number, Ordering::Relaxed);
            number
        };

        let dir = self.dir(number);
        fs::create_dir_all(&dir)?;
        let filled = fill(&dir).and_then(|manifest| {
            let manifest = Manifest {
                snapshot: number,
                ..manifest
            };
            store(&dir, taker, &manifest)?;
            Ok(manifest)
        });

        let manifest = match filled {
            Ok(manifest) => Arc::new(manifest),
            Err(error) => {
                // A start removes it where this fails.
                let _ = fs::remove_dir_all(&dir);
                return Err(error);
            }
        };

        info!(self.log, "snapshot made for a peer"; "snapshot" => number, "peer_incarnation" => %taker,
            "files" => manifest.files.len(), "bytes" => manifest.bytes());
        let used_at = self.clock.monotonic();

        self.held.lock().insert(
            number,
            Snapshot {
                taker,
                manifest: Arc::clone(&manifest),
                used_at,
            },
        );

        Ok(manifest)
    }

    /// A file of a snapshot and its length; the lease begins anew.
    pub fn file(&self, snapshot: u64, file: usize) -> Option<(PathBuf, u64)> {
        let mut held = self.held.lock();
        let found = held.get_mut(&snapshot)?;
        found.used_at = self.clock.monotonic();
        let entry = found.manifest.files.get(file)?;
        Some((self.dir(snapshot).join(&entry.path), entry.bytes))
    }

    /// Lowers positions up to which the log may go to what the snapshots need; drops those whose lease is over.
    pub fn pin(&self, positions: &mut [(StreamId, u64)]) {
        let now = self.clock.monotonic();
        let mut held = self.held.lock();
        let is_over = |s: &Snapshot| now.saturating_sub(s.used_at) > self.lease;
        let over: Vec<u64> = held
            .iter()
            .filter(|(_, s)| is_over(s))
            .map(|(n, _)| *n)
            .collect();

        over.into_iter()
            .for_each(|number| self.drop_one(&mut held, number, "not asked for any more"));
        for snapshot in held.values() {
            let at: BTreeMap<StreamId, u64> = snapshot
                .manifest
                .positions
                .iter()
                .map(|p| (p.stream(), p.seq))
                .collect();
            for (stream, seq) in positions.iter_mut() {
                *seq = (*seq).min(at.get(stream).copied().unwrap_or(0));
            }
        }
    }

    /// Lets all go; true if there was one.
    pub fn drop_all(&self, why: &'static str) -> bool {
        let mut held = self.held.lock();
        let all: Vec<u64> = held.keys().copied().collect();
        all.iter()
            .for_each(|number| self.drop_one(&mut held, *number, why));
        !all.is_empty()
    }

    /// Snapshots held.
    pub fn len(&self) -> usize {
        self.held.lock().len()
    }

    /// True if none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn drop_one(&self, held: &mut BTreeMap<u64, Snapshot>, number: u64, why: &'static str) {
        held.remove(&number);
        info!(self.log, "snapshot let go"; "snapshot" => number, "reason" => why);
        if let Err(err) = fs::remove_dir_all(self.dir(number)) {
            warn!(self.log, "snapshot could not be removed"; "snapshot" => number, "err" => %err);
        }
    }

    fn dir(&self, number: u64) -> PathBuf {
        self.root.join(number.to_string())
    }
}

fn store(dir: &Path, taker: Incarnation, manifest: &Manifest) -> io::Result<()> {
    let body = Held {
        taker: taker.0,
        manifest: Some(manifest.clone()),
    }
    .encode_to_vec();

    let mut bytes = crc32c::crc32c(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    fs::write(dir.join(MANIFEST), bytes)
}

/// What a directory holds; `None` if it was not finished.
fn load(dir: &Path) -> Option<(Incarnation, Manifest)> {
    let bytes = fs::read(dir.join(MANIFEST)).ok()?;
    let (crc, body) = bytes.split_at_checked(4)?;
    if crc != crc32c::crc32c(body).to_le_bytes() {
        return None;
    }

    let held = Held::decode(body).ok()?;
    let manifest = held.manifest?;
    let named = dir.file_name()?.to_str()?.parse::<u64>().ok()? == manifest.snapshot;

    (named
        && manifest
            .files
            .iter()
            .all(|file: &trireme_wire::rebuild::SnapshotFile| {
                fs::metadata(dir.join(&file.path)).is_ok_and(|meta| meta.len() >= file.bytes)
            }))
    .then_some((Incarnation(held.taker), manifest))
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, ManualClock};
    use trireme_wire::frame::Position;
    use trireme_wire::rebuild::SnapshotFile;

    use super::*;

    fn stream(boot: u32) -> StreamId {
        StreamId {
            incarnation: Incarnation(1),
            boot: Boot(boot),
        }
    }

    fn fill(dir: &Path) -> io::Result<Manifest> {
        fs::create_dir_all(dir.join("head"))?;
        fs::write(dir.join("head/cut"), b"cut")?;
        let file = SnapshotFile {
            path: "head/cut".to_owned(),
            bytes: 3,
        };
        let position = Position {
            incarnation: 1,
            boot: 1,
            seq: 40,
        };

        Ok(Manifest {
            files: vec![file],
            positions: vec![position],
            ..Manifest::default()
        })
    }

    fn open(root: &Path, clock: &Arc<ManualClock>) -> Snapshots {
        let log = Logger::root(slog::Discard, slog::o!());
        Snapshots::open(root, Duration::from_secs(60), clock.clone(), log).expect("opens")
    }

    #[test]
    fn pins_the_log_behind_a_snapshot_until_its_lease_is_over() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(ManualClock::at(1_000));
        let snapshots = open(dir.path(), &clock);
        let made = snapshots.make(Incarnation(9), fill).expect("made");
        let pinned = |snapshots: &Snapshots| {
            let mut positions = [(stream(1), 100), (stream(2), 7)];
            snapshots.pin(&mut positions);
            positions.map(|(_, seq)| seq)
        };

        assert_eq!(
            pinned(&snapshots),
            [40, 0],
            "a stream that is younger is kept whole"
        );

        clock.advance_ms(50_000);
        assert_eq!(snapshots.file(made.snapshot, 0).expect("held").1, 3);
        assert_eq!(snapshots.file(made.snapshot, 1), None);
        clock.advance_ms(50_000);
        assert_eq!(pinned(&snapshots), [40, 0], "it was asked for meanwhile");
        clock.advance_ms(61_000);
        assert_eq!(pinned(&snapshots), [100, 7]);
        assert_eq!(snapshots.file(made.snapshot, 0), None);
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
    }

    #[test]
    fn survives_a_restart_and_keeps_one_per_replica() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(ManualClock::at(1_000));
        let first = open(dir.path(), &clock)
            .make(Incarnation(9), fill)
            .expect("made");
        let again = open(dir.path(), &clock);
        assert!(again.file(first.snapshot, 0).is_some());

        let second = again.make(Incarnation(9), fill).expect("made");
        assert!(
            again.file(first.snapshot, 0).is_none() && again.file(second.snapshot, 0).is_some()
        );

        again.make(Incarnation(8), fill).expect("made");
        assert_eq!(again.len(), 2);

        // One that a crash left unfinished is no snapshot.
        fs::write(
            dir.path().join(second.snapshot.to_string()).join(MANIFEST),
            b"torn",
        )
        .expect("written");

        assert_eq!(open(dir.path(), &clock).len(), 1);
    }
}
