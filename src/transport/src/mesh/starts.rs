//! The last processes of this node's own data directory.
//!
//! A directory that was set back counts its starts from the older state on. Its first start has a number that the members
//! know already, with another process. The one behind that has a number that nobody knows, and would pass for a newer one.
//! So each process says in its hello which ones came before it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use slog::{Logger, warn};
use trireme_base::{Boot, durable};

use super::lines;

/// Starts remembered. A member that has met none of so many is not told which one it knows.
const STARTS_MAX: usize = 32;
/// First word of the file.
const MAGIC: &str = "trireme-starts";
/// Version of the file.
const VERSION: u32 = 1;

/// Which process of a data directory somebody is, and which ones came before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Drawn at random when the process starts.
    pub process: u64,
    /// Earlier starts of the directory and their processes, oldest first; not all of them.
    pub earlier: Vec<(Boot, u64)>,
}

impl Lineage {
    /// The process that was this start of the directory, if that is still known.
    pub fn process_of(&self, boot: Boot) -> Option<u64> {
        self.earlier
            .iter()
            .find(|(earlier, _)| *earlier == boot)
            .map(|(_, process)| *process)
    }
}

impl From<u64> for Lineage {
    /// A process of which nothing came before, as far as anybody knows.
    fn from(process: u64) -> Self {
        Self {
            process,
            earlier: Vec::new(),
        }
    }
}

/// Notes in a file that a start of the directory is this process, durably; answers it with those before it. To be called
/// before anybody hears of the process.
///
/// A file that cannot be read is put aside, and one that cannot be written is left as it is, because a disk that is full must
/// not keep a node from starting. Members then know less about this directory.
pub fn note_start(path: &Path, boot: Boot, process: u64, log: &Logger) -> Lineage {
    let mut starts = match read(path) {
        Ok(starts) => starts,
        Err(reason) => {
            warn!(log, "earlier starts of this data directory cannot be read"; "path" => %path.display(),
                "reason" => reason);
            let _ = fs::rename(path, path.with_extension("damaged"));
            Vec::new()
        }
    };

    starts.retain(|(earlier, _)| *earlier < boot);
    starts.drain(..starts.len().saturating_sub(STARTS_MAX));
    let earlier = starts.clone();

    starts.push((boot, process));

    let mut text = String::new();
    for (boot, process) in starts {
        let _ = writeln!(text, "{} {process:016x}", boot.0);
    }

    let written = durable::replace(path, lines::text(MAGIC, VERSION, &text).as_bytes());
    if let Err(err) = written {
        warn!(log, "cannot write down this start of the data directory"; "path" => %path.display(), "err" => %err);
    }

    Lineage { process, earlier }
}

fn read(path: &Path) -> Result<Vec<(Boot, u64)>, String> {
    let text = lines::read(path, MAGIC, VERSION)?.unwrap_or_default();
    text.lines()
        .map(|line| parse(line).ok_or_else(|| format!("{line:?} is no start")))
        .collect()
}

fn parse(line: &str) -> Option<(Boot, u64)> {
    let (boot, process) = line.split_once(' ')?;
    Some((
        Boot(boot.parse().ok()?),
        u64::from_str_radix(process, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use trireme_telemetry::discard_logger;

    use super::*;

    #[test]
    fn knows_the_last_processes_of_its_directory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("starts");
        let start = |boot: u32, process| note_start(&path, Boot(boot), process, &discard_logger());

        assert_eq!(
            start(1, 10),
            Lineage {
                process: 10,
                earlier: Vec::new()
            }
        );

        for boot in 2..100 {
            let lineage = start(boot, u64::from(boot) * 10);
            assert_eq!(
                lineage.process_of(Boot(boot - 1)),
                Some(u64::from(boot - 1) * 10)
            );
            assert!(lineage.earlier.len() <= STARTS_MAX);
        }

        assert_eq!(start(100, 1).process_of(Boot(1)), None, "that is long ago");
        // What is behind a start is none of its ancestors.
        assert_eq!(start(99, 5).earlier.last(), Some(&(Boot(98), 980)));

        fs::write(&path, "trireme-starts 1 crc32c=00000000\n1 x").expect("writable");
        assert!(start(101, 2).earlier.is_empty());
        assert_eq!(start(102, 3).earlier, [(Boot(101), 2)]);

        assert!(path.with_extension("damaged").exists());
    }
}
