//! What a rebuild keeps on disk, so that it goes on after a crash at any moment.
//!
//! ```text
//! rebuild/state         "undecided", or why a rebuild is needed; absent when nothing is
//! rebuild/manifest      CRC32C u32, then source and manifest of the snapshot that is being copied
//! rebuild/files/PATH    a whole file: compared with the source's and synced
//! rebuild/files/PATH.part
//! rebuild/ready         everything is there: the next start installs it
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use trireme_base::NodeName;
use trireme_base::durable::{remove_if_there, replace, sync_dir};
use trireme_replication::{Have, RebuildReason};
use trireme_wire::rebuild::Manifest;

const UNDECIDED: &str = "undecided";

/// What a start finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing is to be rebuilt.
    Nothing,
    /// The directory is new.
    Undecided,
    /// A rebuild is needed.
    Needed(RebuildReason),
}

#[derive(Clone, PartialEq, Message)]
struct Copy {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(message, optional, tag = "2")]
    manifest: Option<Manifest>,
}

/// The folder of a rebuild in the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    data_dir: PathBuf,
    root: PathBuf,
}

impl Staging {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            root: data_dir.join("rebuild"),
        }
    }

    /// The directory is new: nobody knows yet whether there is something to copy.
    pub(crate) fn mark_undecided(&self) -> io::Result<()> {
        self.write_state(UNDECIDED)
    }

    /// A rebuild is needed.
    pub(crate) fn mark_needed(&self, reason: RebuildReason) -> io::Result<()> {
        self.write_state(reason.text())
    }

    fn write_state(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        sync_dir(&self.data_dir)?;
        replace(&self.root.join("state"), text.as_bytes())
    }

    /// How it stands.
    pub(crate) fn found(&self) -> io::Result<Found> {
        match fs::read_to_string(self.root.join("state")) {
            Ok(text) if text == UNDECIDED => Ok(Found::Undecided),
            // A text of a later version is still a rebuild that is needed.
            Ok(text) => Ok(Found::Needed(
                RebuildReason::from_text(&text).unwrap_or(RebuildReason::Damaged),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// True unless a rebuild is needed.
    pub(crate) fn is_complete(&self) -> io::Result<bool> {
        Ok(matches!(self.found()?, Found::Nothing))
    }

    /// Nothing is to be rebuilt any more.
    pub(crate) fn clear(&self) -> io::Result<()> {
        if !self.root.exists() {
            return Ok(());
        }

        // The state first: what is left without it means nothing.
        remove_if_there(&self.root.join("state"))?;
        sync_dir(&self.root)?;
        fs::remove_dir_all(&self.root)?;

        sync_dir(&self.data_dir)
    }

    /// Begins to copy a snapshot. What was copied of the head belongs to another one; blocks are what they are.
    pub(crate) fn begin(&self, source: &NodeName, manifest: &Manifest) -> io::Result<()> {
        let head = self.root.join("files/head");
        if head.exists() {
            fs::remove_dir_all(&head)?;
        }

        fs::create_dir_all(self.root.join("files"))?;
        let copy = Copy {
            source: source.to_string(),
            manifest: Some(manifest.clone()),
        };
        let body = copy.encode_to_vec();
        let mut bytes = crc32c::crc32c(&body).to_le_bytes().to_vec();

        bytes.extend_from_slice(&body);
        replace(&self.root.join("manifest"), &bytes)
    }

    /// The snapshot that was being copied.
    pub(crate) fn copy(&self) -> Option<(NodeName, Manifest)> {
        let bytes = fs::read(self.root.join("manifest")).ok()?;
        let (crc, body) = bytes.split_at_checked(4)?;
        if crc != crc32c::crc32c(body).to_le_bytes() {
            return None;
        }

        let copy = Copy::decode(body).ok()?;
        let manifest = copy
            .manifest
            .filter(|manifest| manifest.stray_path().is_none())?;

        Some((NodeName::new(&copy.source), manifest))
    }

    /// What is here of a file: copied, or of a block that this node has anyway.
    pub(crate) fn have(&self, path: &str, bytes: u64) -> Have {
        let is_whole =
            |place: PathBuf| fs::metadata(place).is_ok_and(|m| m.is_file() && m.len() == bytes);
        if is_whole(self.file(path))
            || (path.starts_with("blocks/") && is_whole(self.data_dir.join(path)))
        {
            return Have::Whole;
        }

        Have::Part(fs::metadata(self.part(path)).map_or(0, |meta| meta.len()))
    }

    /// Puts bytes at `offset` of a file that is not whole; what stood behind is cut off.
    pub(crate) fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let part = self.part(path);
        if let Some(parent) = part.parent() {
            fs::create_dir_all(parent)?;
        }

        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&part)?;

        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    /// CRC32C of a file that is not whole yet.
    pub(crate) fn checksum(&self, path: &str, bytes: u64) -> io::Result<u32> {
        if bytes == 0 {
            // Nothing was fetched of it.
            self.write(path, 0, &[])?;
        }
        checksum_of(&self.part(path), bytes)
    }

    /// A file is whole: it gets its name and survives a power cut.
    pub(crate) fn finish(&self, path: &str) -> io::Result<()> {
        let part = self.part(path);
        let file = self.file(path);
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &file)?;
        sync_dir(file.parent().unwrap_or(&self.root))
    }

    /// Removes what was copied of earlier snapshots and is in this one no more.
    pub(crate) fn prune(&self, manifest: &Manifest) -> io::Result<()> {
        let wanted: BTreeSet<PathBuf> = manifest
            .files
            .iter()
            .map(|file| self.file(&file.path))
            .collect();

        let files = self.root.join("files");
        fs::create_dir_all(&files)?;
        prune(&files, &wanted).map(drop)
    }

    /// Everything is here: the next start installs it.
    pub(crate) fn mark_ready(&self) -> io::Result<()> {
        sync_tree(&self.root.join("files"))?;
        replace(&self.root.join("ready"), b"")
    }

    /// True if the next start has something to install.
    pub(crate) fn is_ready(&self) -> bool {
        self.root.join("ready").exists()
    }

    /// Where a copied file lies.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join("files").join(path)
    }

    fn part(&self, path: &str) -> PathBuf {
        let mut name = self.file(path).into_os_string();
        name.push(".part");
        PathBuf::from(name)
    }
}

/// CRC32C of the first `bytes` of a file.
pub(crate) fn checksum_of(path: &Path, bytes: u64) -> io::Result<u32> {
    let mut file = File::open(path)?.take(bytes);
    let mut crc = 0;
    let mut buffer = vec![0; 1 << 20];

    let mut seen = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
        seen += n as u64;
    }

    match seen == bytes {
        true => Ok(crc),
        false => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} has {seen} of {bytes} bytes", path.display()),
        )),
    }
}

/// Answers whether anything is left in `dir`.
fn prune(dir: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<bool> {
    let mut is_left = false;
    for entry in fs::read_dir(dir)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_dir() {
            match prune(&path, wanted)? {
                true => is_left = true,
                false => fs::remove_dir(&path)?,
            }
        } else if wanted.contains(&path) {
            is_left = true;
        } else {
            fs::remove_file(&path)?;
        }
    }

    Ok(is_left)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use trireme_wire::rebuild::SnapshotFile;

    use super::*;

    #[test]
    fn keeps_state_and_pieces_over_restarts() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let staging = Staging::of(dir.path());
        assert_eq!(staging.found().expect("readable"), Found::Nothing);
        staging.mark_undecided().expect("written");
        assert_eq!(staging.found().expect("readable"), Found::Undecided);
        staging
            .mark_needed(RebuildReason::NewDisk)
            .expect("written");

        let files = vec![SnapshotFile {
            path: "head/000/checkpoint".to_owned(),
            bytes: 6,
        }];
        let manifest = Manifest {
            snapshot: 4,
            files,
            ..Manifest::default()
        };

        staging
            .begin(&NodeName::new("n1"), &manifest)
            .expect("begun");
        staging
            .write("head/000/checkpoint", 0, b"abc")
            .expect("written");
        staging
            .write("head/000/checkpoint", 3, b"xyzzz")
            .expect("written");
        staging
            .write("head/000/checkpoint", 3, b"def")
            .expect("what stood behind goes");

        let again = Staging::of(dir.path());
        assert_eq!(
            again.found().expect("readable"),
            Found::Needed(RebuildReason::NewDisk)
        );
        assert_eq!(again.copy(), Some((NodeName::new("n1"), manifest.clone())));
        assert_eq!(again.have("head/000/checkpoint", 6), Have::Part(6));
        assert_eq!(
            again.checksum("head/000/checkpoint", 6).expect("there"),
            crc32c::crc32c(b"abcdef")
        );
        again.finish("head/000/checkpoint").expect("renamed");
        assert_eq!(again.have("head/000/checkpoint", 6), Have::Whole);
        again
            .write("blocks/t/old/index", 0, b"part")
            .expect("written");
        again.prune(&manifest).expect("pruned");

        assert!(
            !again.file("blocks").exists(),
            "of no use for this snapshot"
        );

        again.mark_ready().expect("marked");
        assert!(again.is_ready());

        again
            .begin(&NodeName::new("n2"), &manifest)
            .expect("begun anew");
        assert_eq!(
            again.have("head/000/checkpoint", 6),
            Have::Part(0),
            "it was of another snapshot"
        );

        again.clear().expect("cleared");
        assert_eq!(again.found().expect("readable"), Found::Nothing);
    }

    #[test]
    fn an_empty_file_is_a_file_and_a_block_that_is_here_is_not_copied() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let staging = Staging::of(dir.path());
        assert_eq!(
            staging.checksum("blocks/t/b/tombstones", 0).expect("made"),
            0
        );
        staging.finish("blocks/t/b/tombstones").expect("renamed");
        assert_eq!(staging.have("blocks/t/b/tombstones", 0), Have::Whole);
        fs::create_dir_all(dir.path().join("blocks/t/b")).expect("made");
        fs::write(dir.path().join("blocks/t/b/index"), b"1234").expect("written");
        assert_eq!(staging.have("blocks/t/b/index", 4), Have::Whole);
        assert_eq!(staging.have("blocks/t/b/index", 5), Have::Part(0));
    }
}
