//! The data directory: its layout, its identity, and the lock on it that keeps a second process out.
//!
//! ```text
//! data_dir/
//!   refused         why the members refused this directory, if they did; a node does not start with it
//!   starts          which processes were the last starts of this directory
//!   processes       which process was last seen of each peer's data directory
//!   incomplete      what is known to be missing here until blocks of peers have it
//!   identity.toml   incarnation, shards, boot; minted when the directory is created
//!   identity.spare  room for the next identity, so that a node starts on a full disk
//!   log/            write-ahead log
//!   head/           checkpoints and full chunks, one folder a shard
//!   blocks/         local blocks, one folder a tenant
//!   bucket/         embedded object store, unless the settings name another
//!   damaged-*/      identity, log and head of a replica whose checkpoint could not be read
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use trireme_base::{Boot, Incarnation, StreamId, durable};
use trireme_replication::RebuildReason;

use crate::rebuild::{Found, Staging};

/// File of the identity.
const IDENTITY: &str = "identity.toml";
/// File that becomes the next identity.
const SPARE: &str = "identity.spare";
/// Room of that file (bytes).
const SPARE_BYTES: u64 = 4096;
/// File that says why the directory must not be used any more.
const REFUSED: &str = "refused";

/// File that says what is known to be missing, until blocks of peers have it.
pub(crate) const INCOMPLETE: &str = "incomplete";

/// Folders of what was set aside begin with it.
const ASIDE: &str = "damaged-";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "data directory {0} is in use by another process (its lock is held); stop that one, or give this node another node.data_dir"
    )]
    InUse(PathBuf),
    /// The file system said no.
    #[error("data directory: cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The identity file is damaged.
    #[error(
        "{path} is damaged: {reason}; restore it, or move the data directory away to start as a new replica"
    )]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The members of the cluster have shown that the directory is a copy, or was set back.
    #[error(
        "the members of the cluster refused data directory {root}: {reason}. What it vouched for is not in it, so that it must not \
         take part again. Move it away and start the node with an empty directory, which is filled from the other members; if \
         another process of this node runs elsewhere, stop one of the two. Delete {REFUSED} in it only if you know better"
    )]
    Refused {
        /// The directory.
        root: PathBuf,
        /// What the members said.
        reason: String,
    },
    /// The directory was made for another number of shards.
    #[error(
        "data directory was made with storage.shards={made}, the settings say {set}; shards are fixed when the directory is made"
    )]
    Shards {
        /// In the identity file.
        made: u16,
        /// In the settings.
        set: u16,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    version: u32,
    incarnation: String,
    shards: u16,
    boot: u32,
}

/// An open, locked data directory.
pub struct DataDir {
    root: PathBuf,
    stream: StreamId,
    is_new: bool,
    held: Held,
}

/// A data directory in use: locked until the process ends, however it ends.
#[derive(Clone)]
pub(crate) struct Held {
    root: PathBuf,
    /// Of the directory itself: a file in it could be deleted, and another process would lock the next one of that name.
    lock: Arc<File>,
}

impl Held {
    fn take(root: &Path) -> Result<Self, DataDirError> {
        let fail = |source| DataDirError::Io {
            action: "lock",
            path: root.to_owned(),
            source,
        };

        let lock = File::open(root).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root: root.to_owned(),
                lock: Arc::new(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(root.to_owned())),
            Err(TryLockError::Error(e)) => Err(fail(e)),
        }
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// False once the directory, or the identity in it, was deleted or replaced. An error to look is no evidence of that.
    pub(crate) fn is_there(&self) -> bool {
        let is_gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let is_same = match (self.lock.metadata(), fs::metadata(&self.root)) {
            (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
            (_, Err(e)) => !is_gone(&e),
            (Err(_), _) => true,
        };
        is_same && !fs::metadata(self.root.join(IDENTITY)).is_err_and(|e| is_gone(&e))
    }
}

impl DataDir {
    /// Opens or creates the directory, locks it and counts a new boot.
    pub fn open(root: &Path, shards: u16) -> Result<Self, DataDirError> {
        for part in ["", "log", "head", "blocks"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|source| DataDirError::Io {
                action: "create",
                path,
                source,
            })?;
        }

        sync(root)?;
        let held = Held::take(root)?;

        if let Ok(reason) = fs::read_to_string(root.join(REFUSED)) {
            return Err(DataDirError::Refused {
                root: root.to_owned(),
                reason: reason.trim().to_owned(),
            });
        }

        let path = root.join(IDENTITY);
        let (mut identity, is_new) = match fs::read_to_string(&path) {
            Ok(text) => (parse(&path, &text)?, false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Before the identity: a crash must not leave a directory that passes for one with data.
                let staging = Staging::of(root);
                let mark = || match staging.found()? {
                    Found::Nothing => staging.mark_undecided(),
                    _ => Ok(()),
                };
                mark().map_err(|source| DataDirError::Io {
                    action: "mark",
                    path: root.join("rebuild"),
                    source,
                })?;
                (mint(shards), true)
            }
            Err(source) => {
                return Err(DataDirError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };

        if identity.shards != shards {
            return Err(DataDirError::Shards {
                made: identity.shards,
                set: shards,
            });
        }

        identity.boot += 1;
        // The boot is on disk before it is used: a stream id must never occur twice.
        write_identity(root, &toml_text(&identity)).map_err(|source| DataDirError::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;

        let incarnation =
            u64::from_str_radix(&identity.incarnation, 16).map_err(|e| DataDirError::Identity {
                path,
                reason: format!("incarnation: {e}"),
            })?;

        let stream = StreamId {
            incarnation: Incarnation(incarnation),
            boot: Boot(identity.boot),
        };

        Ok(Self {
            root: root.to_owned(),
            stream,
            is_new,
            held,
        })
    }

    /// The stream this process appends to.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The directory as it is held by this process.
    pub(crate) fn held(&self) -> Held {
        self.held.clone()
    }

    /// True if the directory was created by this start.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Notes in a data directory why the members refused it: no later start may use it. Without that, each start would
    /// count one boot more, until it passes for a newer one than the members know.
    pub(crate) fn refuse(root: &Path, reason: &str) -> io::Result<()> {
        durable::replace(&root.join(REFUSED), format!("{reason}\n").as_bytes())
    }

    /// Moves identity, log and head out of the way, so that the next start is that of a replica whose disk was replaced,
    /// save for its blocks, and copies the rest from a peer. Answers where they are now.
    ///
    /// The identity goes: peers hold this replica for one that has what it vouched for. A crash in between leaves a
    /// head that is damaged still, and the next start goes on here.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        self.forget_copies()?;
        let aside = self.root.join(format!("{ASIDE}{}", self.stream));
        fs::create_dir_all(&aside)?;
        Staging::of(&self.root).mark_needed(RebuildReason::Damaged)?;

        for part in [IDENTITY, "log", "head"] {
            fs::rename(self.root.join(part), aside.join(part))?;
            File::open(&self.root)?.sync_all()?;
        }

        Ok(aside)
    }

    /// Deletes what was set aside before, save for the oldest, which has what this node had when it was last whole, and the
    /// newest: a node whose head is damaged again and again must not fill its disk.
    fn forget_copies(&self) -> io::Result<()> {
        let aside = self.aside()?;
        let between = aside.len().saturating_sub(1);
        for path in aside.iter().take(between).skip(1) {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// What was set aside, the oldest first.
    pub(crate) fn aside(&self) -> io::Result<Vec<PathBuf>> {
        aside_in(&self.root)
    }

    /// True if a node has made something in this directory.
    pub(crate) fn is_one(root: &Path) -> bool {
        root.join(IDENTITY).exists() || aside_in(root).is_ok_and(|aside| !aside.is_empty())
    }

    /// A folder or file inside the directory.
    pub fn path(&self, part: &str) -> PathBuf {
        self.root.join(part)
    }
}

/// What was set aside in a data directory, the oldest first.
fn aside_in(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            aside.push((entry.metadata()?.modified()?, entry.path()));
        }
    }

    aside.sort();
    Ok(aside.into_iter().map(|(_, path)| path).collect())
}

/// Makes the names of what is in the directory durable, and its own.
fn sync(root: &Path) -> Result<(), DataDirError> {
    for dir in root.ancestors().take(2).filter(|dir| dir.is_dir()) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| DataDirError::Io {
            action: "sync",
            path: dir.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn parse(path: &Path, text: &str) -> Result<Identity, DataDirError> {
    let damaged = |reason: String| DataDirError::Identity {
        path: path.to_owned(),
        reason,
    };

    let identity: Identity = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
    if identity.version != 1 {
        return Err(damaged(format!(
            "version {} is not known to this release",
            identity.version
        )));
    }

    Ok(identity)
}

fn mint(shards: u16) -> Identity {
    Identity {
        version: 1,
        incarnation: Incarnation(random()).to_string(),
        shards,
        boot: 0,
    }
}

/// Random enough that no two directories of a cluster meet: kernel entropy, or time and process id without it.
#[allow(clippy::disallowed_methods)]
fn random() -> u64 {
    let mut bytes = [0; 8];
    let read =
        File::open("/dev/urandom").and_then(|mut f| io::Read::read_exact(&mut f, &mut bytes));
    if read.is_ok() {
        return u64::from_le_bytes(bytes);
    }

    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);

    trireme_base::SeededRng::new(nanos ^ (u64::from(std::process::id()) << 32)).next_u64()
}

fn toml_text(identity: &Identity) -> String {
    let text = toml::to_string(identity).expect("BUG: identity is plain data");
    format!(
        "# Identity of this data directory. Never copy it to another node: two nodes must not share an incarnation.\n{text}"
    )
}

/// Writes the identity into the room that was set aside for it, and sets new room aside.
fn write_identity(root: &Path, text: &str) -> io::Result<()> {
    let spare = root.join(SPARE);
    replace(&root.join(IDENTITY), &spare, text)?;

    // Where there is no room any more the next start needs some.
    let made = File::create(&spare).and_then(|mut file| {
        io::copy(&mut io::repeat(b' ').take(SPARE_BYTES), &mut file)?;
        file.sync_all()
    });

    if made.is_err() {
        let _ = fs::remove_file(&spare);
    }

    Ok(())
}

/// As [`durable::replace`], but by way of a file that is there, whose room is used.
fn replace(path: &Path, by: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(by)?;

    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()?;
    fs::rename(by, path)?;

    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_incarnation_and_counts_boots() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = DataDir::open(dir.path(), 4).expect("new directory");
        assert!(first.is_new());

        let stream = first.stream();
        assert!(matches!(
            DataDir::open(dir.path(), 4),
            Err(DataDirError::InUse(_))
        ));

        drop(first);
        let second = DataDir::open(dir.path(), 4).expect("free again");
        assert_eq!(second.stream().incarnation, stream.incarnation);
        assert_eq!(second.stream().boot, Boot(2));
        drop(second);

        assert!(matches!(
            DataDir::open(dir.path(), 8),
            Err(DataDirError::Shards { made: 4, set: 8 })
        ));
    }

    #[test]
    fn what_was_set_aside_leaves_another_replica_that_needs_a_rebuild() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = DataDir::open(dir.path(), 4).expect("new directory");
        Staging::of(dir.path()).clear().expect("cleared");
        fs::write(dir.path().join("head/cut"), "?").expect("writable");
        fs::write(dir.path().join("blocks/kept"), "").expect("writable");

        let aside = first.set_aside().expect("moved");
        assert!(aside.join("head/cut").is_file() && aside.join(IDENTITY).is_file());
        let stream = first.stream();

        drop(first);
        let second = DataDir::open(dir.path(), 4).expect("as good as new");
        assert_ne!(second.stream().incarnation, stream.incarnation);

        assert!(!dir.path().join("head/cut").exists() && dir.path().join("blocks/kept").exists());
        let found = Staging::of(dir.path()).found().expect("readable");
        assert_eq!(found, Found::Needed(RebuildReason::Damaged));
    }

    #[test]
    fn of_what_was_set_aside_the_oldest_and_the_newest_stay() {
        let dir = tempfile::tempdir().expect("temporary directory");

        let mut made = Vec::new();
        for _ in 0..6 {
            let one = DataDir::open(dir.path(), 4).expect("as good as new");
            made.push(one.set_aside().expect("moved"));
        }

        let is_there: Vec<bool> = made.iter().map(|path| path.exists()).collect();
        assert_eq!(is_there, [true, false, false, false, true, true]);
    }

    #[test]
    fn what_was_refused_does_not_start_again_and_counts_no_boot() {
        let dir = tempfile::tempdir().expect("temporary directory");
        drop(DataDir::open(dir.path(), 4).expect("new directory"));
        DataDir::refuse(dir.path(), "n1 knows boot 7").expect("writable");

        for _ in 0..2 {
            let error = DataDir::open(dir.path(), 4)
                .err()
                .expect("refused")
                .to_string();
            assert!(
                error.contains("n1 knows boot 7") && error.contains("empty directory"),
                "{error}"
            );
        }

        fs::remove_file(dir.path().join("refused")).expect("there");
        assert_eq!(
            DataDir::open(dir.path(), 4)
                .expect("free again")
                .stream()
                .boot,
            Boot(2)
        );
    }

    #[test]
    fn notices_that_it_was_deleted_or_replaced() {
        let above = tempfile::tempdir().expect("temporary directory");
        let root = above.path().join("data");
        let moved = above.path().join("moved");
        let dir = DataDir::open(&root, 4).expect("new directory");
        let held = dir.held();
        assert!(held.is_there());

        fs::rename(&root, &moved).expect("renamed");
        assert!(!held.is_there(), "moved away");
        let other = DataDir::open(&root, 4).expect("another one of that name");
        assert!(!held.is_there() && other.held().is_there());

        drop(other);
        fs::remove_dir_all(&root).expect("removed");
        fs::rename(&moved, &root).expect("renamed");

        assert!(held.is_there(), "back again");
        fs::remove_file(root.join(IDENTITY)).expect("removed");
        assert!(!held.is_there(), "emptied");
    }

    #[test]
    fn names_a_damaged_identity() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("identity.toml"), "version = 9").expect("writable");
        let error = DataDir::open(dir.path(), 4)
            .err()
            .expect("damaged")
            .to_string();
        assert!(error.contains("identity.toml"), "{error}");
    }
}
