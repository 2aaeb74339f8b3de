//! Samples of a series from chunks and lists.

use std::sync::Arc;

use trireme_chunk::decode_into;

use super::prefer_sample;
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
    Samples(Vec<(i64, f64)>),
}

impl Part {
    /// A chunk whose first sample has time `min`.
    pub fn chunk(min: i64, data: ChunkData, starts: Option<Arc<Starts>>) -> Self {
        Self { min, data: PartData::Chunk(data), starts }
    }

    /// Samples by time.
    pub fn samples(samples: Vec<(i64, f64)>, starts: Option<Arc<Starts>>) -> Self {
        let min = samples.first().map_or(i64::MIN, |(t, _)| *t);
        Self { min, data: PartData::Samples(samples), starts }
    }
}

/// Where samples are read to: times, values, and start timestamps (0 = unset), which stay empty while none is known and
/// else are as many as the times.
pub(crate) struct Floats<'a> {
    pub times: &'a mut Vec<i64>,
    pub values: &'a mut Vec<f64>,
    pub starts: &'a mut Vec<i64>,
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
    let has_starts = !out.starts.is_empty() || parts.iter().any(|part| part.starts.is_some());
    if has_starts {
        out.starts.resize(from, 0);
    }
    let mut buffer = Vec::new();
    for part in &parts {
        let first = out.times.len();
        match &part.data {
            PartData::Chunk(data) => decode_into(data.load(&mut buffer)?, out.times, out.values)?,
            PartData::Samples(samples) => {
                out.times.extend(samples.iter().map(|(t, _)| *t));
                out.values.extend(samples.iter().map(|(_, v)| *v));
            }
        }
        if let Some(starts) = &part.starts {
            starts.append_to(&out.times[first..], out.starts);
        } else if has_starts {
            out.starts.resize(out.times.len(), 0);
        }
    }
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
    /// Puts the samples from `from` on in order, each time once.
    fn sort(&mut self, from: usize) {
        let start = |i: usize| self.starts.get(i).copied().unwrap_or(0);
        let mut all: Vec<(i64, (f64, i64))> =
            (from..self.times.len()).map(|i| (self.times[i], (self.values[i], start(i)))).collect();
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

    fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
        self.starts.truncate(len);
    }
}
