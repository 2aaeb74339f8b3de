//! Decoded samples of a series by column.

use bytes::Bytes;
use trireme_chunk::{ChunkError, Encoding, decode_histograms, decode_into, decode_xor2_into};
use trireme_model::HistogramSample;

use crate::Interval;

/// Samples of one series; a time is either among the floats or among the histograms.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Times of the floats (ms), rising.
    pub times: Vec<i64>,
    /// Values of the floats.
    pub values: Vec<f64>,
    /// Start timestamps of the floats (ms, 0 for none): empty if none is known, else one for each float.
    pub starts: Vec<i64>,
    /// Histograms by rising time.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// Drops all samples and keeps their memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
    }

    /// Floats and histograms.
    pub fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the samples of a chunk; nothing is changed on an error.
    pub fn append_chunk(&mut self, encoding: Encoding, data: &Bytes) -> Result<(), ChunkError> {
        match encoding {
            Encoding::Xor => {
                decode_into(data, &mut self.times, &mut self.values)?;
                if !self.starts.is_empty() {
                    self.starts.resize(self.times.len(), 0);
                }
            }
            Encoding::Xor2 => {
                self.starts.resize(self.times.len(), 0);
                let decoded = decode_xor2_into(
                    data,
                    &mut self.times,
                    &mut self.values,
                    Some(&mut self.starts),
                );
                if self.starts.iter().all(|st| *st == 0) {
                    self.starts.clear();
                }
                decoded?;
            }
            Encoding::None => {}
            _ => self.histograms.extend(decode_histograms(encoding, data)?),
        }
        Ok(())
    }

    /// Drops, among the floats from `floats` on and the histograms from `histograms` on, those outside
    /// `[start, end]` and those in a deleted interval.
    pub(crate) fn trim(
        &mut self,
        floats: usize,
        histograms: usize,
        start: i64,
        end: i64,
        deleted: &[Interval],
    ) {
        let gone = |t: i64| {
            let at = deleted.partition_point(|i| i.last < t);
            t < start || t > end || deleted.get(at).is_some_and(|i| i.first <= t)
        };
        let has_starts = !self.starts.is_empty();

        let mut kept = floats;
        for i in floats..self.times.len() {
            if gone(self.times[i]) {
                continue;
            }
            self.times[kept] = self.times[i];
            self.values[kept] = self.values[i];
            if has_starts {
                self.starts[kept] = self.starts[i];
            }
            kept += 1;
        }

        self.times.truncate(kept);
        self.values.truncate(kept);
        self.starts.truncate(kept);

        let mut at = 0;
        self.histograms.retain(|s| {
            at += 1;
            at <= histograms || !gone(s.t)
        });
    }
}
