//! Series and postings: orders, references, and that both say the same.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use trireme_model::Labels;

use super::chunk::ChunkCheck;
use super::{FaultList, is_zero};
use crate::index::Gaps;
use crate::{Block, BlockError, INDEX_FILE, IndexReader, Postings, SeriesEntry, SeriesReader};

/// What a block really holds.
pub(super) struct Found {
    pub(super) series: u64,
    pub(super) chunks: u64,
    pub(super) floats: u64,
    pub(super) histograms: u64,
    pub(super) ids: HashSet<u32>,
}

/// Number of series and sum over their ids: equal for equal sets, for all that accidents can do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn add(&mut self, id: u32) {
        let mixed = u64::from(id)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *self = Self(self.0 + 1, self.1.wrapping_add(mixed ^ (mixed >> 29)));
    }

    fn of(list: &Postings) -> Self {
        let mut all = Self::default();
        list.iter().for_each(|id| all.add(id));
        all
    }
}

/// Checks all series with their chunks, then all lists; none if the list of all series cannot be read.
pub(super) fn verify(block: &Block, faults: &mut FaultList) -> Option<Found> {
    let index = block.index();
    let all = index.all_postings().map_err(|e| faults.error(e)).ok()?;

    let gaps = Gaps::of(index);
    let mut check = SeriesCheck {
        index,
        entries: index.reader(),
        chunks: ChunkCheck::new(block),
        pairs: HashMap::new(),
        ids: HashSet::with_capacity(all.len()),
        last: None,
        end: gaps.series_start,
    };
    for id in all.iter() {
        check.add(id, faults);
    }

    let SeriesCheck {
        mut chunks,
        pairs,
        ids,
        end,
        ..
    } = check;
    if let Some(series_end) = gaps.series_end {
        check_gap(index, end, series_end, faults);
    }

    chunks.finish(faults);
    if let Err(error) = verify_lists(index, &pairs, gaps, faults) {
        faults.error(error);
    }

    Some(Found {
        series: ids.len() as u64,
        chunks: chunks.count(),
        floats: chunks.floats,
        histograms: chunks.histograms,
        ids,
    })
}

/// The series that was read last.
struct Last {
    id: u32,
    labels: Labels,
    /// Its last chunk.
    reference: u64,
}

/// Checking series after series.
struct SeriesCheck<'a> {
    index: &'a IndexReader,
    entries: SeriesReader<'a>,
    chunks: ChunkCheck<'a>,
    /// The series of each label pair, which is two numbers of symbols.
    pairs: HashMap<(u64, u64), Fingerprint>,
    ids: HashSet<u32>,
    last: Option<Last>,
    /// Where the last entry ends.
    end: u64,
}

impl SeriesCheck<'_> {
    fn add(&mut self, id: u32, faults: &mut FaultList) {
        if !self.ids.insert(id) || self.last.as_ref().is_some_and(|last| last.id > id) {
            let what = "is out of order in the list of all series";
            faults.add(series_place(id), what);
        }

        let (entry, end) = match self.entries.read_extent(id) {
            Ok(found) => found,
            Err(error) => return faults.error(error),
        };

        check_gap(self.index, self.end, u64::from(id) * 16, faults);
        self.end = end;

        let reference = self.check_entry(id, &entry, faults);
        for pair in self.entries.numbers() {
            self.pairs.entry(*pair).or_default().add(id);
        }

        self.last = Some(Last {
            id,
            labels: entry.labels,
            reference,
        });
    }

    /// Checks the order of labels and chunks, and the chunks; answers the reference of the last one.
    fn check_entry(&mut self, id: u32, entry: &SeriesEntry, faults: &mut FaultList) -> u64 {
        let mut reference = 0;
        if let Some(last) = &self.last {
            reference = last.reference;
            if last.labels >= entry.labels {
                let what = format!("{} does not come after its predecessor", entry.labels);
                faults.add(series_place(id), what);
            }
        }

        for chunk in &entry.chunks {
            if chunk.reference <= reference {
                let what = "its chunks do not lie in the order of the index";
                faults.add(series_place(id), what);
            }
            reference = chunk.reference;
            self.chunks.check(chunk, faults);
        }

        if entry.chunks.is_empty() {
            faults.add(series_place(id), "has no chunks");
        }

        reference
    }
}

fn series_place(id: u32) -> String {
    format!("{INDEX_FILE}: series {id}")
}

/// Bytes between entries are zero and few.
fn check_gap(index: &IndexReader, start: u64, end: u64, faults: &mut FaultList) {
    if start > end {
        faults.add(INDEX_FILE, format!("entries overlap at byte {end}"));
    } else if end - start >= 16 || !is_zero(index.file(), start, end) {
        faults.add(
            INDEX_FILE,
            format!("bytes {start} to {end} belong to nothing and are not just padding"),
        );
    }
}

fn verify_lists(
    index: &IndexReader,
    pairs: &HashMap<(u64, u64), Fingerprint>,
    gaps: Gaps,
    faults: &mut FaultList,
) -> Result<(), BlockError> {
    let mut check = ListCheck {
        index,
        pairs,
        extents: vec![list_extent(index, "", "")?],
        lists: 0,
    };

    let names: Vec<&str> = index.label_names().collect();
    for name in names {
        let number = symbol_number(index, name)?;
        index.each_value(name, "", &mut |value, reference| {
            check.add((name, number), value, reference, faults)?;
            Ok(ControlFlow::Continue(()))
        })?;
    }

    let ListCheck {
        mut extents, lists, ..
    } = check;

    if lists != pairs.len() {
        let what = format!(
            "{lists} label pairs have postings, {} occur in series",
            pairs.len()
        );
        faults.add(format!("{INDEX_FILE}: postings table"), what);
    }

    if let Some(mut end) = gaps.series_end {
        extents.sort_unstable();
        for (start, list_end) in extents {
            check_gap(index, end, start, faults);
            end = list_end;
        }
        check_gap(index, end, gaps.postings_end, faults);
        check_gap(index, gaps.table_end, gaps.toc, faults);
    }

    Ok(())
}

/// Checking list after list.
struct ListCheck<'a> {
    index: &'a IndexReader,
    pairs: &'a HashMap<(u64, u64), Fingerprint>,
    /// Where each list begins and ends.
    extents: Vec<(u64, u64)>,
    lists: usize,
}

impl ListCheck<'_> {
    /// Checks the list at `reference`, of a label name with the number of its symbol and a value.
    fn add(
        &mut self,
        (name, number): (&str, Option<u64>),
        value: &str,
        reference: u64,
        faults: &mut FaultList,
    ) -> Result<(), BlockError> {
        self.lists += 1;
        let list = match self.index.list(reference) {
            Ok(list) => list,
            Err(error) => {
                faults.error(error);
                return Ok(());
            }
        };

        self.extents
            .push((reference, reference + 12 + 4 * list.len() as u64));
        let sorted = list.iter().is_sorted_by(|a, b| a < b);
        let series = match (number, symbol_number(self.index, value)?) {
            (Some(name), Some(value)) => {
                self.pairs.get(&(name, value)).copied().unwrap_or_default()
            }
            _ => Fingerprint::default(),
        };

        if !sorted || series != Fingerprint::of(&list) {
            let place = format!("{INDEX_FILE}: postings of {name}={value:?}");
            faults.add(place, "are not the series that have the pair");
        }
        Ok(())
    }
}

fn list_extent(index: &IndexReader, name: &str, value: &str) -> Result<(u64, u64), BlockError> {
    let mut found = None;
    index.each_value(name, value, &mut |_, reference| {
        found = Some(reference);
        Ok(ControlFlow::Break(()))
    })?;

    let reference =
        found.ok_or_else(|| BlockError::corrupt(INDEX_FILE, "has no list of all series"))?;
    Ok((
        reference,
        reference + 12 + 4 * index.list(reference)?.len() as u64,
    ))
}

/// Number of a symbol by its text.
fn symbol_number(index: &IndexReader, text: &str) -> Result<Option<u64>, BlockError> {
    let mut low = 0;

    let mut high = index.symbol_count() as u64;
    while low < high {
        let middle = low + (high - low) / 2;
        if *index.symbol(middle)? < *text {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    let found = low < index.symbol_count() as u64 && index.symbol(low)? == text;
    Ok(found.then_some(low))
}
