//! Puts what a rebuild copied into its place, before anything of it is opened.

use std::fs;
use std::io;
use std::path::Path;

use slog::{Logger, info};

use trireme_base::durable::sync_dir;
use trireme_storage::note_missing;

use super::staging::Staging;
use crate::datadir::INCOMPLETE;

/// Installs a finished copy, if there is one. Each step may be repeated: a crash in between leaves the rest to the next
/// start. The log stays; what it has behind the positions of the new checkpoints is replayed.
pub(crate) fn install(data_dir: &Path, log: &Logger) -> io::Result<bool> {
    let staging = Staging::of(data_dir);

    let replaced = data_dir.join("head.replaced");
    if !staging.is_ready() {
        if replaced.exists() {
            fs::remove_dir_all(&replaced)?;
        }
        return Ok(false);
    }

    let blocks = install_blocks(&staging.file("blocks"), &data_dir.join("blocks"))?;
    let new = staging.file("head");

    let head = data_dir.join("head");
    if new.exists() {
        // Blocks and head of a moment belong together: samples that were cut are in no head.
        if head.exists() {
            if replaced.exists() {
                fs::remove_dir_all(&replaced)?;
            }
            fs::rename(&head, &replaced)?;
        }
        fs::rename(&new, &head)?;
        sync_dir(data_dir)?;
    }

    // What the head of before lacked is in the copy; what the source lacks is not.
    let lacks = staging
        .copy()
        .map(|(_, manifest)| manifest.lacks)
        .unwrap_or_default();

    note_missing(&data_dir.join(INCOMPLETE), &lacks)?;
    staging.clear()?;

    if replaced.exists() {
        fs::remove_dir_all(&replaced)?;
    }

    info!(log, "what was copied from a peer is installed"; "blocks" => blocks);
    Ok(true)
}

fn install_blocks(from: &Path, to: &Path) -> io::Result<u64> {
    let mut installed = 0;
    if !from.exists() {
        return Ok(0);
    }

    for tenant in fs::read_dir(from)? {
        let tenant = tenant?;
        let place = to.join(tenant.file_name());
        fs::create_dir_all(&place)?;

        for block in fs::read_dir(tenant.path())? {
            let block = block?;
            let target = place.join(block.file_name());
            // A block's name follows from its bytes.
            if !target.exists() {
                fs::rename(block.path(), &target)?;
                installed += 1;
            }
        }

        sync_dir(&place)?;
    }

    sync_dir(to)?;
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use trireme_base::NodeName;
    use trireme_replication::RebuildReason;
    use trireme_wire::rebuild::Manifest;

    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("has one")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// A data directory with an old head and one block, and a copy with a new head and two blocks.
    fn ready() -> (tempfile::TempDir, Staging) {
        let dir = tempfile::tempdir().expect("temporary directory");
        put(&dir.path().join("head/000/checkpoint"), "old");
        put(&dir.path().join("blocks/t/A/index"), "a");

        let staging = Staging::of(dir.path());
        staging
            .mark_needed(RebuildReason::LeftBehind)
            .expect("marked");
        put(&dir.path().join(INCOMPLETE), "records");

        let manifest = Manifest {
            lacks: "blocks".to_owned(),
            ..Manifest::default()
        };

        staging
            .begin(&NodeName::new("n1"), &manifest)
            .expect("begun");
        put(&staging.file("head/000/checkpoint"), "new");
        put(&staging.file("head/cut"), "cut");
        put(&staging.file("blocks/t/A/index"), "a");
        put(&staging.file("blocks/u/B/index"), "b");

        (dir, staging)
    }

    fn is_installed(dir: &Path) -> bool {
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
        read("head/000/checkpoint") == "new"
            && read("head/cut") == "cut"
            && read("blocks/u/B/index") == "b"
            && read("blocks/t/A/index") == "a"
            && read(INCOMPLETE) == "blocks\n"
            && !dir.join("rebuild").exists()
            && !dir.join("head.replaced").exists()
    }

    #[test]
    fn nothing_is_installed_before_everything_is_there() {
        let (dir, _) = ready();
        assert!(!install(dir.path(), &Logger::root(slog::Discard, slog::o!())).expect("looked"));
        assert!(!is_installed(dir.path()));
    }

    #[test]
    fn installs_once_whatever_a_crash_left() {
        let log = Logger::root(slog::Discard, slog::o!());
        for steps_done in 0..4 {
            let (dir, staging) = ready();
            staging.mark_ready().expect("marked");

            let d = dir.path();
            if steps_done >= 1 {
                install_blocks(&staging.file("blocks"), &d.join("blocks")).expect("installed");
            }

            if steps_done >= 2 {
                fs::rename(d.join("head"), d.join("head.replaced")).expect("renamed");
            }

            if steps_done >= 3 {
                fs::rename(staging.file("head"), d.join("head")).expect("renamed");
            }

            assert!(
                install(d, &log).expect("installed"),
                "after {steps_done} steps"
            );
            assert!(is_installed(d), "after {steps_done} steps");
            assert!(!install(d, &log).expect("looked"));
        }
    }
}
