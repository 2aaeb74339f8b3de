//! The blocks of a directory at start-up: good ones are opened, leftovers removed, bad ones set aside.

use std::fs;
use std::path::{Path, PathBuf};

use trireme_base::side_by_side;
use ulid::Ulid;

use crate::error::at;
use crate::files::sync_dir;
use crate::write::remove_temporaries;
use crate::{Block, BlockError};

/// Begins the names of blocks that were set aside.
const QUARANTINE: &str = "quarantine-";

/// What a directory of blocks holds.
#[derive(Default)]
pub struct Scan {
    /// Blocks that passed the checks of [`Block::open`], by ULID.
    pub blocks: Vec<Block>,
    /// Names of temporaries that a crash left and that were removed.
    pub removed: Vec<String>,
    /// Blocks that were set aside now.
    pub quarantined: Vec<Quarantined>,
}

/// A block that was set aside.
#[derive(Debug)]
pub struct Quarantined {
    /// Its name.
    pub ulid: Ulid,
    /// Where it is now; not a name that any reader takes for a block.
    pub path: PathBuf,
    /// Why.
    pub reason: BlockError,
}

/// Opens all blocks in `dir`, which need not exist.
///
/// A block that fails a check is renamed to `quarantine-<ULID>`: its data stays for a person to look at, and
/// neither we nor Prometheus stumble over it again. Failures of the file system itself are errors.
pub fn scan_blocks(dir: &Path) -> Result<Scan, BlockError> {
    let scans = scan_all(&[dir.to_owned()], 1)?;
    Ok(scans.into_iter().next().unwrap_or_default())
}

/// As [`scan_blocks`] for several directories, whose blocks `threads` threads open; a scan for each, in their order.
pub fn scan_all(dirs: &[PathBuf], threads: usize) -> Result<Vec<Scan>, BlockError> {
    let (mut scans, found) = find_all(dirs)?;

    let opened = side_by_side("blocks", threads, &found, |found| Block::open(&found.path));
    for (found, opened) in found.into_iter().zip(opened) {
        let FoundBlock { number, ulid, .. } = found;
        match opened {
            Ok(block) => scans[number].blocks.push(block),
            Err(reason) if reason.is_damage() => {
                let path = set_aside(&dirs[number], ulid)?;
                scans[number]
                    .quarantined
                    .push(Quarantined { ulid, path, reason });
            }
            Err(error) => return Err(error),
        }
    }

    Ok(scans)
}

/// A block that is to be opened.
struct FoundBlock {
    /// Which of the directories it is in.
    number: usize,
    ulid: Ulid,
    path: PathBuf,
}

/// A scan for each directory that says what was removed, and the blocks of all.
fn find_all(dirs: &[PathBuf]) -> Result<(Vec<Scan>, Vec<FoundBlock>), BlockError> {
    let mut scans = Vec::with_capacity(dirs.len());

    let mut found = Vec::new();
    for (number, dir) in dirs.iter().enumerate() {
        let mut scan = Scan::default();
        if dir.exists() {
            scan.removed = remove_temporaries(dir)?;
            let blocks = block_dirs(dir)?.into_iter();
            found.extend(blocks.map(|(ulid, path)| FoundBlock { number, ulid, path }));
        }
        scans.push(scan);
    }

    Ok((scans, found))
}

/// Directories whose names are ULIDs, sorted.
pub(crate) fn block_dirs(dir: &Path) -> Result<Vec<(Ulid, PathBuf)>, BlockError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let name = entry.file_name();
        let ulid = name
            .to_str()
            .filter(|n| n.len() == 26)
            .and_then(|n| Ulid::from_string(n).ok());
        if let Some(ulid) = ulid.filter(|_| entry.path().is_dir()) {
            found.push((ulid, entry.path()));
        }
    }

    found.sort_unstable();
    Ok(found)
}

/// Renames a block of `dir` to `quarantine-<ULID>`, with a number behind it if that is taken, and answers where it is now.
pub fn set_aside(dir: &Path, ulid: Ulid) -> Result<PathBuf, BlockError> {
    let from = dir.join(ulid.to_string());
    let mut to = dir.join(format!("{QUARANTINE}{ulid}"));

    let mut n = 1;
    while to.exists() {
        n += 1;
        to = dir.join(format!("{QUARANTINE}{ulid}-{n}"));
    }

    fs::rename(&from, &to).map_err(at(&from))?;
    sync_dir(dir)?;
    Ok(to)
}

/// Names of the blocks that were set aside in `dir`, now or at any time before.
pub fn set_aside_blocks(dir: &Path) -> Result<Vec<Ulid>, BlockError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let ulid = name
            .to_str()
            .and_then(|name| name.strip_prefix(QUARANTINE)?.get(..26));
        found.extend(ulid.and_then(|text| Ulid::from_string(text).ok()));
    }

    found.sort_unstable();
    found.dedup();
    Ok(found)
}
