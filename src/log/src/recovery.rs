//! Opening a log directory after any kind of end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use trireme_base::{StreamId, durable, is_unreadable};
use trireme_wire::record::Record;

use crate::base::{self, Base, Positions};
use crate::format::{SegmentHeader, Unusable, segment_name, segment_number, summary_number};
use crate::salvage::Salvage;
use crate::scan::{Bad, Scan, ScannedBatch, UNREADABLE, read_header};
use crate::summary::Summary;
use crate::{LogError, LogOptions};

/// A part of the log that was durable once and cannot be read. What it held must come from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file; a segment is kept until it is trimmed (renamed to `.bad` if its header is bad).
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
    /// First byte that does not fit.
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
#[derive(Default)]
pub(crate) struct Rebuilt {
    pub base: Base,
    /// Below this nothing need be read: it was trimmed, or the checkpoints of this start have it. Not kept: a later start may
    /// have to take an older checkpoint, and then needs what the log still has.
    known: Positions,
    pub positions: Positions,
    pub segments: BTreeMap<u64, Summary>,
    pub next_number: u64,
    /// Records of the newest segment of which no sync is known to have succeeded. What is read of them may be in memory
    /// only: a failed sync leaves such pages, and the next one calls them written. So they are logged again.
    pub doubted: Vec<Record>,
    /// The newest segment, and how far it is durable beyond doubt.
    pub previous: Option<(u64, u64)>,
    /// Segments that were trimmed and are there still.
    pub doomed: BTreeSet<u64>,
    pub damage: Vec<Damage>,
    pub tail_cut: Option<TailCut>,
}

/// Reads the directory. Nothing of it is changed but for what must not be met again: files with bad headers get another
/// name.
pub(crate) fn rebuild(
    dir: &Path,
    options: &LogOptions,
    covered: &[(StreamId, u64)],
) -> Result<Rebuilt, LogError> {
    std::fs::create_dir_all(dir).map_err(|e| LogError::io("create", dir, e))?;
    let mut this = Rebuilt::default();

    this.load_base(dir, options, covered)?;
    let numbers = this.list(dir)?;
    this.note_empty(dir, &numbers, covered);

    this.positions = this.known.clone();
    this.next_number = numbers
        .last()
        .map_or(1, |n| n + 1)
        .max(this.base.newest + 1);

    let ends = Ends::read(dir, options, &numbers)?;
    this.miss_segments(dir, &numbers, &ends);

    this.read_all(dir, options, &numbers, &ends)?;

    this.find_positions(options.skip_holes);
    this.mend_base();

    Ok(this)
}

/// How far each segment was durable when the next one was made, as that one says.
struct Ends(BTreeMap<u64, u64>);

impl Ends {
    /// Reads the headers of all segments. A file of a later release ends the start before anything is changed.
    fn read(dir: &Path, options: &LogOptions, numbers: &[u64]) -> Result<Self, LogError> {
        let mut ends = BTreeMap::new();
        for number in numbers {
            let path = dir.join(segment_name(*number));
            match header_of(options, &path) {
                Ok(Ok(header)) if header.previous > 0 => {
                    ends.insert(header.previous, header.previous_bytes);
                }
                Ok(Err(unusable @ Unusable::Newer(_))) => {
                    return Err(LogError::unusable(&path, unusable));
                }
                Ok(_) => {}
                Err(error) if is_unreadable(&error) => {}
                Err(error) => return Err(LogError::io("read", &path, error)),
            }
        }

        Ok(Self(ends))
    }

    fn of(&self, number: u64) -> Option<u64> {
        self.0.get(&number).copied()
    }
}

fn header_of(options: &LogOptions, path: &Path) -> io::Result<Result<SegmentHeader, Unusable>> {
    let mut file = Salvage::new(options.disk.open(path)?)?;
    Ok(read_header(&mut file)?.map(|(header, _)| header))
}

/// Follows the seqs of each stream through the log.
struct Chain {
    last: Positions,
    /// Up to where a stream has no hole.
    reach: Positions,
    skip_holes: bool,
}

impl Chain {
    /// True if a record belongs to the unbroken sequence of its stream; a stream may start anywhere. What was lost to damage
    /// is logged again in a later segment, from the hole on, although what stood behind the hole can be read in an older one.
    fn takes(&mut self, stream: StreamId, seq: u64, base: u64) -> bool {
        let last = self.last.get(&stream).copied();
        let reach = self.reach.entry(stream).or_insert(base);
        let is_next = seq == *reach + 1;

        // What is missing at or below the base is missed by nobody.
        let fits = is_next
            || last.is_none_or(|last| {
                seq == last + 1 || (seq > last && (self.skip_holes || seq <= base + 1))
            });

        if fits {
            self.last.insert(stream, seq);
        }

        if is_next {
            *reach = seq;
        }

        fits
    }

    fn follow(&mut self, summary: &Summary) {
        for (stream, range) in &summary.streams {
            let reach = self.reach.entry(*stream).or_default();
            let last = self.last.entry(*stream).or_insert(range.last);
            if range.first <= *reach + 1 {
                *reach = (*reach).max(range.last);
                *last = range.last;
            } else {
                *last = (*last).max(range.last);
            }
        }
    }
}

impl Rebuilt {
    /// Reads the base; what is known follows from it and what the checkpoints have.
    fn load_base(
        &mut self,
        dir: &Path,
        options: &LogOptions,
        covered: &[(StreamId, u64)],
    ) -> Result<(), LogError> {
        let mut is_base_lost = false;
        match base::load(dir)? {
            Ok(base) => self.base = base,
            Err(what) => {
                self.damage.push(Damage {
                    segment: dir.join(base::FILE),
                    offset: 0,
                    what,
                });
                is_base_lost = true;
            }
        }

        self.base.ended.merge(&options.ended);
        let ended = &self.base.ended;
        self.base.positions.retain(|stream, _| !ended.has(*stream));
        self.known = self.base.raised_by(covered);

        if is_base_lost {
            // What was trimmed is in the checkpoints, or it would not have been trimmed; less of it is, where the log has more.
            self.base.positions = self.known.clone();
        }
        Ok(())
    }

    /// Segment numbers in order. Removes temporaries of a crash, and remembers what was trimmed.
    fn list(&mut self, dir: &Path) -> Result<Vec<u64>, LogError> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|e| LogError::io("list", dir, e))? {
            let entry = entry.map_err(|e| LogError::io("list", dir, e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".tmp") {
                std::fs::remove_file(entry.path())
                    .map_err(|e| LogError::io("remove", &entry.path(), e))?;
            }
            match segment_number(name) {
                Some(number) if number < self.base.first => drop(self.doomed.insert(number)),
                Some(number) => numbers.push(number),
                None => {}
            }
        }

        numbers.sort_unstable();
        durable::sync_dir(dir).map_err(|e| LogError::io("list", dir, e))?;
        Ok(numbers)
    }

    /// A directory without segments is a new one, or somebody emptied it.
    fn note_empty(&mut self, dir: &Path, numbers: &[u64], covered: &[(StreamId, u64)]) {
        if !numbers.is_empty() || self.base.newest != 0 {
            return;
        }

        self.base.first = 1;
        if !covered.is_empty() {
            // Every start makes a segment and a base, and a checkpoint says that there were records.
            let what = "the log is empty, although checkpoints have records of it".to_owned();
            self.damage.push(Damage {
                segment: dir.to_owned(),
                offset: 0,
                what,
            });
        }
    }

    /// Segments that must be there and are not: somebody deleted them, or the file system lost them.
    fn miss_segments(&mut self, dir: &Path, numbers: &[u64], ends: &Ends) {
        let mut named: BTreeSet<u64> = ends.0.keys().copied().collect();
        named.insert(self.base.newest);
        named.extend(summaries(dir));

        for number in named {
            let path = dir.join(segment_name(number));
            if number == 0 || number < self.base.first || numbers.binary_search(&number).is_ok() {
                continue;
            }

            // Without a base nobody knows what was trimmed; the oldest names the one before it.
            let may_be_trimmed =
                self.base.first == 0 && numbers.first().is_some_and(|first| number < *first);

            if !may_be_trimmed && !path.with_extension("bad").exists() {
                let what = "the file is missing".to_owned();
                self.damage.push(Damage {
                    segment: path,
                    offset: 0,
                    what,
                });
            }
        }
    }

    /// Reads all segments, oldest first.
    fn read_all(
        &mut self,
        dir: &Path,
        options: &LogOptions,
        numbers: &[u64],
        ends: &Ends,
    ) -> Result<(), LogError> {
        let mut chain = Chain {
            last: Positions::new(),
            reach: self.known.clone(),
            skip_holes: options.skip_holes,
        };

        for number in numbers {
            let path = dir.join(segment_name(*number));
            let is_newest = numbers.last() == Some(number);
            let summary = self.read(&path, options, is_newest, ends.of(*number), &mut chain)?;
            if let Some(summary) = summary {
                if is_newest && self.previous.is_none() {
                    self.previous = Some((*number, summary.bytes));
                }
                self.segments.insert(*number, summary);
            }
        }
        Ok(())
    }

    /// What a segment holds; `None` if its header is bad.
    fn read(
        &mut self,
        path: &Path,
        options: &LogOptions,
        is_newest: bool,
        durable: Option<u64>,
        chain: &mut Chain,
    ) -> Result<Option<Summary>, LogError> {
        if let Some(summary) = stored_summary(path) {
            chain.follow(&summary);
            return Ok(Some(summary));
        }

        let mut scan = match Scan::open(&*options.disk, path) {
            Ok(Ok((scan, _))) => scan,
            Ok(Err(Unusable::Damaged(what))) => return self.set_aside(path, what),
            Ok(Err(unusable)) => return Err(LogError::unusable(path, unusable)),
            Err(error) if is_unreadable(&error) => return self.set_aside(path, UNREADABLE),
            Err(error) => return Err(LogError::io("read", path, error)),
        };

        if is_newest {
            return self.read_newest(path, &mut scan, chain).map(Some);
        }

        self.read_older(path, scan, durable, chain).map(Some)
    }

    /// Reads a segment that was finished, and was durable up to `durable` when the next one was made.
    fn read_older(
        &mut self,
        path: &Path,
        mut scan: Scan,
        durable: Option<u64>,
        chain: &mut Chain,
    ) -> Result<Summary, LogError> {
        if let Some(durable) = durable {
            scan.limit(durable);
        }

        let mut summary = Summary::default();
        while let Some(batch) = scan
            .next_batch()
            .map_err(|e| LogError::io("read", path, e))?
        {
            self.note(&batch, chain, &mut summary);
        }

        summary.bytes = scan.position();

        let mut bad = scan.bad;
        if bad.is_empty() && durable.is_some_and(|durable| summary.bytes < durable) {
            let what = "ends before what was durable in it".to_owned();
            bad.push(Bad {
                offset: summary.bytes,
                what,
                is_lost: false,
            });
        }

        summary.damaged = !bad.is_empty();
        self.damage
            .extend(bad.into_iter().map(|bad| damage(path, bad)));

        Ok(summary)
    }

    /// Reads the segment that the last process was writing.
    ///
    /// A batch says how far the segment was synced when it was written. What does not read behind that point is a torn
    /// write, and what reads there is doubted; what does not read before it is damage.
    fn read_newest(
        &mut self,
        path: &Path,
        scan: &mut Scan,
        chain: &mut Chain,
    ) -> Result<Summary, LogError> {
        let mut summary = Summary::default();
        let behind = self.read_synced(path, scan, chain, &mut summary)?;

        let synced_to = scan.synced_to;
        let torn = scan
            .bad
            .iter()
            .find(|bad| bad.offset >= synced_to && !bad.is_lost)
            .cloned();

        let end = torn.as_ref().map_or(u64::MAX, |torn| torn.offset);
        self.doubt(behind, end, chain, &mut summary);
        summary.bytes = scan.position().min(end);

        self.note_tail(path, scan, torn)?;

        let damage = damage_before(path, scan, synced_to);
        summary.damaged = !damage.is_empty();
        self.damage.extend(damage);
        let number = path
            .file_name()
            .and_then(|name| segment_number(name.to_str()?));

        self.previous = number.map(|number| (number, synced_to));
        Ok(summary)
    }

    /// Notes the batches that a later one says were synced; answers the others.
    fn read_synced(
        &mut self,
        path: &Path,
        scan: &mut Scan,
        chain: &mut Chain,
        summary: &mut Summary,
    ) -> Result<Vec<ScannedBatch>, LogError> {
        let mut behind: Vec<ScannedBatch> = Vec::new();
        while let Some(batch) = scan
            .next_batch()
            .map_err(|e| LogError::io("read", path, e))?
        {
            behind.push(batch);
            let synced = behind.partition_point(|batch| batch.offset < scan.synced_to);
            for batch in behind.drain(..synced) {
                self.note(&batch, chain, summary);
            }
        }
        Ok(behind)
    }

    /// Takes the records of the batches before `end`, of which no sync is known.
    fn doubt(
        &mut self,
        behind: Vec<ScannedBatch>,
        end: u64,
        chain: &mut Chain,
        summary: &mut Summary,
    ) {
        for batch in behind.into_iter().take_while(|batch| batch.offset < end) {
            for record in batch.records.into_iter().take(batch.whole) {
                if self.continues(&record, chain) {
                    summary.note(record.stream(), record.seq(), batch.offset);
                    self.doubted.push(record);
                }
            }
        }
    }

    /// Notes where a write did not finish.
    fn note_tail(
        &mut self,
        path: &Path,
        scan: &mut Scan,
        torn: Option<Bad>,
    ) -> Result<(), LogError> {
        let (offset, what) = if let Some(torn) = torn {
            (torn.offset, torn.what)
        } else if scan
            .has_leftovers()
            .map_err(|e| LogError::io("read", path, e))?
        {
            // Leftovers of a write that did not finish, and no space that was set aside and never used.
            (scan.position(), "batch header does not fit".to_owned())
        } else {
            return Ok(());
        };

        self.tail_cut = Some(TailCut {
            segment: path.to_owned(),
            offset,
            what,
        });
        Ok(())
    }

    /// How far each stream goes without a hole; the streams that have ended are left out.
    fn find_positions(&mut self, skip_holes: bool) {
        for summary in self.segments.values() {
            for (stream, range) in &summary.streams {
                let position = self.positions.entry(*stream).or_default();
                if range.last > *position && (range.first <= *position + 1 || skip_holes) {
                    *position = range.last;
                }
            }
        }

        let ended = &self.base.ended;
        self.doubted.retain(|record| !ended.has(record.stream()));
        self.positions
            .retain(|stream, seq| *seq > 0 && !ended.has(*stream));
    }

    /// What the log has was not trimmed, whatever the base says: earlier releases noted in it what a checkpoint had, and a
    /// start that had to take an older one read nothing of what is between the two.
    fn mend_base(&mut self) {
        for (stream, range) in self.segments.values().flat_map(|summary| &summary.streams) {
            if let Some(seq) = self.base.positions.get_mut(stream) {
                *seq = (*seq).min(range.first.saturating_sub(1));
            }
        }
    }

    /// Notes the records of a batch that continue their streams.
    fn note(&self, batch: &ScannedBatch, chain: &mut Chain, summary: &mut Summary) {
        for record in batch
            .records
            .iter()
            .filter(|record| self.continues(record, chain))
        {
            summary.note(record.stream(), record.seq(), batch.offset);
        }
    }

    fn continues(&self, record: &Record, chain: &mut Chain) -> bool {
        let stream = record.stream();
        let base = self.known.get(&stream).copied().unwrap_or(0);
        chain.takes(stream, record.seq(), base)
    }

    /// Takes a file with a bad header out of the sequence. A segment has its header before it has its name, so that is
    /// never what a crash leaves.
    fn set_aside(&mut self, path: &Path, what: &'static str) -> Result<Option<Summary>, LogError> {
        let bad = path.with_extension("bad");
        std::fs::rename(path, &bad).map_err(|e| LogError::io("rename", path, e))?;
        self.damage.push(Damage {
            segment: bad,
            offset: 0,
            what: what.to_owned(),
        });

        Ok(None)
    }
}

/// What was stored beside a segment that was finished, if it fits the file.
fn stored_summary(path: &Path) -> Option<Summary> {
    let summary = Summary::load(&path.with_extension("idx"))?;
    let metadata = std::fs::metadata(path).ok()?;
    (metadata.len() == summary.bytes).then_some(summary)
}

/// What cannot be read of a segment up to where it was synced, or was lost.
fn damage_before(path: &Path, scan: &Scan, synced_to: u64) -> Vec<Damage> {
    scan.bad
        .iter()
        .filter(|bad: &&Bad| bad.offset < synced_to || bad.is_lost)
        .map(|bad| damage(path, bad.clone()))
        .collect()
}

/// Numbers of the segments that have a summary beside them.
fn summaries(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| summary_number(entry.file_name().to_str()?))
        .collect()
}

pub(crate) fn damage(path: &Path, bad: Bad) -> Damage {
    Damage {
        segment: path.to_owned(),
        offset: bad.offset,
        what: bad.what,
    }
}
