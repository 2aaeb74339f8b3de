//! Several blocks, series by series.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use trireme_block::{
    Block, BlockError, BlockSeries, Postings, SeriesInput, SeriesReader, SeriesSource,
};
use trireme_model::Labels;

use crate::unite::{Part, unite};

/// Looks whether the node stops each time after so many parts of series.
const PARTS_PER_LOOK: u64 = 256;

/// A place in the series of one block.
struct Cursor<'a> {
    block: &'a Block,
    ids: Postings,
    at: usize,
    reader: SeriesReader<'a>,
    /// The series it stands at; none at the end.
    series: Option<BlockSeries>,
    samples: u64,
}

impl<'a> Cursor<'a> {
    fn open(block: &'a Block) -> Result<Self, BlockError> {
        let ids = block.index().all_postings()?;
        let reader = block.index().reader();
        let mut cursor = Self {
            block,
            ids,
            at: 0,
            reader,
            series: None,
            samples: 0,
        };

        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes to the next series and gives the one it stood at.
    fn advance(&mut self) -> Result<Option<BlockSeries>, BlockError> {
        if self.at == self.ids.len() {
            return Ok(self.series.take());
        }

        let id = self.ids.get(self.at);

        let entry = self.reader.read(id)?;
        if self
            .series
            .as_ref()
            .is_some_and(|before| before.labels >= entry.labels)
        {
            let what = format!("series {} is out of order or there twice", entry.labels);
            return Err(BlockError::Corrupt {
                place: self.block.meta().ulid.to_string(),
                what,
            });
        }

        self.at += 1;
        let deleted = self.block.tombstones().of(id).to_vec();
        Ok(self.series.replace(BlockSeries {
            labels: entry.labels,
            chunks: entry.chunks,
            deleted,
        }))
    }
}

/// Why the merge stopped, where its error alone does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The block of this number could not be read.
    Source(usize),
    /// It was told to stop.
    Stopped,
}

/// The union of blocks as a source for a new one.
///
/// In memory are the entries of one series and its samples of one part: a stretch of `part_ms`, aligned to the epoch.
pub(crate) struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    /// Samples outside are not read (ms).
    range: Range<i64>,
    part_ms: i64,
    stop: &'a AtomicBool,
    /// The blocks that have the open series, by number, and what they have of it.
    open: Vec<(usize, BlockSeries)>,
    parts: Vec<Part>,
    labels: Labels,
    /// Of the open series, everything before is done (ms).
    done_ms: i64,
    last_histogram: Option<i64>,
    /// A part of the open series was given.
    is_begun: bool,
    continues: bool,
    given: u64,
    fault: Option<Fault>,
}

impl<'a> Merge<'a> {
    /// Over these blocks' samples of a range. On an error, the number of the block that cannot be read.
    pub(crate) fn open(
        blocks: impl Iterator<Item = &'a Block>,
        range: Range<i64>,
        part_ms: i64,
        stop: &'a AtomicBool,
    ) -> Result<Self, (usize, BlockError)> {
        let mut cursors = Vec::new();
        for (number, block) in blocks.enumerate() {
            cursors.push(Cursor::open(block).map_err(|error| (number, error))?);
        }

        Ok(Self {
            cursors,
            range,
            part_ms: part_ms.max(1),
            stop,
            open: Vec::new(),
            parts: Vec::new(),
            labels: Labels::default(),
            done_ms: i64::MAX,
            last_histogram: None,
            is_begun: false,
            continues: false,
            given: 0,
            fault: None,
        })
    }

    /// Why it failed, if it did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Samples that were read of each block.
    pub(crate) fn samples(&self) -> impl Iterator<Item = u64> + '_ {
        self.cursors.iter().map(|cursor| cursor.samples)
    }

    /// Takes the first series of all blocks; false if there is none.
    fn open_series(&mut self) -> Result<bool, BlockError> {
        self.open.clear();
        self.parts.clear();

        let Some(first) = self.first_labels() else {
            return Ok(false);
        };

        for number in 0..self.cursors.len() {
            let cursor = &mut self.cursors[number];
            if cursor
                .series
                .as_ref()
                .is_some_and(|series| series.labels == first)
            {
                let series = cursor
                    .advance()
                    .inspect_err(|_| self.fault = Some(Fault::Source(number)))?;
                self.open.extend(series.map(|series| (number, series)));
                self.parts.push(Part::default());
            }
        }

        self.labels = first;
        self.done_ms = self.range.start;
        self.last_histogram = None;
        self.is_begun = false;

        Ok(true)
    }

    /// Labels of the first series that blocks have next.
    fn first_labels(&self) -> Option<Labels> {
        let mut first: Option<Labels> = None;
        for cursor in &self.cursors {
            let Some(series) = &cursor.series else {
                continue;
            };
            if first.as_ref().is_none_or(|first| series.labels < *first) {
                first = Some(series.labels.clone());
            }
        }
        first
    }

    /// The next stretch in which the open series has chunks (ms).
    fn next_part(&self) -> Option<Range<i64>> {
        let chunks = self.open.iter().flat_map(|(_, series)| &series.chunks);
        let times = chunks
            .filter(|chunk| chunk.max_time >= self.done_ms && chunk.min_time < self.range.end);
        let first = times.map(|chunk| chunk.min_time.max(self.done_ms)).min()?;
        let start = first.div_euclid(self.part_ms).saturating_mul(self.part_ms);
        let end = start.saturating_add(self.part_ms).min(self.range.end);
        Some(start.max(self.range.start)..end)
    }

    fn read_part(&mut self, part: &Range<i64>) -> Result<(), BlockError> {
        for ((number, series), into) in self.open.iter().zip(&mut self.parts) {
            let cursor = &mut self.cursors[*number];
            let samples = &mut into.samples;
            let last = part.end.saturating_sub(1);
            cursor
                .block
                .read_series(series, part.start, last, samples)
                .inspect_err(|_| self.fault = Some(Fault::Source(*number)))?;
            cursor.samples += samples.len() as u64;
        }
        Ok(())
    }
}

impl SeriesSource for Merge<'_> {
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError> {
        loop {
            let Some(part) = self.next_part() else {
                if !self.open_series()? {
                    return Ok(false);
                }
                continue;
            };

            if self.given.is_multiple_of(PARTS_PER_LOOK) && self.stop.load(Ordering::Relaxed) {
                self.fault = Some(Fault::Stopped);
                return Err(BlockError::Input("the node stops".into()));
            }

            self.read_part(&part)?;
            self.done_ms = part.end;
            self.given += 1;
            unite(&mut self.parts, &mut self.last_histogram, series);

            if series.sample_count() == 0 {
                continue;
            }

            series.labels.clone_from(&self.labels);
            self.continues = std::mem::replace(&mut self.is_begun, true);
            return Ok(true);
        }
    }

    fn continues(&self) -> bool {
        self.continues
    }
}
