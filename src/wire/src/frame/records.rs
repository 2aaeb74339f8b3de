//! The frame that carries log records.

use bytes::Bytes;
use trireme_base::StreamId;

use super::FrameError;
use crate::record::Record;

/// A gapless run of records of one stream, for one subscription. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    subscription: u32,
    records: Vec<Record>,
}

impl Records {
    /// A frame for `subscription`; refuses an empty run, a mix of streams and a run with gaps.
    pub fn new(subscription: u32, records: Vec<Record>) -> Result<Self, FrameError> {
        let first = records.first().ok_or(FrameError::Run)?;
        let stream = first.stream();
        let first_seq = first.seq();

        let mut expected = Some(first_seq);
        for record in &records {
            if record.stream() != stream || Some(record.seq()) != expected {
                return Err(FrameError::Run);
            }
            expected = record.seq().checked_add(1);
        }

        Ok(Self {
            subscription,
            records,
        })
    }

    /// Cuts `carried` into records, checking each one; the records are slices of it.
    pub(super) fn read(subscription: u32, mut carried: Bytes) -> Result<Self, FrameError> {
        let mut records = Vec::new();
        while !carried.is_empty() {
            records.push(Record::read(&mut carried)?);
        }
        Self::new(subscription, records)
    }

    /// The subscriber's number of the subscription.
    pub fn subscription(&self) -> u32 {
        self.subscription
    }

    /// The stream all records belong to.
    pub fn stream(&self) -> StreamId {
        self.records[0].stream()
    }

    /// Seq of the first record.
    pub fn first_seq(&self) -> u64 {
        self.records[0].seq()
    }

    /// Seq of the last record.
    pub fn last_seq(&self) -> u64 {
        self.records[self.records.len() - 1].seq()
    }

    /// Bytes of all records, which is what credit is counted in.
    pub fn record_bytes(&self) -> u64 {
        self.records
            .iter()
            .map(|record| record.bytes().len() as u64)
            .sum()
    }

    /// The records in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes the records out.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}
