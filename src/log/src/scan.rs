//! Reading a segment batch by batch, past damage where that is possible.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use trireme_wire::record::Record;

use crate::compress::{UnpackError, Unpacker};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader};

/// A place that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Offset of the first byte that does not fit.
    pub offset: u64,
    pub what: String,
}

/// One batch as found.
pub(crate) struct ScannedBatch {
    pub offset: u64,
    pub header: BatchHeader,
    pub records: Vec<Record>,
    /// End of the records that could be read without skipping any.
    pub good_end: u64,
}

/// Walks over the batches of one segment file.
pub(crate) struct Scan {
    file: File,
    at: u64,
    end: u64,
    /// Ordinal of the next batch; unknown when the scan starts in the middle.
    ordinal: Option<u64>,
    unpacker: Unpacker,
    /// Damage met so far, in file order.
    pub bad: Vec<Bad>,
    /// Greatest `synced_to` of the headers seen.
    pub synced_to: u64,
}

impl Scan {
    /// Opens a segment and checks its header; the inner error says why it is no segment.
    pub fn open(path: &Path) -> io::Result<Result<Self, &'static str>> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let mut header = [0; SEGMENT_HEADER_BYTES];
        if end < header.len() as u64 {
            return Ok(Err("segment header is cut off"));
        }
        file.read_exact_at(&mut header, 0)?;
        let at = SEGMENT_HEADER_BYTES as u64;
        Ok(SegmentHeader::decode(&header).map(|_| Self {
            file,
            at,
            end,
            ordinal: Some(0),
            unpacker: Unpacker::default(),
            bad: Vec::new(),
            synced_to: at,
        }))
    }

    /// Opens a segment that was checked before, at the batch at `from`, and not further than `end`.
    pub fn open_at(path: &Path, from: u64, end: u64) -> io::Result<Self> {
        let (file, unpacker) = (File::open(path)?, Unpacker::default());
        Ok(Self { file, at: from, end, ordinal: None, unpacker, bad: Vec::new(), synced_to: from })
    }

    /// Where the next batch would start.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// True if something stands at the end that is neither a batch nor unused space.
    pub fn has_leftovers(&self) -> io::Result<bool> {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let have = (self.end - self.at).min(bytes.len() as u64) as usize;
        self.file.read_exact_at(&mut bytes[..have], self.at)?;
        Ok(bytes.iter().any(|b| *b != 0))
    }

    /// The next batch; `None` at the end. Unreadable parts go to `bad` and are skipped.
    pub fn next_batch(&mut self) -> io::Result<Option<ScannedBatch>> {
        let Some(header) = self.header_at(self.at)?.filter(|h| self.ordinal.is_none_or(|o| o == h.ordinal))
        else {
            return match self.find_header()? {
                Some(offset) => {
                    self.bad.push(Bad { offset: self.at, what: "batch header does not fit".to_owned() });
                    self.at = offset;
                    self.ordinal = None;
                    self.next_batch()
                }
                None => Ok(None),
            };
        };
        let offset = self.at;
        let body_at = offset + BATCH_HEADER_BYTES as u64;
        let have = u64::from(header.body_bytes).min(self.end - body_at);
        let mut body = vec![0; have as usize];
        self.file.read_exact_at(&mut body, body_at)?;
        let (records, good) = self.split(Bytes::from(body), body_at, &header);
        self.at = body_at + have;
        self.ordinal = Some(header.ordinal + 1);
        self.synced_to = self.synced_to.max(header.synced_to);
        Ok(Some(ScannedBatch { offset, header, records, good_end: body_at + good as u64 }))
    }

    /// Splits a body into records; answers them and how far they go without a gap.
    fn split(&mut self, mut body: Bytes, body_at: u64, header: &BatchHeader) -> (Vec<Record>, usize) {
        let mut records = Vec::new();
        let have = body.len();
        let mut good = None;
        while !body.is_empty() {
            let at = have - body.len();
            let (skip, record) = if header.packed {
                (Unpacker::stored_len(&body), self.unpacker.read(&mut body))
            } else {
                (Record::total_len(&body), Record::read(&mut body).map_err(UnpackError::Record))
            };
            match record {
                Ok(record) => records.push(record),
                Err(error) => {
                    good.get_or_insert(at);
                    self.bad.push(Bad { offset: body_at + at as u64, what: error.to_string() });
                    // With a sound length the next record can still be tried; each has its own checksum.
                    let Ok(skip) = skip else { break };
                    let _ = body.split_to(skip);
                }
            }
        }
        if have < header.body_bytes as usize && good.is_none() {
            good = Some(have);
            self.bad.push(Bad { offset: body_at + have as u64, what: "batch is cut off".to_owned() });
        }
        (records, good.unwrap_or(have))
    }

    fn header_at(&self, at: u64) -> io::Result<Option<BatchHeader>> {
        if at + BATCH_HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let mut bytes = [0; BATCH_HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(BatchHeader::decode(&bytes))
    }

    /// Looks for a later batch of this segment behind `at`.
    fn find_header(&self) -> io::Result<Option<u64>> {
        const BLOCK: u64 = 1 << 20;
        // Headers may straddle blocks, so blocks overlap by one header.
        let mut block_at = self.at;
        let mut block = Vec::new();
        while block_at + (BATCH_HEADER_BYTES as u64) <= self.end {
            let have = (self.end - block_at).min(BLOCK);
            block.resize(have as usize, 0);
            self.file.read_exact_at(&mut block, block_at)?;
            let mut from = 0;
            while let Some(found) = BatchHeader::find(&block[from..]) {
                let at = block_at + (from + found) as u64;
                let later = |h: &BatchHeader| self.ordinal.is_none_or(|o| h.ordinal > o);
                if at > self.at && self.header_at(at)?.is_some_and(|h| later(&h)) {
                    return Ok(Some(at));
                }
                from += found + 1;
            }
            if have < BLOCK {
                break;
            }
            block_at += BLOCK - BATCH_HEADER_BYTES as u64;
        }
        Ok(None)
    }
}
