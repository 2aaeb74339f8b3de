//! Serving followers that are behind.

use trireme_base::StreamId;
use trireme_wire::record::Record;

use crate::scan::Scan;
use crate::summary::Summary;
use crate::{Log, LogError};

impl Log {
    /// Records of a stream from `from_seq` on: at least one, then until `bytes_max`. Empty when the log has no more
    /// yet; [`LogError::Gone`] when it does not have it any more.
    ///
    /// Recent records come from memory; older ones are read from their segment without a lock on the writer. May
    /// block on the disk.
    pub fn read(
        &self,
        stream: StreamId,
        from_seq: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        if let Some(records) = self.shared.recent.read().read(stream, from_seq, bytes_max) {
            return Ok(records);
        }

        let mut out = Found {
            stream,
            next: from_seq,
            bytes: 0,
            bytes_max,
            records: Vec::new(),
        };

        let mut failed = None;
        while !out.full() {
            let before = out.next;
            for (number, offset, end) in self.places(stream, out.next) {
                // After damage the records were logged again: an older segment may claim what it cannot give.
                match self.read_segment(number, offset, end, &mut out) {
                    Ok(()) | Err(LogError::Gone { .. }) => {}
                    Err(error) => failed = Some(error),
                }
                if out.next > before {
                    break;
                }
            }

            if out.next == before {
                break;
            }
        }

        if !out.records.is_empty() {
            return Ok(out.records);
        }
        if let Some(error) = failed {
            return Err(error);
        }

        self.check_not_gone(stream, from_seq)?;
        Ok(Vec::new())
    }

    /// An error if the log once had the record: where it is not found then, it is gone.
    fn check_not_gone(&self, stream: StreamId, seq: u64) -> Result<(), LogError> {
        let state = self.shared.state.lock();
        let written = state.written.get(&stream).copied().unwrap_or(0);
        if seq <= written {
            return Err(LogError::Gone { stream, seq });
        }
        Ok(())
    }

    /// Number of each segment that has `seq` of a stream, by what is known of it; where to begin there, and where to end.
    fn places(&self, stream: StreamId, seq: u64) -> Vec<(u64, u64, u64)> {
        let state = self.shared.state.lock();
        if state.written.get(&stream).is_none_or(|last| seq > *last) {
            return Vec::new();
        }

        state
            .segments
            .iter()
            .filter_map(|(number, summary): (&u64, &Summary)| {
                Some((*number, summary.place(stream, seq)?, summary.bytes))
            })
            .collect()
    }

    fn read_segment(
        &self,
        number: u64,
        offset: u64,
        end: u64,
        out: &mut Found,
    ) -> Result<(), LogError> {
        let path = self.shared.segment_path(number);
        let opened = Scan::open_at(&*self.shared.options.disk, &path, Some(offset), end);
        let mut scan = opened.map_err(|error| match error {
            // Trimmed between the look-up and the open.
            LogError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                LogError::Gone {
                    stream: out.stream,
                    seq: out.next,
                }
            }
            error => error,
        })?;

        while !out.full() {
            let Some(batch) = scan
                .next_batch()
                .map_err(|e| LogError::io("read", &path, e))?
            else {
                break;
            };
            batch
                .records
                .into_iter()
                .for_each(|record| out.take(record));
        }

        Ok(())
    }
}

struct Found {
    stream: StreamId,
    next: u64,
    bytes: usize,
    bytes_max: usize,
    records: Vec<Record>,
}

impl Found {
    fn full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    fn take(&mut self, record: Record) {
        if record.stream() != self.stream || record.seq() != self.next || self.full() {
            return;
        }
        self.next += 1;
        self.bytes += record.bytes().len();
        // A record keeps its whole batch in memory; a follower wants a few of many.
        self.records.push(record);
    }
}
