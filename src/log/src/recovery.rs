//! Opening a log directory after any kind of end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use trireme_base::StreamId;

use crate::base::{self, Positions};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, segment_number};
use crate::scan::{Bad, Scan};
use crate::summary::Summary;
use crate::{LogError, disk};

/// A part of the log that was durable once and cannot be read. What it held must come from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment; it is kept until it is trimmed (renamed to `.bad` if its header is bad).
    pub segment: PathBuf,
    /// First byte that does not fit.
    pub offset: u64,
    /// What does not fit.
    pub what: String,
}

/// The end of the newest segment, cut off because it was never synced: nobody was promised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    /// The segment.
    pub segment: PathBuf,
    /// Its length now.
    pub offset: u64,
    /// What did not fit there.
    pub what: String,
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Per stream the last seq up to which nothing is missing, log and covered positions together.
    pub positions: Vec<(StreamId, u64)>,
    /// Damage before the tail, oldest first.
    pub damage: Vec<Damage>,
    /// The torn tail, if there was one.
    pub tail_cut: Option<TailCut>,
}

/// The log's state rebuilt from its files.
pub(crate) struct Rebuilt {
    pub base: Positions,
    pub positions: Positions,
    pub segments: BTreeMap<u64, Summary>,
    pub next_number: u64,
    pub damage: Vec<Damage>,
    pub tail_cut: Option<TailCut>,
}

/// Reads the directory; mends the tail of the newest segment.
pub(crate) fn rebuild(
    dir: &Path,
    covered: &[(StreamId, u64)],
    skip_holes: bool,
) -> Result<Rebuilt, LogError> {
    std::fs::create_dir_all(dir).map_err(|e| LogError::io("create", dir, e))?;
    let mut base = base::load(dir)?;
    for (stream, seq) in covered {
        let known = base.entry(*stream).or_default();
        *known = (*known).max(*seq);
    }
    let numbers = list(dir)?;
    let mut this = Rebuilt {
        positions: base.clone(),
        base,
        segments: BTreeMap::new(),
        next_number: numbers.last().map_or(1, |n| n + 1),
        damage: Vec::new(),
        tail_cut: None,
    };
    let mut chain = Chain { last: Positions::new(), skip_holes };
    for (at, number) in numbers.iter().enumerate() {
        let path = dir.join(crate::format::segment_name(*number));
        let newest = at + 1 == numbers.len();
        if let Some(summary) = Summary::load(&path.with_extension("idx"))
            && std::fs::metadata(&path).is_ok_and(|m| m.len() == summary.bytes)
        {
            chain.follow(&summary);
            this.segments.insert(*number, summary);
        } else if let Some(summary) = this.read_segment(&path, newest, &mut chain)? {
            this.segments.insert(*number, summary);
        }
    }
    for summary in this.segments.values() {
        for (stream, range) in &summary.streams {
            let position = this.positions.entry(*stream).or_default();
            if range.last > *position && (range.first <= *position + 1 || skip_holes) {
                *position = range.last;
            }
        }
    }
    this.positions.retain(|_, seq| *seq > 0);
    Ok(this)
}

/// Follows the seqs of each stream through the log.
struct Chain {
    last: Positions,
    skip_holes: bool,
}

impl Chain {
    /// True if a record belongs to the unbroken sequence of its stream; a stream may start anywhere.
    fn takes(&mut self, stream: StreamId, seq: u64, base: u64) -> bool {
        let last = self.last.get(&stream).copied();
        // What is missing at or below the base is missed by nobody.
        let fits =
            last.is_none_or(|last| seq == last + 1 || (seq > last && (self.skip_holes || seq <= base + 1)));
        if fits {
            self.last.insert(stream, seq);
        }
        fits
    }

    fn follow(&mut self, summary: &Summary) {
        for (stream, range) in &summary.streams {
            let last = self.last.entry(*stream).or_insert(range.last);
            *last = (*last).max(range.last);
        }
    }
}

impl Rebuilt {
    /// Reads a whole segment; `None` if its header is bad.
    fn read_segment(
        &mut self,
        path: &Path,
        newest: bool,
        chain: &mut Chain,
    ) -> Result<Option<Summary>, LogError> {
        let io = |e| LogError::io("read", path, e);
        if newest {
            self.mend_tail(path)?;
        }
        let mut scan = match Scan::open(path).map_err(io)? {
            Ok(scan) => scan,
            Err(what) => {
                self.set_aside(path, newest, what)?;
                return Ok(None);
            }
        };
        let mut summary = Summary::default();
        while let Some(batch) = scan.next_batch().map_err(io)? {
            for record in &batch.records {
                let (stream, seq) = (record.stream(), record.seq());
                if chain.takes(stream, seq, self.base.get(&stream).copied().unwrap_or(0)) {
                    summary.note(stream, seq, batch.offset);
                }
            }
        }
        summary.bytes = scan.position();
        summary.damaged = !scan.bad.is_empty();
        self.damage.extend(scan.bad.into_iter().map(|bad| damage(path, bad)));
        Ok(Some(summary))
    }

    /// Cuts the newest segment where it was never synced and does not read, and syncs the rest.
    ///
    /// A batch says how far the segment was synced when it was written. What does not read behind that point is a
    /// torn write; what does not read before it is damage and stays, to be reported.
    fn mend_tail(&mut self, path: &Path) -> Result<(), LogError> {
        let io = |e| LogError::io("mend", path, e);
        let Ok(mut scan) = Scan::open(path).map_err(io)? else { return Ok(()) };
        let mut batches: Vec<(BatchHeader, u64, u64)> = Vec::new();
        while let Some(batch) = scan.next_batch().map_err(io)? {
            // Only batches behind the last known sync can hold the cut.
            batches.retain(|(_, offset, _)| *offset >= scan.synced_to);
            batches.push((batch.header, batch.offset, batch.good_end));
        }
        let file = OpenOptions::new().write(true).open(path).map_err(io)?;
        let torn = scan.bad.iter().find(|bad| bad.offset >= scan.synced_to);
        let Some(torn) = torn else {
            // Space set aside and never used, or leftovers of a write that did not finish.
            if scan.has_leftovers().map_err(io)? {
                let what = "batch header does not fit".to_owned();
                self.tail_cut = Some(TailCut { segment: path.to_owned(), offset: scan.position(), what });
            }
            file.set_len(scan.position()).and_then(|()| file.sync_all()).map_err(io)?;
            return Ok(());
        };
        let hit = batches.iter().find(|(_, offset, end)| (*offset..=*end).contains(&torn.offset));
        let end = match hit {
            // Records before the torn one are whole: keep them, in a batch that ends there.
            Some((header, offset, good_end)) if *good_end > offset + BATCH_HEADER_BYTES as u64 => {
                let body_bytes = (good_end - offset - BATCH_HEADER_BYTES as u64) as u32;
                let header = BatchHeader { body_bytes, ..*header };
                file.write_all_at(&header.encode(), *offset).map_err(io)?;
                *good_end
            }
            Some((_, offset, _)) => *offset,
            None => torn.offset,
        };
        file.set_len(end).and_then(|()| file.sync_all()).map_err(io)?;
        self.tail_cut = Some(TailCut { segment: path.to_owned(), offset: end, what: torn.what.clone() });
        Ok(())
    }

    /// Takes a file with a bad header out of the sequence.
    fn set_aside(&mut self, path: &Path, newest: bool, what: &'static str) -> Result<(), LogError> {
        if newest && is_unwritten(path).map_err(|e| LogError::io("read", path, e))? {
            // A crash while it was made; its space is wanted back.
            std::fs::remove_file(path).map_err(|e| LogError::io("remove", path, e))?;
            self.tail_cut = Some(TailCut { segment: path.to_owned(), offset: 0, what: what.to_owned() });
            return Ok(());
        }
        let bad = path.with_extension("bad");
        std::fs::rename(path, &bad).map_err(|e| LogError::io("rename", path, e))?;
        self.damage.push(Damage { segment: bad, offset: 0, what: what.to_owned() });
        Ok(())
    }
}

/// True if a segment's header was never written whole.
fn is_unwritten(path: &Path) -> std::io::Result<bool> {
    let file = std::fs::File::open(path)?;
    let mut header = [0; SEGMENT_HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(header.iter().all(|b| *b == 0)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(true),
        Err(error) => Err(error),
    }
}

fn damage(path: &Path, bad: Bad) -> Damage {
    Damage { segment: path.to_owned(), offset: bad.offset, what: bad.what }
}

/// Segment numbers in order; removes temporaries of a crash.
fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let io = |e| LogError::io("list", dir, e);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".tmp") {
            std::fs::remove_file(entry.path()).map_err(|e| LogError::io("remove", &entry.path(), e))?;
        }
        numbers.extend(segment_number(name));
    }
    numbers.sort_unstable();
    disk::sync_dir(dir).map_err(io)?;
    Ok(numbers)
}
