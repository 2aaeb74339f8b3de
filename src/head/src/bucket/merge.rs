//! Samples of a series from chunks and lists.

use std::path::Path;
use std::sync::Arc;

use trireme_chunk::decode_into;

use super::{LateSample, prefer_sample};
use crate::HeadError;
use crate::chunkfile::ChunkData;
use crate::starts::Starts;

/// A piece of a series on its way to a reader.
pub(crate) struct Part {
    /// No sample of it is older (ms).
    min: i64,
    data: PartData,
    starts: Option<Arc<Starts>>,
}

enum PartData {
    Chunk(ChunkData),
    LateChunk(ChunkData),
    Samples(Vec<LateSample>),
}

impl Part {
    /// A chunk whose first sample has time `min`.
    pub fn chunk(min: i64, data: ChunkData, starts: Option<Arc<Starts>>) -> Self {
        Self {
            min,
            data: PartData::Chunk(data),
            starts,
        }
    }

    /// A chunk of out-of-order samples whose first has time `min`.
    pub fn late_chunk(min: i64, data: ChunkData) -> Self {
        Self {
            min,
            data: PartData::LateChunk(data),
            starts: None,
        }
    }

    /// Out-of-order samples by time.
    pub fn samples(samples: Vec<LateSample>) -> Self {
        let min = samples.first().map_or(i64::MIN, |sample| sample.t);
        Self {
            min,
            data: PartData::Samples(samples),
            starts: None,
        }
    }

    /// Appends its samples; `buffer` is for bytes of a file.
    fn decode(&self, buffer: &mut Vec<u8>, out: &mut Floats<'_>) -> Result<(), HeadError> {
        let first = out.times.len();
        match &self.data {
            PartData::Chunk(data) => {
                decode_into(data.load(buffer)?, out.times, out.values)?;
                out.add_starts(first, self.starts.as_deref());
            }
            PartData::LateChunk(data) => {
                let (chunk, starts) = split_late(data.load(buffer)?)?;
                decode_into(chunk, out.times, out.values)?;
                out.add_starts(first, starts.as_ref());
            }
            PartData::Samples(samples) => out.add(samples),
        }

        Ok(())
    }
}

/// XOR chunk and start timestamps of a chunk of out-of-order samples.
fn split_late(bytes: &[u8]) -> Result<(&[u8], Option<Starts>), HeadError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or_else(bad_late_chunk)?;
    let (chunk, rest) = rest
        .split_at_checked(usize::from(u16::from_le_bytes(*length)))
        .ok_or_else(bad_late_chunk)?;
    let (entries, []) = rest.as_chunks::<16>() else {
        return Err(bad_late_chunk());
    };

    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (word(&entry[..8]), word(&entry[8..])))
        .collect();
    if entries.is_empty() {
        return Ok((chunk, None));
    }

    Starts::from_entries(entries)
        .map(|starts| (chunk, Some(starts)))
        .ok_or_else(bad_late_chunk)
}

fn bad_late_chunk() -> HeadError {
    HeadError::corrupt(
        Path::new("chunk file"),
        "a chunk of late samples cannot be read",
    )
}

fn word(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().expect("BUG: half of 16 bytes"))
}

/// Where samples are read to: times, values, and start timestamps (0 = unset), which stay empty while none is known and
/// else are as many as the times.
pub(crate) struct Floats<'a> {
    pub times: &'a mut Vec<i64>,
    pub values: &'a mut Vec<f64>,
    pub starts: &'a mut Vec<i64>,
}

/// Drops parts that cannot be read; answers how many.
pub(crate) fn keep_readable(parts: &mut Vec<Part>) -> u64 {
    let before = parts.len();
    let mut buffer = Vec::new();
    parts.retain(|part| {
        let mut times = Vec::new();
        let mut values = Vec::new();
        let mut starts = Vec::new();
        let mut out = Floats {
            times: &mut times,
            values: &mut values,
            starts: &mut starts,
        };
        part.decode(&mut buffer, &mut out).is_ok()
    });

    (before - parts.len()) as u64
}

/// Decodes and merges parts: times ascend, each once, conflicts decided by the one rule. Only `start..=end`.
pub(crate) fn merge(
    mut parts: Vec<Part>,
    start: i64,
    end: i64,
    out: &mut Floats<'_>,
) -> Result<(), HeadError> {
    // The newest window comes first in a series. Without late samples this order leaves nothing to merge.
    parts.sort_by_key(|part| part.min);
    let from = out.times.len();

    let mut buffer = Vec::new();
    for part in &parts {
        part.decode(&mut buffer, out)?;
    }

    let has_starts = !out.starts.is_empty();
    if !out.times[from..].is_sorted_by(|a, b| a < b) {
        out.sort(from);
    }

    out.truncate(from + out.times[from..].partition_point(|t| *t <= end));
    let first = from + out.times[from..].partition_point(|t| *t < start);
    out.times.drain(from..first);
    out.values.drain(from..first);

    if has_starts {
        out.starts.drain(from..first);
    }

    Ok(())
}

impl Floats<'_> {
    /// Appends the start timestamps of the times from `first` on. None is written before the first that is known.
    fn add_starts(&mut self, first: usize, starts: Option<&Starts>) {
        match starts {
            Some(starts) => {
                self.starts.resize(first, 0);
                starts.append_to(&self.times[first..], self.starts);
            }
            None if !self.starts.is_empty() => self.starts.resize(self.times.len(), 0),
            None => {}
        }
    }

    /// Puts the samples from `from` on in order, each time once.
    fn sort(&mut self, from: usize) {
        let mut all: Vec<(i64, (f64, i64))> = (from..self.times.len())
            .map(|i| {
                let start = self.starts.get(i).copied().unwrap_or(0);
                (self.times[i], (self.values[i], start))
            })
            .collect();

        all.sort_by_key(|(t, _)| *t);
        all.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = prefer_sample(kept.1, later.1);
            }
            same
        });

        let has_starts = !self.starts.is_empty();
        self.truncate(from);
        self.times.extend(all.iter().map(|(t, _)| *t));
        self.values.extend(all.iter().map(|(_, (v, _))| *v));

        if has_starts {
            self.starts.extend(all.iter().map(|(_, (_, start))| *start));
        }
    }

    /// Appends late samples.
    fn add(&mut self, samples: &[LateSample]) {
        let first = self.times.len();
        self.times.extend(samples.iter().map(|sample| sample.t));
        self.values.extend(samples.iter().map(|sample| sample.v));

        if !self.starts.is_empty() || samples.iter().any(|sample| sample.start != 0) {
            self.starts.resize(first, 0);
            self.starts
                .extend(samples.iter().map(|sample| sample.start));
        }
    }

    fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
        self.starts.truncate(len);
    }
}
