//! The ring this node goes by, in memory and on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use slog::{Logger, error, info};
use tokio::sync::watch;
use trireme_ring::Ring;

use crate::file::{self, FileError};

/// The newest decided ring that this node has heard of, by whatever way: as a voter, or told by a peer. Rings are decided
/// by a majority of the voters, so of two rings the one with the higher epoch is the later one.
///
/// It survives restarts. A node that finds no majority of voters goes on with it: the ring stands still then, writes
/// do not.
pub struct RingBook {
    path: PathBuf,
    current: watch::Sender<Arc<Ring>>,
    writing: Mutex<()>,
    log: Logger,
}

impl RingBook {
    /// Opens the book in `dir`; without one the ring of the settings is taken, and not written down.
    ///
    /// A damaged book is put aside: the other members know the ring.
    pub fn open(dir: &Path, of_settings: Ring, log: Logger) -> Result<Self, FileError> {
        std::fs::create_dir_all(dir).map_err(|e| io_error(dir, e))?;
        let path = dir.join("ring.json");
        let ring = match file::read::<Ring>(&path) {
            Ok(Some(ring)) => {
                info!(log, "ring read from the data directory"; "epoch" => ring.epoch);
                ring
            }
            Ok(None) => of_settings,
            Err(FileError::Damaged { reason, .. }) => {
                error!(log, "the ring in the data directory is damaged, peers will tell it"; "reason" => reason);
                file::set_aside(&path).map_err(|e| io_error(&path, e))?;
                of_settings
            }
            Err(error) => return Err(error),
        };

        Ok(Self {
            path,
            current: watch::Sender::new(Arc::new(ring)),
            writing: Mutex::default(),
            log,
        })
    }

    /// The ring now.
    pub fn current(&self) -> Arc<Ring> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of each change; the value seen last is the one at the time of the call.
    pub fn changes(&self) -> watch::Receiver<Arc<Ring>> {
        self.current.subscribe()
    }

    /// Takes a decided ring if it is newer. Blocks for an fsync. True if it was.
    pub fn adopt(&self, ring: &Ring) -> io::Result<bool> {
        let _one_at_a_time = self.writing.lock();
        if ring.epoch <= self.current().epoch {
            return Ok(false);
        }

        file::write(&self.path, ring).map_err(|e: io::Error| {
            io::Error::new(e.kind(), format!("{}: {e}", self.path.display()))
        })?;
        info!(self.log, "ring changed"; "epoch" => ring.epoch);
        self.current.send_replace(Arc::new(ring.clone()));

        Ok(true)
    }
}

fn io_error(path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use slog::{Discard, o};
    use trireme_ring::{Group, Member};

    use super::*;

    fn ring(epoch: u64) -> Ring {
        let members = ["n0", "n1", "n2"].map(|n| Member::active(n, &format!("{n}:1")));
        Ring::new(epoch, 3, vec![Group::new("g0", members.to_vec())]).expect("valid")
    }

    fn open(dir: &Path) -> RingBook {
        RingBook::open(dir, ring(1), Logger::root(Discard, o!())).expect("opens")
    }

    #[test]
    fn goes_by_the_newest_ring_it_has_heard_of_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let book = open(dir.path());
        assert_eq!(book.current().epoch, 1);

        assert!(book.adopt(&ring(3)).expect("writable"));
        assert!(!book.adopt(&ring(2)).expect("writable"), "older");
        drop(book);
        assert_eq!(open(dir.path()).current().epoch, 3);
        std::fs::write(dir.path().join("ring.json"), "trireme-ring 1 nonsense").expect("writable");
        assert_eq!(open(dir.path()).current().epoch, 1, "damage is put aside");

        assert!(dir.path().join("ring.damaged").exists());
    }

    #[test]
    fn a_ring_that_cannot_be_written_down_is_not_gone_by_and_the_error_names_the_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let book = open(dir.path());
        std::fs::create_dir(dir.path().join("ring.tmp")).expect("writable");
        std::fs::create_dir(dir.path().join("ring.json")).expect("writable");

        let error = book
            .adopt(&ring(3))
            .expect_err("there is a directory in its place");
        assert!(error.to_string().contains("ring.json"), "{error}");

        assert_eq!(book.current().epoch, 1);
    }
}
