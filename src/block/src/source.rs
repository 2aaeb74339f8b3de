//! What a block is written from.

use trireme_model::{HistogramSample, Labels};

use crate::BlockError;

/// One series with all its samples of the window.
#[derive(Clone, Debug)]
pub struct SeriesInput {
    /// Its labels.
    pub labels: Labels,
    /// Times of the floats (ms), rising.
    pub times: Vec<i64>,
    /// Values of the floats, as many as times.
    pub values: Vec<f64>,
    /// Start timestamps of the floats (ms, 0 for none): empty if none is known, else as many as times.
    pub starts: Vec<i64>,
    /// Histograms by rising time. Where a float has the same time, the histogram wins.
    pub histograms: Vec<HistogramSample>,
}

impl Default for SeriesInput {
    fn default() -> Self {
        Self {
            labels: Labels::empty(),
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
        }
    }
}

impl SeriesInput {
    /// Drops the samples and keeps their memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
    }

    /// Floats and histograms.
    pub fn sample_count(&self) -> usize {
        self.times.len() + self.histograms.len()
    }
}

/// Gives series in label order, each once.
pub trait SeriesSource {
    /// Overwrites `series` with the next one; false at the end. Series without samples are left out of the block.
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError>;

    /// True if what [`SeriesSource::next`] gave last goes on with the series that it gave before, with later samples. A
    /// source may so give a long series in parts; no chunk holds samples of two of them.
    fn continues(&self) -> bool {
        false
    }
}

/// Series from an iterator.
pub struct IterSource<I>(pub I);

impl<I: Iterator<Item = SeriesInput>> SeriesSource for IterSource<I> {
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError> {
        match self.0.next() {
            Some(next) => {
                *series = next;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
