//! What a disk has, found out by reading a copy of the log without everything that is in memory only.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_log::{Log, LogError, LogOptions, NoObserver};
use trireme_replication::PositionVector;

use super::Place;
use super::ranges::Ranges;

/// Nobody writes this stream.
const READER: StreamId = StreamId {
    incarnation: Incarnation(u64::MAX),
    boot: Boot(1),
};

/// How far the streams of a log could be read if the power went now and took all of `lost`.
pub(super) fn on_disk(place: &Place, lost: &[&Ranges]) -> io::Result<PositionVector> {
    let copy = place.dir.with_file_name("log-on-disk");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }

    fs::create_dir_all(&copy)?;
    for entry in fs::read_dir(&place.dir)? {
        let entry = entry?;
        let to = copy.join(entry.file_name());
        fs::copy(entry.path(), &to)?;
        for (from, bytes) in lost.iter().flat_map(|ranges| ranges.of(&entry.path())) {
            blank(&to, *from, *bytes)?;
        }
    }

    let positions = read(place, &copy).map_err(io::Error::other);
    fs::remove_dir_all(&copy)?;
    positions
}

fn blank(path: &Path, from: u64, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let end = (from + bytes).min(file.metadata()?.len());
    file.write_all_at(&vec![0; end.saturating_sub(from) as usize], from)
}

fn read(place: &Place, copy: &Path) -> Result<PositionVector, LogError> {
    let options = LogOptions {
        segment_bytes: 4_096,
        ..LogOptions::default()
    };
    let observer = Arc::new(NoObserver);
    let clock = Arc::new(place.clock.clone());
    let (log, _) =
        Log::open_without_thread(copy, options, READER, &place.covered, observer, clock)?;

    log.plan_replay(&place.covered)?;
    Ok(log.written_positions().into_iter().collect())
}
