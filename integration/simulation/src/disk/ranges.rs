//! Which bytes of which file.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use trireme_base::SeededRng;

use super::SECTOR;

/// A batch without records, as the end of a segment has it. Nothing is lost with it.
const EMPTY_BATCH_BYTES: u64 = 32;

/// First byte and length of ranges, by file.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges(BTreeMap<PathBuf, Vec<(u64, u64)>>);

impl Ranges {
    pub fn push(&mut self, path: &Path, from: u64, bytes: u64) {
        self.0
            .entry(path.to_owned())
            .or_default()
            .push((from, bytes));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, path: &Path) -> &[(u64, u64)] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }

    /// True if there is more than ends of segments in them.
    pub fn have_records(&self) -> bool {
        self.0
            .values()
            .flatten()
            .any(|(_, bytes)| *bytes > EMPTY_BATCH_BYTES)
    }

    /// The same of one file.
    pub fn have_records_of(&self, path: &Path) -> bool {
        self.of(path)
            .iter()
            .any(|(_, bytes)| *bytes > EMPTY_BATCH_BYTES)
    }

    /// Forgets a file.
    pub fn remove(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// A file has another name, and what had that name before is gone.
    pub fn rename(&mut self, from: &Path, to: &Path) {
        self.0.remove(to);
        if let Some(ranges) = self.0.remove(from) {
            self.0.insert(to.to_owned(), ranges);
        }
    }

    /// Forgets files that are gone.
    pub fn prune(&mut self) {
        self.0.retain(|path, _| path.exists());
    }

    /// Takes over what another one has.
    pub fn take(&mut self, other: &mut Self) {
        for (path, ranges) in std::mem::take(&mut other.0) {
            self.0.entry(path).or_default().extend(ranges);
        }
    }

    /// Takes over what another one has of a file.
    pub fn take_of(&mut self, path: &Path, other: &mut Self) {
        if let Some(ranges) = other.0.remove(path) {
            self.0.entry(path.to_owned()).or_default().extend(ranges);
        }
    }

    /// The first byte of each file that is in a range.
    pub fn begins(&self) -> Vec<(PathBuf, u64)> {
        let first = |ranges: &Vec<(u64, u64)>| ranges.iter().map(|(from, _)| *from).min();
        self.0
            .iter()
            .filter_map(|(path, ranges)| Some((path.clone(), first(ranges)?)))
            .collect()
    }

    /// True if a range of a file meets one of these.
    pub fn meet(&self, path: &Path, from: u64, bytes: u64) -> bool {
        self.of(path)
            .iter()
            .any(|(at, len)| *at < from + bytes && from < at + len)
    }

    /// Takes the ranges away on the disk.
    pub fn lose(self, rng: &mut SeededRng) {
        for (path, ranges) in self.0 {
            lose(&path, &ranges, rng);
        }
    }
}

/// Takes ranges of a file away: all, none, from somewhere on, or any sectors.
fn lose(path: &Path, ranges: &[(u64, u64)], rng: &mut SeededRng) {
    // A segment that was trimmed meanwhile is nobody's any more.
    let Ok(file) = OpenOptions::new().write(true).open(path) else {
        return;
    };
    let Ok(length) = file.metadata().map(|m| m.len()) else {
        return;
    };

    let mode = rng.below(4);
    let total: u64 = ranges.iter().map(|(_, len)| len).sum();
    let keep_first = if mode == 2 { rng.below(total + 1) } else { 0 };

    let mut seen = 0;
    for (from, len) in ranges {
        let end = (from + len).min(length);

        let mut at = *from;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            let kept = match mode {
                0 => 0,
                1 => next - at,
                2 => keep_first.saturating_sub(seen).min(next - at),
                _ if rng.chance(0.5) => next - at,
                _ => 0,
            };

            let zeros = vec![0; (next - at - kept) as usize];
            // The memory file system has room for what was there already.
            let _ = file.write_all_at(&zeros, at + kept);

            seen += next - at;
            at = next;
        }
    }
}

/// Puts something else into a range of a file.
pub(super) fn garble(path: &Path, from: u64, bytes: u64, rng: &mut SeededRng) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else {
        return;
    };
    let other: Vec<u8> = (0..bytes).map(|_| rng.below(256) as u8).collect();
    let _ = file.write_all_at(&other, from);
}
