//! Reading a segment batch by batch, past damage where that is possible.

use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use trireme_wire::record::Record;

use crate::LogError;
use crate::compress::{UnpackError, Unpacker};
use crate::disk::Disk;
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, Layout, SEGMENT_HEADER_BYTES, SegmentHeader, Unusable,
};
use crate::salvage::Salvage;

/// What is said of a sector that is gone.
pub(crate) const UNREADABLE: &str = "the disk cannot read it";

/// A place that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Offset of the first byte that does not fit.
    pub offset: u64,
    pub what: String,
    /// The disk has lost it: no write that was merely cut short.
    pub is_lost: bool,
}

/// One batch as found.
pub(crate) struct ScannedBatch {
    pub offset: u64,
    pub records: Vec<Record>,
    /// How many of the records could be read without skipping any.
    pub whole: usize,
}

/// Walks over the batches of one segment file.
pub(crate) struct Scan {
    file: Salvage,
    layout: Layout,
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
    /// Opens a segment, or says why it is none.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
    ) -> io::Result<Result<(Self, SegmentHeader), Unusable>> {
        let mut file = Salvage::new(disk.open(path)?)?;
        let (header, layout) = match read_header(&mut file)? {
            Ok(found) => found,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let end = file.bytes;
        let scan = Self {
            file,
            layout,
            at: layout.start,
            end,
            ordinal: Some(0),
            unpacker: Unpacker::default(),
            bad: Vec::new(),
            synced_to: layout.start,
        };

        Ok(Ok((scan, header)))
    }

    /// Opens a segment that was checked before, at the batch at `from` (the first one without), and not further than
    /// `end`. A file that is no segment any more is [`LogError::Corrupt`].
    pub fn open_at(
        disk: &dyn Disk,
        path: &Path,
        from: Option<u64>,
        end: u64,
    ) -> Result<Self, LogError> {
        let opened = Self::open(disk, path).map_err(|e| LogError::io("read", path, e))?;
        let (mut scan, _) = opened.map_err(|unusable| LogError::unusable(path, unusable))?;
        scan.end = end.min(scan.end);

        if let Some(from) = from {
            scan.at = from;
            scan.synced_to = from;
            scan.ordinal = None;
        }

        Ok(scan)
    }

    /// Reads no further than `end`.
    pub fn limit(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    /// Where the next batch would start.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// True if something stands at the end that is neither a batch nor unused space.
    pub fn has_leftovers(&mut self) -> io::Result<bool> {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let have = (self.end - self.at).min(bytes.len() as u64) as usize;
        self.file.read(&mut bytes[..have], self.at)?;
        Ok(bytes.iter().any(|b| *b != 0))
    }

    /// The next batch; `None` at the end. Unreadable parts go to `bad` and are skipped.
    pub fn next_batch(&mut self) -> io::Result<Option<ScannedBatch>> {
        let ordinal = self.ordinal;
        let here = self
            .header_at(self.at)?
            .filter(|header| ordinal.is_none_or(|o| o == header.ordinal));
        let header = match here {
            Some(header) => header,
            None => match self.resume()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };

        let offset = self.at;
        let body_at = offset + BATCH_HEADER_BYTES as u64;
        let have = u64::from(header.body_bytes).min(self.end - body_at);
        let mut body = vec![0; have as usize];

        self.file.read(&mut body, body_at)?;
        let (records, whole) = self.split(Bytes::from(body), body_at, &header);

        self.at = body_at + have;
        self.ordinal = Some(header.ordinal + 1);
        self.synced_to = self.synced_to.max(header.synced_to);

        Ok(Some(ScannedBatch {
            offset,
            records,
            whole,
        }))
    }

    /// Goes to the next readable header behind a place where none is; `None` at the end of what was written.
    fn resume(&mut self) -> io::Result<Option<BatchHeader>> {
        let from = self.at;
        let found = self.find_header()?;
        let end = found.map_or(from + BATCH_HEADER_BYTES as u64, |(offset, _)| offset);

        let is_lost = self.file.has_lost(&(from..end.min(self.end)));
        if found.is_some() || is_lost {
            let what = if is_lost {
                UNREADABLE
            } else {
                "batch header does not fit"
            };
            self.bad.push(Bad {
                offset: from,
                what: what.to_owned(),
                is_lost,
            });
        }

        let Some((offset, header)) = found else {
            return Ok(None);
        };

        self.at = offset;
        self.ordinal = None;
        Ok(Some(header))
    }

    /// Splits a body into records; answers them and how many stand before the first gap.
    fn split(
        &mut self,
        mut body: Bytes,
        body_at: u64,
        header: &BatchHeader,
    ) -> (Vec<Record>, usize) {
        let mut records = Vec::new();
        let have = body.len();

        let mut whole = None;
        while !body.is_empty() {
            let at = body_at + (have - body.len()) as u64;
            let (skip, record) = if header.packed {
                (Unpacker::stored_len(&body), self.unpacker.read(&mut body))
            } else {
                (
                    Record::total_len(&body),
                    Record::read(&mut body).map_err(UnpackError::Record),
                )
            };

            match record {
                Ok(record) => records.push(record),
                Err(error) => {
                    whole.get_or_insert(records.len());
                    let bytes = skip.as_ref().copied().unwrap_or(body.len());
                    self.note_bad(at..at + bytes as u64, &error);

                    // With a sound length the next record can still be tried; each has its own checksum.
                    let Ok(skip) = skip else { break };
                    let _ = body.split_to(skip);
                }
            }
        }

        if have < header.body_bytes as usize && whole.is_none() {
            whole = Some(records.len());
            let what = "batch is cut off".to_owned();
            self.bad.push(Bad {
                offset: body_at + have as u64,
                what,
                is_lost: false,
            });
        }

        let whole = whole.unwrap_or(records.len());
        (records, whole)
    }

    /// Notes bytes that are no record.
    fn note_bad(&mut self, bytes: Range<u64>, error: &UnpackError) {
        let is_lost = self.file.has_lost(&bytes);
        let what = if is_lost {
            UNREADABLE.to_owned()
        } else {
            error.to_string()
        };

        self.bad.push(Bad {
            offset: bytes.start,
            what,
            is_lost,
        });
    }

    fn header_at(&mut self, at: u64) -> io::Result<Option<BatchHeader>> {
        if at + BATCH_HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let mut bytes = [0; BATCH_HEADER_BYTES];
        self.file.read(&mut bytes, at)?;
        Ok(BatchHeader::decode(&bytes, self.layout, at))
    }

    /// Looks for a later batch of this segment behind `at`.
    fn find_header(&mut self) -> io::Result<Option<(u64, BatchHeader)>> {
        const BLOCK: u64 = 1 << 20;

        // Headers may straddle blocks, so blocks overlap by one header.
        let mut block_at = self.at;

        let mut block = Vec::new();
        while block_at + (BATCH_HEADER_BYTES as u64) <= self.end {
            let have = (self.end - block_at).min(BLOCK);
            block.resize(have as usize, 0);
            self.file.read(&mut block, block_at)?;

            let mut from = 0;
            while let Some(found) = BatchHeader::find(&block[from..]) {
                let at = block_at + (from + found) as u64;
                if at > self.at
                    && let Some(header) = self.header_at(at)?
                    && self.ordinal.is_none_or(|ordinal| header.ordinal > ordinal)
                {
                    return Ok(Some((at, header)));
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

/// The header of the segment in `file`.
pub(crate) fn read_header(
    file: &mut Salvage,
) -> io::Result<Result<(SegmentHeader, Layout), Unusable>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let have = (bytes.len() as u64).min(file.bytes) as usize;
    file.read(&mut bytes[..have], 0)?;
    if file.has_lost(&(0..have as u64)) {
        return Ok(Err(Unusable::Damaged(UNREADABLE)));
    }
    Ok(SegmentHeader::decode(&bytes[..have]))
}
