//! A disk with a page cache.

use std::collections::BTreeMap;

use trireme_base::{Boot, SeededRng, StreamId};
use trireme_replication::{PositionVector, ReadFault};
use trireme_wire::record::Record;

/// One node's disk. Streams are never shortened except by a power cut, so that the checks can look at everything; what is
/// trimmed cannot be read by the protocol.
#[derive(Debug, Default)]
pub struct Disk {
    pub boot: u32,
    streams: BTreeMap<StreamId, Vec<Record>>,
    synced: PositionVector,
    trimmed: PositionVector,
}

impl Disk {
    pub fn next_boot(&mut self, reuse: bool) -> Boot {
        self.boot += u32::from(!reuse || self.boot == 0);
        Boot(self.boot)
    }

    pub fn written(&self) -> PositionVector {
        self.streams
            .iter()
            .map(|(stream, records)| (*stream, records.len() as u64))
            .collect()
    }

    pub fn synced(&self) -> &PositionVector {
        &self.synced
    }

    /// Writes to the page cache; the record must be the next of its stream.
    pub fn write(&mut self, record: Record) -> Result<(), String> {
        let records = self.streams.entry(record.stream()).or_default();
        if record.seq() != records.len() as u64 + 1 {
            return Err(format!(
                "{record:?} written after {} records",
                records.len()
            ));
        }

        records.push(record);
        Ok(())
    }

    pub fn sync(&mut self) {
        self.synced = self.written();
    }

    /// Loses what is not synced; a part of it may happen to be on the disk. Gives the number of records lost.
    pub fn power_cut(&mut self, rng: &mut SeededRng) -> u64 {
        let mut lost = 0;
        for (stream, records) in &mut self.streams {
            let unsynced = records.len() as u64 - self.synced.get(*stream);
            let kept = records.len() as u64 - rng.below(unsynced + 1);
            lost += records.len() as u64 - kept;
            records.truncate(kept as usize);
        }

        self.streams.retain(|_, records| !records.is_empty());
        lost
    }

    pub fn get(&self, stream: StreamId, seq: u64) -> Option<&Record> {
        self.streams
            .get(&stream)?
            .get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    pub fn is_synced(&self, record: &Record) -> bool {
        self.synced.get(record.stream()) >= record.seq()
            && self.get(record.stream(), record.seq()) == Some(record)
    }

    pub fn streams(&self) -> &BTreeMap<StreamId, Vec<Record>> {
        &self.streams
    }

    pub fn trim(&mut self, stream: StreamId, seq: u64) -> u64 {
        let before = self.trimmed.get(stream);
        self.trimmed.advance(stream, seq);
        self.trimmed.get(stream) - before
    }

    pub fn read(
        &self,
        stream: StreamId,
        from_seq: u64,
        max_bytes: u64,
    ) -> Result<Vec<Record>, ReadFault> {
        let trimmed = self.trimmed.get(stream);
        if from_seq <= trimmed {
            return Err(ReadFault::Trimmed {
                first_seq: trimmed + 1,
            });
        }

        let records = self.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let mut bytes = 0;
        Ok(records
            .iter()
            .skip(from_seq as usize - 1)
            .take_while(|record: &&Record| {
                let before = bytes;
                bytes += record.bytes().len() as u64;
                before < max_bytes
            })
            .cloned()
            .collect())
    }
}
