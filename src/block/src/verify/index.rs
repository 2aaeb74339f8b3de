//! Series and postings: orders, references, and that both say the same.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use trireme_model::Labels;

use super::chunk::ChunkCheck;
use super::{FaultList, is_zero};
use crate::index::Gaps;
use crate::{Block, BlockError, INDEX_FILE, IndexReader, Postings};

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
    let all = match block.index().all_postings() {
        Ok(all) => all,
        Err(error) => {
            faults.error(error);
            return None;
        }
    };

    let mut chunks = ChunkCheck::new(block);
    let mut pairs = HashMap::new();
    let mut ids = HashSet::with_capacity(all.len());
    let mut series = block.index().reader();
    let mut last: Option<(u32, Labels, u64)> = None;
    let gaps = Gaps::of(block.index());

    let mut end = gaps.series_start;
    for id in all.iter() {
        let place = || format!("{INDEX_FILE}: series {id}");
        if !ids.insert(id) || last.as_ref().is_some_and(|(last, ..)| *last > id) {
            faults.add(place(), "is out of order in the list of all series");
        }

        let (entry, entry_end) = match series.read_extent(id) {
            Ok(found) => found,
            Err(error) => {
                faults.error(error);
                continue;
            }
        };

        check_gap(block.index(), end, u64::from(id) * 16, faults);
        end = entry_end;

        if last
            .as_ref()
            .is_some_and(|(_, labels, _)| *labels >= entry.labels)
        {
            faults.add(
                place(),
                format!("{} does not come after its predecessor", entry.labels),
            );
        }

        let mut reference = last.as_ref().map_or(0, |(.., reference)| *reference);
        for chunk in &entry.chunks {
            if chunk.reference <= reference {
                faults.add(place(), "its chunks do not lie in the order of the index");
            }
            reference = chunk.reference;
            chunks.check(chunk, faults);
        }

        if entry.chunks.is_empty() {
            faults.add(place(), "has no chunks");
        }

        for pair in series.numbers() {
            pairs
                .entry(*pair)
                .or_insert_with(Fingerprint::default)
                .add(id);
        }

        last = Some((id, entry.labels, reference));
    }

    if let Some(series_end) = gaps.series_end {
        check_gap(block.index(), end, series_end, faults);
    }

    chunks.finish(faults);
    if let Err(error) = verify_lists(block.index(), &pairs, gaps, faults) {
        faults.error(error);
    }

    let series = ids.len() as u64;
    let count = chunks.count();
    Some(Found {
        series,
        chunks: count,
        floats: chunks.floats,
        histograms: chunks.histograms,
        ids,
    })
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
    let mut extents = vec![list_extent(index, "", "")?];
    let mut lists = 0;

    let names: Vec<&str> = index.label_names().collect();
    for name in names {
        let number = symbol_number(index, name)?;
        index.each_value(name, "", &mut |value, reference| {
            lists += 1;
            let place = || format!("{INDEX_FILE}: postings of {name}={value:?}");
            let list = match index.list(reference) {
                Ok(list) => list,
                Err(error) => {
                    faults.error(error);
                    return Ok(ControlFlow::Continue(()));
                }
            };

            extents.push((reference, reference + 12 + 4 * list.len() as u64));
            let sorted = list.iter().is_sorted_by(|a, b| a < b);
            let series = match (number, symbol_number(index, value)?) {
                (Some(name), Some(value)) => pairs.get(&(name, value)).copied().unwrap_or_default(),
                _ => Fingerprint::default(),
            };

            if !sorted || series != Fingerprint::of(&list) {
                faults.add(place(), "are not the series that have the pair");
            }

            Ok(ControlFlow::Continue(()))
        })?;
    }

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
