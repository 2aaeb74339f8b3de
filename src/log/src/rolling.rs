//! From one segment to the next.

use std::fs::OpenOptions;
use std::sync::atomic::Ordering;

use trireme_base::StreamId;
use trireme_wire::record::Record;

use crate::LogError;
use crate::base::Positions;
use crate::format::SegmentHeader;
use crate::segment::{NewSegment, Segment};
use crate::shared::{Health, State};
use crate::summary::Summary;
use crate::writer::Writer;

/// What was written and not synced yet.
///
/// While there is a segment it stands in there. Without one a sync has failed, or an earlier process has left it in
/// doubt, and it is logged again in the next segment before anything else.
#[derive(Default)]
pub(crate) struct Unsynced {
    /// Last seq of each stream.
    pub positions: Positions,
    pub records: Vec<Record>,
    pub bytes: usize,
}

impl Unsynced {
    pub fn push(&mut self, record: Record) {
        self.positions.insert(record.stream(), record.seq());
        self.bytes += record.bytes().len();
        self.records.push(record);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn clear(&mut self) {
        self.positions.clear();
        self.records.clear();
        self.bytes = 0;
    }
}

impl Writer {
    /// Creates the first segment of this start, with what the last one has left in doubt. If that has to wait, the log
    /// opens all the same: what it has can be read.
    pub fn first_segment(&mut self) -> Result<(), LogError> {
        match self.make_segment() {
            Ok(()) => {
                // Nobody was told anything yet, so nobody needs to hear of it.
                self.note_durable();
                self.unsynced.clear();
                self.shrink_previous();
                Ok(())
            }
            Err(error) if error.passes() => {
                self.set_health(Health::Waiting(error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives back the room of the segment that an earlier process was writing. No more than a kindness: a later start
    /// does it again.
    fn shrink_previous(&self) {
        let Some((number, bytes)) = self.previous else {
            return;
        };

        let file = OpenOptions::new()
            .write(true)
            .open(self.shared.segment_path(number));

        if let Ok(file) = file
            && file.metadata().is_ok_and(|m| m.len() > bytes)
        {
            let _ = file.set_len(bytes);
        }
    }

    /// Closes the segment and makes the next one.
    pub fn roll(&mut self) -> Result<(), LogError> {
        if self.segment.is_some() && !self.unsynced.is_empty() {
            self.sync_segment()?;
            self.publish_durable();
            self.unsynced.clear();
        }

        if let Some(segment) = self.segment.take() {
            let number = segment.number;
            let mut summary = self
                .shared
                .state
                .lock()
                .segments
                .get(&number)
                .cloned()
                .unwrap_or_default();
            let durable = segment.close(&mut summary);
            self.shared.state.lock().segments.insert(number, summary);
            self.previous = Some((number, durable));
        }

        self.make_segment()?;
        if !self.unsynced.is_empty() {
            self.publish_durable();
            self.unsynced.clear();
        }

        Ok(())
    }

    /// Makes a segment that has everything that is in doubt, durably.
    fn make_segment(&mut self) -> Result<(), LogError> {
        while self.shared.segment_path(self.next_number).exists() {
            self.next_number += 1;
        }

        let previous = self.previous.unwrap_or_default();
        let header = self.header_after(previous);
        let options = &self.shared.options;

        let new = NewSegment {
            dir: &self.shared.dir,
            header,
            space_bytes: options.segment_bytes,
            compress: options.compress,
            again: &self.unsynced.records,
            batch_bytes_max: options.batch_bytes_max,
        };

        let (segment, places) = Segment::create(&*options.disk, &new)?;

        {
            let mut state = self.shared.state.lock();
            state.begin_segment(&segment, previous, &self.unsynced.records, &places);
            state.base.newest = segment.number;
        }

        // A help to notice a file that somebody deletes, no duty.
        let _ = self.shared.store_base();
        self.next_number = segment.number + 1;
        self.segment = Some(segment);

        Ok(())
    }

    /// The header of the next segment; the one before it is durable up to so many bytes.
    fn header_after(&self, (previous, previous_bytes): (u64, u64)) -> SegmentHeader {
        SegmentHeader {
            number: self.next_number,
            incarnation: self.shared.own.incarnation,
            created_ms: self.clock.now_ms(),
            salt: self.shared.options.salt,
            previous,
            previous_bytes,
        }
    }

    /// Syncs the segment. After an error it is given up, and what was not synced is logged again in the next one.
    pub fn sync_segment(&mut self) -> Result<(), LogError> {
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };

        let synced = segment.sync();
        if synced.is_err() {
            self.previous = Some((segment.number, segment.synced_to));
            self.segment = None;
            self.shared
                .counters
                .failed_syncs
                .fetch_add(1, Ordering::Relaxed);
        }

        synced
    }
}

impl State {
    /// A new segment is there which begins with `again`: those records do not count any more where they stood.
    fn begin_segment(
        &mut self,
        segment: &Segment,
        previous: (u64, u64),
        again: &[Record],
        places: &[(usize, u64)],
    ) {
        if let Some(old) = self.segments.get_mut(&previous.0) {
            old.bytes = old.bytes.min(previous.1);
            first_seqs(again)
                .iter()
                .for_each(|(stream, first)| old.cut(*stream, first - 1));
        }

        let mut summary = Summary {
            bytes: segment.bytes,
            ..Summary::default()
        };
        let mut places = places.iter().peekable();

        let mut offset = 0;
        for (at, record) in again.iter().enumerate() {
            if let Some((_, next)) = places.next_if(|(from, _)| *from == at) {
                offset = *next;
            }
            summary.note(record.stream(), record.seq(), offset);
        }

        self.segments.insert(segment.number, summary);
    }
}

/// The first seq of each stream among records in log order.
pub(crate) fn first_seqs(records: &[Record]) -> Positions {
    let mut first = Positions::new();
    for record in records {
        let stream: StreamId = record.stream();
        first.entry(stream).or_insert(record.seq());
    }
    first
}
