//! Which process is which data directory, over restarts of this node.
//!
//! A start of a data directory is one process. A second one with the same start is a copy of the directory, or the
//! directory was set back to an older state; an earlier start than the known one was set back as well. Both would give
//! numbers to records that others already have under these numbers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use slog::{Logger, warn};
use trireme_base::{Boot, Incarnation, durable};
use trireme_replication::PeerIdentity;
use trireme_wire::frame::RefuseReason;

use crate::Refusal;

/// Data directories remembered; the one that came first goes first.
const PROCESSES_MAX: usize = 1024;
/// First word of the file.
const MAGIC: &str = "trireme-processes";
/// Version of the file.
const VERSION: u32 = 1;

/// The last process of each data directory that has shaken hands with this node.
#[derive(Debug)]
pub struct Processes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Nothing is written down without it.
    path: Option<PathBuf>,
    known: Mutex<VecDeque<Known>>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    incarnation: Incarnation,
    boot: Boot,
    process: u64,
}

/// The file is to be written anew.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Processes {
    /// Reads the file. What cannot be read is put aside: peers are then known when they come again.
    pub fn open(path: Option<PathBuf>, log: &Logger) -> Self {
        let known = match path.as_deref().map(read) {
            None | Some(Ok(None)) => VecDeque::new(),
            Some(Ok(Some(known))) => known,
            Some(Err(reason)) => {
                let path = path.as_deref().unwrap_or(Path::new(""));
                warn!(log, "which processes the peers are cannot be read, they will be known when they come";
                    "path" => %path.display(), "reason" => reason);
                let _ = fs::rename(path, path.with_extension("damaged"));
                VecDeque::new()
            }
        };
        Self(Arc::new(Shared { path, known: Mutex::new(known), writing: Mutex::default() }))
    }

    /// Whether a peer may be this process of its data directory.
    pub fn check(&self, peer: &PeerIdentity, process: u64) -> Result<(), Refusal> {
        let known = self.0.known.lock();
        match known.iter().find(|known| known.incarnation == peer.incarnation) {
            Some(known) => known.check(peer, process),
            None => Ok(()),
        }
    }

    /// A peer has shaken hands. Gives the file to write if that is news.
    pub fn enter(&self, peer: &PeerIdentity, process: u64) -> Result<Option<NewFile>, Refusal> {
        let now = Known { incarnation: peer.incarnation, boot: peer.boot, process };
        let mut known = self.0.known.lock();
        let at = known.iter().position(|known| known.incarnation == peer.incarnation);
        if let Some(at) = at {
            // Somebody else may have come since it was admitted.
            known[at].check(peer, process)?;
            if known[at] == now {
                return Ok(None);
            }
            known.remove(at);
        }
        if known.len() >= PROCESSES_MAX {
            known.pop_front();
        }
        known.push_back(now);
        Ok(self.0.path.clone().map(|path| NewFile { path, shared: Arc::clone(&self.0) }))
    }
}

impl Known {
    fn check(&self, peer: &PeerIdentity, process: u64) -> Result<(), Refusal> {
        let (node, incarnation, boot) = (&peer.node, peer.incarnation, peer.boot.0);
        if self.boot > peer.boot {
            let detail = format!(
                "{node} is at boot {boot} of {incarnation}, but boot {} is known: its data directory was set back to an older state",
                self.boot.0
            );
            return Err(Refusal { reason: RefuseReason::StaleBoot, detail });
        }
        if self.boot == peer.boot && self.process != process {
            let detail = format!(
                "boot {boot} of {incarnation} ({node}) is already running as another process, or was: the data directory is a copy \
                 of one that runs, or was set back to an older state"
            );
            return Err(Refusal { reason: RefuseReason::DuplicateIncarnation, detail });
        }
        Ok(())
    }
}

impl NewFile {
    /// Where it goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is known by now in the place of the old one. Blocks.
    pub fn write(&self) -> io::Result<()> {
        let _one_at_a_time = self.shared.writing.lock();
        let text = text(&self.shared.known.lock());
        durable::replace(&self.path, text.as_bytes())
    }
}

/// The file's bytes: a header with the checksum of the lines, and a line a data directory.
fn text(known: &VecDeque<Known>) -> String {
    let mut lines = String::new();
    for Known { incarnation, boot, process } in known {
        let _ = writeln!(lines, "{incarnation} {} {process:016x}", boot.0);
    }
    format!("{MAGIC} {VERSION} crc32c={:08x}\n{lines}", crc32c::crc32c(lines.as_bytes()))
}

/// `None` if there is no file.
fn read(path: &Path) -> Result<Option<VecDeque<Known>>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let (header, lines) = text.split_once('\n').ok_or("no header")?;
    let want = format!("{MAGIC} {VERSION} crc32c={:08x}", crc32c::crc32c(lines.as_bytes()));
    if header != want {
        return Err(format!("its header is {header:?}, not {want:?}"));
    }
    let known = lines.lines().map(|line| parse(line).ok_or_else(|| format!("{line:?} is no process")));
    known.collect::<Result<_, _>>().map(Some)
}

fn parse(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let incarnation = Incarnation(u64::from_str_radix(words.next()?, 16).ok()?);
    let boot = Boot(words.next()?.parse().ok()?);
    let process = u64::from_str_radix(words.next()?, 16).ok()?;
    Some(Known { incarnation, boot, process })
}

#[cfg(test)]
mod tests {
    use trireme_base::NodeName;
    use trireme_telemetry::discard_logger;

    use super::*;

    fn peer(incarnation: u64, boot: u32) -> PeerIdentity {
        PeerIdentity { node: NodeName::new("n1"), incarnation: Incarnation(incarnation), boot: Boot(boot) }
    }

    fn reason(checked: Result<(), Refusal>) -> Option<RefuseReason> {
        checked.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn knows_a_process_by_its_start_of_a_directory_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("processes");
        let open = || Processes::open(Some(path.clone()), &discard_logger());
        let processes = open();
        assert_eq!(reason(processes.check(&peer(7, 2), 1)), None);
        assert_eq!(reason(processes.check(&peer(7, 2), 2)), None, "who only asked is not entered");
        let file = processes.enter(&peer(7, 2), 1).expect("the first").expect("news");
        file.write().expect("writable");
        assert!(processes.enter(&peer(7, 2), 1).expect("the same").is_none(), "no news");

        for processes in [processes, open()] {
            assert_eq!(reason(processes.check(&peer(7, 2), 1)), None);
            assert_eq!(reason(processes.check(&peer(7, 2), 2)), Some(RefuseReason::DuplicateIncarnation));
            assert_eq!(reason(processes.check(&peer(7, 1), 3)), Some(RefuseReason::StaleBoot));
            assert_eq!(reason(processes.check(&peer(7, 3), 4)), None);
            assert!(processes.enter(&peer(7, 2), 2).is_err(), "somebody else was faster");
        }
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("processes");
        fs::write(&path, "trireme-processes 1 crc32c=00000000\nx").expect("writable");
        let processes = Processes::open(Some(path.clone()), &discard_logger());
        assert_eq!(reason(processes.check(&peer(7, 1), 3)), None);
        assert!(path.with_extension("damaged").exists() && !path.exists());
    }

    #[test]
    fn forgets_the_one_that_came_first() {
        let processes = Processes::open(None, &discard_logger());
        for incarnation in 0..=PROCESSES_MAX as u64 {
            processes.enter(&peer(incarnation, 2), 1).expect("new");
        }
        assert_eq!(reason(processes.check(&peer(0, 1), 1)), None, "forgotten");
        assert_eq!(reason(processes.check(&peer(1, 1), 1)), Some(RefuseReason::StaleBoot));
    }
}
