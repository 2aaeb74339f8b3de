//! The bound of open files: raised as far as the system lets us, and connections kept below it.
//!
//! Without this a flood of connections would take the descriptors that the log and the blocks need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slog::{Logger, info, warn};

/// Kept for the log, chunk files, blocks and peers.
const KEPT: u64 = 1_024;
/// More is of no use.
const WANTED: u64 = 1 << 20;
/// Even under a small bound some connections are let in.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the soft bound to the hard one.
pub(crate) fn raise(log: &Logger) {
    let found = getrlimit(Resource::Nofile);
    let possible = found.maximum.unwrap_or(WANTED).min(WANTED);
    let now = found.current.unwrap_or(WANTED);
    if now >= possible {
        return;
    }

    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(possible),
            maximum: found.maximum,
        },
    ) {
        Ok(()) => info!(log, "bound of open files raised"; "from" => now, "to" => possible),
        Err(err) => {
            warn!(log, "bound of open files cannot be raised"; "files" => now, "err" => %err)
        }
    }
}

/// Connections that each of `workers` may have: its share of what the settings say, as far as there are open files for
/// them.
pub(crate) fn connections(wanted: usize, workers: usize) -> usize {
    share(
        wanted,
        workers,
        getrlimit(Resource::Nofile).current.unwrap_or(WANTED),
    )
}

fn share(wanted: usize, workers: usize, files: u64) -> usize {
    let room = files.saturating_sub(KEPT).max(CONNECTIONS_MIN);
    wanted
        .min(usize::try_from(room).unwrap_or(usize::MAX))
        .div_ceil(workers.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_data() {
        assert_eq!(share(10_000, 4, 1 << 20), 2_500);
        assert_eq!(share(10_000, 4, 4_096), (4_096 - 1_024) / 4);
        assert_eq!(share(10_000, 2, 256), 32);
        assert_eq!(share(1, 4, 1 << 20), 1);
    }
}
