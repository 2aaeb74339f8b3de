//! Files of the log on a simulated disk.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use trireme_log::disk::{Disk, DiskFile, ReadFile};

use super::{SimDisk, State, SyncFault};
use crate::mutation::Mutation;

/// EIO.
const EIO: i32 = 5;

struct SimFile {
    path: PathBuf,
    file: File,
    at: u64,
    disk: SimDisk,
}

struct SimRead {
    path: PathBuf,
    file: File,
    disk: SimDisk,
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, _: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        // What an earlier file of that name held went with it.
        state
            .all()
            .into_iter()
            .for_each(|ranges| ranges.remove(path));

        if state.free_bytes == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }

        drop(state);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(SimFile {
            path: path.to_owned(),
            file,
            at: 0,
            disk: self.clone(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(SimRead {
            path: path.to_owned(),
            file: File::open(path)?,
            disk: self.clone(),
        }))
    }
}

impl ReadFile for SimRead {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.0.lock();
        if state.bad.meet(&self.path, offset, buffer.len() as u64) {
            return Err(match state.mutation {
                Some(Mutation::StopAtBadSector) => io::Error::other("simulated EIO"),
                _ => io::Error::from_raw_os_error(EIO),
            });
        }

        FileExt::read_exact_at(&self.file, buffer, offset)
    }
}

impl State {
    /// A sync of a file fails: what it was for is in memory, and the next one of the file will call it done.
    fn fail_sync(&mut self, path: &Path, fault: SyncFault) -> io::Result<()> {
        self.has_lost_records |= self.unsynced.have_records_of(path);
        self.failed.take_of(path, &mut self.unsynced);
        self.failed.take_of(path, &mut self.torn);

        match (fault, self.mutation) {
            (_, Some(Mutation::IgnoreSyncError))
            | (SyncFault::Full, Some(Mutation::IgnoreFullSync)) => Ok(()),
            (SyncFault::Io, _) => Err(io::Error::from_raw_os_error(EIO)),
            (SyncFault::Full, _) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// The log's writer holds none of its locks.
    fn note_written(&mut self) {
        let Some(log) = self.log.upgrade() else {
            return;
        };
        self.safe
            .merge(&log.written_positions().into_iter().collect());
    }

    /// A segment has got its name. If it has again what a failed sync has lost, that is on the disk.
    fn look_for_lost(&mut self) -> io::Result<()> {
        let Some(log) = self.log.upgrade() else {
            return Ok(());
        };

        let found = self.look()?;
        self.safe.merge(&found);
        self.has_lost_records = log
            .written_positions()
            .into_iter()
            .any(|(s, seq)| found.get(s) < seq);

        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let all: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let mut state = self.disk.0.lock();

        let room = state.free_bytes.unwrap_or(u64::MAX).min(all.len() as u64);
        if let Some(free) = &mut state.free_bytes {
            *free -= room;
        }

        self.file.write_all_at(&all[..room as usize], self.at)?;
        let is_torn = room < all.len() as u64;

        let fails = is_torn && state.mutation != Some(Mutation::AckTornWrite);
        if room > 0 {
            let ranges = if fails {
                &mut state.torn
            } else {
                &mut state.unsynced
            };
            ranges.push(&self.path, self.at, room);
        }

        if fails {
            return Err(io::ErrorKind::StorageFull.into());
        }

        state.has_torn |= is_torn;
        self.at += all.len() as u64;
        Ok(())
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if let Some(fault) = state.next_sync.take() {
            return state.fail_sync(&self.path, fault);
        }

        let is_unnamed = self.path.extension().is_some_and(|e| e == "tmp");
        let lies = match state.mutation {
            Some(Mutation::AckBeforeFsync) => true,
            Some(Mutation::NameBeforeSync) => is_unnamed,
            _ => false,
        };

        if !lies {
            state.unsynced.remove(&self.path);
            state.torn.remove(&self.path);
        }

        // The log may have written more by the time anybody asks.
        if state.is_safe() {
            state.note_written();
        }

        Ok(())
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        let mut state = self.disk.0.lock();
        state
            .all()
            .into_iter()
            .for_each(|ranges| ranges.rename(from, to));
        self.path = to.to_owned();

        if state.has_lost_records {
            state.look_for_lost()?;
        }

        Ok(())
    }
}
