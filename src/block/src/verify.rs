//! Checking every byte of a block.

mod chunk;
mod index;

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::io_at;
use crate::name::is_named_by;
use crate::{Block, BlockError, INDEX_FILE, META_FILE, RangeRead, TOMBSTONES_FILE, hex};
use index::Found;

/// Something that is wrong with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// File and part of it.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Faults found so far; only the first [`FaultList::MAX`] are kept.
#[derive(Default)]
struct FaultList {
    faults: Vec<Fault>,
    more: usize,
}

impl FaultList {
    /// A block with more faults than this is simply broken.
    const MAX: usize = 100;

    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.faults.len() < Self::MAX {
            self.faults.push(Fault {
                place: place.into(),
                what: what.into(),
            });
        } else {
            self.more += 1;
        }
    }

    fn error(&mut self, error: BlockError) {
        match error {
            BlockError::Corrupt { place, what } => self.add(place, what),
            BlockError::Io { place, source } => self.add(place, source.to_string()),
            BlockError::Unsupported { place, what } => {
                self.add(place, format!("{what} is not supported"))
            }
            other => self.add("block", other.to_string()),
        }
    }

    fn finish(mut self) -> Vec<Fault> {
        if self.more > 0 {
            let what = format!("{} more faults", self.more);
            self.faults.push(Fault {
                place: "block".into(),
                what,
            });
        }
        self.faults
    }
}

/// Opens a block directory and checks all of it; an empty list means that nothing is wrong.
pub fn verify_block(dir: &Path) -> Vec<Fault> {
    match Block::open(dir) {
        Ok(block) => block.verify(),
        Err(error) => {
            let mut faults = FaultList::default();
            faults.error(error);
            faults.finish()
        }
    }
}

impl Block {
    /// Checks everything in the block: checksums, orders, references, every sample, the counts in the meta, and
    /// for a block of ours that its name follows from its bytes. Reads all of it.
    pub fn verify(&self) -> Vec<Fault> {
        let mut faults = FaultList::default();

        let found = index::verify(self, &mut faults);
        if let Some(found) = found {
            self.verify_stats(&found, &mut faults);
        }

        if !self.meta().crc_matches() {
            faults.add(META_FILE, "its checksum does not fit its content");
        }

        if let Err(error) = self.verify_digest(&mut faults) {
            faults.error(error);
        }

        faults.finish()
    }

    fn verify_stats(&self, found: &Found, faults: &mut FaultList) {
        let stats = &self.meta().stats;
        let mut check = |name: &str, says: u64, is: u64| {
            if says != is {
                faults.add(
                    META_FILE,
                    format!("{name} is {says}, but the block has {is}"),
                );
            }
        };

        check("numSeries", stats.num_series, found.series);
        check("numChunks", stats.num_chunks, found.chunks);
        check(
            "numSamples",
            stats.num_samples,
            found.floats + found.histograms,
        );

        // Older writers leave the two parts out, and Thanos copies them from the block that it downsamples.
        let is_copied = self.meta().resolution_ms() > 0 && self.meta().trireme.is_none();

        if !is_copied && stats.num_float_samples + stats.num_histogram_samples > 0 {
            check("numFloatSamples", stats.num_float_samples, found.floats);
            check(
                "numHistogramSamples",
                stats.num_histogram_samples,
                found.histograms,
            );
        }

        check(
            "numTombstones",
            stats.num_tombstones,
            self.tombstones().len() as u64,
        );

        for (id, _) in self
            .tombstones()
            .iter()
            .filter(|(id, _)| !found.ids.contains(id))
        {
            faults.add(
                TOMBSTONES_FILE,
                format!("names series {id}, which does not exist"),
            );
        }
    }

    /// For a block that this program wrote: do digest and ULID follow from the bytes?
    fn verify_digest(&self, faults: &mut FaultList) -> Result<(), BlockError> {
        let Some(own) = &self.meta().trireme else {
            return Ok(());
        };

        let mut digest = Sha256::new();
        for number in 0..self.chunks().segment_count() {
            hash_file(self.chunks().segment(number), "chunks", &mut digest)?;
        }

        hash_file(self.index().file(), INDEX_FILE, &mut digest)?;

        let digest: [u8; 32] = digest.finalize().into();
        if hex(&digest) != own.digest {
            faults.add(
                META_FILE,
                "the digest in it is not that of the chunk files and the index",
            );
        }

        if !is_named_by(self.meta(), &digest) {
            faults.add(
                META_FILE,
                "the ULID does not follow from maxTime and the content",
            );
        }

        Ok(())
    }
}

/// Bytes read at once.
const PIECE_BYTES: usize = 4 << 20;

fn hash_file(file: &dyn RangeRead, place: &str, digest: &mut Sha256) -> Result<(), BlockError> {
    let mut offset = 0;
    while offset < file.len() {
        let len = PIECE_BYTES.min((file.len() - offset) as usize);
        digest.update(&file.read_at(offset, len).map_err(io_at(place))?);
        offset += len as u64;
    }
    Ok(())
}

/// True if the bytes of `[start, end)` are zero; a few at most.
fn is_zero(file: &dyn RangeRead, start: u64, end: u64) -> bool {
    end - start < 4096
        && file
            .read_at(start, (end - start) as usize)
            .is_ok_and(|b| b.iter().all(|b| *b == 0))
}
