//! Chunks one after the other: each one whole, no byte between them.

use bytes::Bytes;

use super::{FaultList, is_zero};
use crate::aggregates::{self, AGGREGATES};
use crate::chunks::{ChunkPass, Extent, chunk_place};
use crate::{Block, BlockError, CHUNKS_DIR, ChunkMeta, Samples, segment_name};

/// Header of a chunk file.
const HEADER_BYTES: u64 = 8;

/// Checks chunks in the order of the index.
pub(super) struct ChunkCheck<'a> {
    block: &'a Block,
    chunks: ChunkPass<'a>,
    extents: Vec<Extent>,
    samples: Samples,
    pub(super) floats: u64,
    pub(super) histograms: u64,
}

impl<'a> ChunkCheck<'a> {
    pub(super) fn new(block: &'a Block) -> Self {
        let chunks = block.chunks().reader();
        Self {
            block,
            chunks,
            extents: Vec::new(),
            samples: Samples::default(),
            floats: 0,
            histograms: 0,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.extents.len() as u64
    }

    /// Reads a chunk; its samples must be those that its meta promises.
    pub(super) fn check(&mut self, chunk: &ChunkMeta, faults: &mut FaultList) {
        if let Err(error) = self.try_check(chunk, faults) {
            faults.error(error);
        }
    }

    fn try_check(&mut self, chunk: &ChunkMeta, faults: &mut FaultList) -> Result<(), BlockError> {
        let is_downsampled = self.block.meta().resolution_ms() > 0;
        if is_downsampled {
            let (encoding, data, extent) = self.chunks.read_any(chunk.reference)?;
            if encoding == AGGREGATES {
                self.extents.push(extent);
                return self.check_aggregates(chunk, &data, faults);
            }
        }

        let (encoding, data, extent) = self.chunks.read(chunk.reference)?;
        self.extents.push(extent);
        self.samples.clear();

        let decoded = self.samples.append_chunk(encoding, &data);
        decoded.map_err(|e| BlockError::corrupt(chunk_place(chunk.reference), e.to_string()))?;
        self.check_times(chunk, faults);
        self.floats += self.samples.times.len() as u64;
        self.histograms += self.samples.histograms.len() as u64;
        Ok(())
    }

    /// The times of the chunk that was read must be those of its meta.
    fn check_times(&self, chunk: &ChunkMeta, faults: &mut FaultList) {
        let times = &self.samples.times;
        let histogram_times = self.samples.histograms.iter().map(|s| s.t);

        let all: Vec<i64> = times.iter().copied().chain(histogram_times).collect();
        if !all.is_sorted_by(|a, b| a < b) {
            faults.add(chunk_place(chunk.reference), "its times do not rise");
        }

        if all.first() != Some(&chunk.min_time) || all.last() != Some(&chunk.max_time) {
            let says = (chunk.min_time, chunk.max_time);
            let is = (all.first(), all.last());
            faults.add(
                chunk_place(chunk.reference),
                format!("the index says times {says:?}, the samples say {is:?}"),
            );
        }

        let meta = self.block.meta();
        if chunk.min_time < meta.min_time || chunk.max_time >= meta.max_time {
            let what = "has times outside the range of the block";
            faults.add(chunk_place(chunk.reference), what);
        }
    }

    /// A chunk of a downsampled block: a sample is a step.
    fn check_aggregates(
        &mut self,
        chunk: &ChunkMeta,
        data: &Bytes,
        faults: &mut FaultList,
    ) -> Result<(), BlockError> {
        let found = aggregates::check(data).map_err(|e| e.at(chunk_place(chunk.reference)))?;
        if found.first < chunk.min_time || found.last > chunk.max_time {
            let says = (chunk.min_time, chunk.max_time);
            let is = (found.first, found.last);
            faults.add(
                chunk_place(chunk.reference),
                format!("the index says times {says:?}, the steps say {is:?}"),
            );
        }

        match found.is_histograms {
            true => self.histograms += found.count as u64,
            false => self.floats += found.count as u64,
        }

        Ok(())
    }

    /// Checks that chunks and headers fill their files.
    pub(super) fn finish(&mut self, faults: &mut FaultList) {
        self.extents.sort_unstable();

        let mut extents = self.extents.iter().peekable();
        for number in 0..self.block.chunks().segment_count() {
            let file = self.block.chunks().segment(number);

            let place = format!("{CHUNKS_DIR}/{}", segment_name(number));
            if !is_zero(file, 5, HEADER_BYTES) {
                faults.add(&*place, "the padding of its header is not zero");
            }

            let mut end = HEADER_BYTES;
            while let Some(extent) = extents.next_if(|e| e.segment == number) {
                if extent.start != end {
                    faults.add(
                        &*place,
                        format!("no chunk of the index uses bytes {end} to {}", extent.start),
                    );
                }
                end = extent.end;
            }

            if end != file.len() {
                faults.add(
                    &*place,
                    format!("no chunk of the index uses bytes {end} to {}", file.len()),
                );
            }
        }
    }
}
