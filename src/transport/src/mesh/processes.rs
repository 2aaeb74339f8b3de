//! Which process is which data directory, over restarts of this node.
//!
//! A start of a data directory is one process. A second one with the same start is a copy of the directory, or the
//! directory was set back to an older state; an earlier start than the known one was set back as well, and so was a later one
//! that says that the known start was another process. All of them would give numbers to records that others already have
//! under these numbers, or lack what they vouched for.

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

use super::lines;
use super::starts::Lineage;
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
        Self(Arc::new(Shared {
            path,
            known: Mutex::new(known),
            writing: Mutex::default(),
        }))
    }

    /// Whether a peer may be this process of its data directory.
    pub fn check(&self, peer: &PeerIdentity, lineage: &Lineage) -> Result<(), Refusal> {
        let known = self.0.known.lock();
        match known
            .iter()
            .find(|known| known.incarnation == peer.incarnation)
        {
            Some(known) => known.check(peer, lineage),
            None => Ok(()),
        }
    }

    /// A peer has shaken hands. Gives the file to write if that is news.
    pub fn enter(
        &self,
        peer: &PeerIdentity,
        lineage: &Lineage,
    ) -> Result<Option<NewFile>, Refusal> {
        let now = Known {
            incarnation: peer.incarnation,
            boot: peer.boot,
            process: lineage.process,
        };

        let mut known = self.0.known.lock();
        let at = known
            .iter()
            .position(|known| known.incarnation == peer.incarnation);

        if let Some(at) = at {
            // Somebody else may have come since it was admitted.
            known[at].check(peer, lineage)?;
            if known[at] == now {
                return Ok(None);
            }
            known.remove(at);
        }

        if known.len() >= PROCESSES_MAX {
            known.pop_front();
        }

        known.push_back(now);
        Ok(self.0.path.clone().map(|path| NewFile {
            path,
            shared: Arc::clone(&self.0),
        }))
    }
}

impl Known {
    fn check(&self, peer: &PeerIdentity, lineage: &Lineage) -> Result<(), Refusal> {
        let node = &peer.node;
        let incarnation = peer.incarnation;

        let boot = peer.boot.0;
        if self.boot > peer.boot {
            let detail = format!(
                "{node} is at boot {boot} of {incarnation}, but boot {} is known: its data directory was set back to an older state",
                self.boot.0
            );
            return Err(Refusal {
                reason: RefuseReason::StaleBoot,
                detail,
            });
        }

        if self.boot == peer.boot && self.process != lineage.process {
            let detail = format!(
                "boot {boot} of {incarnation} ({node}) is already running as another process, or was: the data directory is a copy \
                 of one that runs, or was set back to an older state"
            );
            return Err(Refusal {
                reason: RefuseReason::DuplicateIncarnation,
                detail,
            });
        }

        if self.boot < peer.boot
            && lineage
                .process_of(self.boot)
                .is_some_and(|process| process != self.process)
        {
            let detail = format!(
                "{node} is at boot {boot} of {incarnation} and says that boot {} was another process than the known one: its data \
                 directory was set back to an older state, and has been started since",
                self.boot.0
            );
            return Err(Refusal {
                reason: RefuseReason::StaleBoot,
                detail,
            });
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

/// The file's bytes: a line a data directory.
fn text(known: &VecDeque<Known>) -> String {
    let mut text = String::new();
    for Known {
        incarnation,
        boot,
        process,
    } in known
    {
        let _ = writeln!(text, "{incarnation} {} {process:016x}", boot.0);
    }

    lines::text(MAGIC, VERSION, &text)
}

/// `None` if there is no file.
fn read(path: &Path) -> Result<Option<VecDeque<Known>>, String> {
    let Some(text) = lines::read(path, MAGIC, VERSION)? else {
        return Ok(None);
    };
    let known = text
        .lines()
        .map(|line| parse(line).ok_or_else(|| format!("{line:?} is no process")));
    known.collect::<Result<_, _>>().map(Some)
}

fn parse(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let incarnation = Incarnation(u64::from_str_radix(words.next()?, 16).ok()?);
    let boot = Boot(words.next()?.parse().ok()?);
    let process = u64::from_str_radix(words.next()?, 16).ok()?;

    Some(Known {
        incarnation,
        boot,
        process,
    })
}

#[cfg(test)]
mod tests {
    use trireme_base::NodeName;
    use trireme_telemetry::discard_logger;

    use super::*;

    fn peer(incarnation: u64, boot: u32) -> PeerIdentity {
        PeerIdentity {
            node: NodeName::new("n1"),
            incarnation: Incarnation(incarnation),
            boot: Boot(boot),
        }
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

        assert_eq!(
            reason(processes.check(&peer(7, 2), &Lineage::from(1))),
            None
        );
        assert_eq!(
            reason(processes.check(&peer(7, 2), &Lineage::from(2))),
            None,
            "who only asked is not entered"
        );

        let file = processes
            .enter(&peer(7, 2), &Lineage::from(1))
            .expect("the first")
            .expect("news");

        file.write().expect("writable");
        assert!(
            processes
                .enter(&peer(7, 2), &Lineage::from(1))
                .expect("the same")
                .is_none(),
            "no news"
        );

        for processes in [processes, open()] {
            assert_eq!(
                reason(processes.check(&peer(7, 2), &Lineage::from(1))),
                None
            );
            assert_eq!(
                reason(processes.check(&peer(7, 2), &Lineage::from(2))),
                Some(RefuseReason::DuplicateIncarnation)
            );
            assert_eq!(
                reason(processes.check(&peer(7, 1), &Lineage::from(3))),
                Some(RefuseReason::StaleBoot)
            );
            assert_eq!(
                reason(processes.check(&peer(7, 3), &Lineage::from(4))),
                None
            );

            assert!(
                processes.enter(&peer(7, 2), &Lineage::from(2)).is_err(),
                "somebody else was faster"
            );
        }
    }

    #[test]
    fn a_later_start_is_refused_if_the_known_one_was_another_process() {
        let processes = Processes::open(None, &discard_logger());
        processes
            .enter(&peer(7, 6), &Lineage::from(60))
            .expect("new");

        let later = |earlier: &[(u32, u64)]| {
            let earlier = earlier
                .iter()
                .map(|(boot, process)| (Boot(*boot), *process))
                .collect();
            reason(processes.check(
                &peer(7, 8),
                &Lineage {
                    process: 80,
                    earlier,
                },
            ))
        };

        assert_eq!(later(&[(5, 50), (6, 60), (7, 70)]), None);
        assert_eq!(
            later(&[(5, 50), (6, 61), (7, 71)]),
            Some(RefuseReason::StaleBoot)
        );
        assert_eq!(later(&[(7, 71)]), None, "nobody can tell");
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("processes");
        fs::write(&path, "trireme-processes 1 crc32c=00000000\nx").expect("writable");

        let processes = Processes::open(Some(path.clone()), &discard_logger());
        assert_eq!(
            reason(processes.check(&peer(7, 1), &Lineage::from(3))),
            None
        );

        assert!(path.with_extension("damaged").exists() && !path.exists());
    }

    #[test]
    fn forgets_the_one_that_came_first() {
        let processes = Processes::open(None, &discard_logger());
        for incarnation in 0..=PROCESSES_MAX as u64 {
            processes
                .enter(&peer(incarnation, 2), &Lineage::from(1))
                .expect("new");
        }

        assert_eq!(
            reason(processes.check(&peer(0, 1), &Lineage::from(1))),
            None,
            "forgotten"
        );

        assert_eq!(
            reason(processes.check(&peer(1, 1), &Lineage::from(1))),
            Some(RefuseReason::StaleBoot)
        );
    }
}
