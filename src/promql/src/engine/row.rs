//! One series over all steps.

use std::sync::Arc;

use smallvec::SmallVec;
use trireme_model::{FloatHistogram, Labels};

/// What a series has at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Tag {
    /// Nothing.
    #[default]
    Empty,
    /// A float.
    Float,
    /// A histogram.
    Histogram,
}

/// A look at a step of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Empty,
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

/// A result of a function.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Out {
    pub(crate) fn histogram(h: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(h))
    }
}

/// Labels of a series and whether its name is to be removed at the end of the query.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
}

impl Meta {
    pub(crate) fn new(labels: Labels) -> Self {
        Self {
            labels,
            drop_name: false,
        }
    }
}

/// Columns of one series, one entry a step; an instant query's single step needs no allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    values: SmallVec<[f64; 2]>,
    tags: SmallVec<[Tag; 16]>,
    /// Empty as long as no step has a histogram.
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Row {
    /// A row without samples.
    pub(crate) fn empty(steps: usize) -> Self {
        let mut row = Self::default();
        row.reset(steps);
        row
    }

    /// Removes all samples and sets the number of steps.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.values.clear();
        self.values.resize(steps, 0.0);
        self.tags.clear();
        self.tags.resize(steps, Tag::Empty);
        self.histograms.clear();
    }

    pub(crate) fn steps(&self) -> usize {
        self.tags.len()
    }

    #[inline]
    pub(crate) fn tag(&self, step: usize) -> Tag {
        self.tags[step]
    }

    #[inline]
    pub(crate) fn cell(&self, step: usize) -> Cell<'_> {
        match self.tags[step] {
            Tag::Empty => Cell::Empty,
            Tag::Float => Cell::Float(self.values[step]),
            Tag::Histogram => match self.histograms.get(step) {
                Some(Some(h)) => Cell::Histogram(h),
                _ => Cell::Empty,
            },
        }
    }

    #[inline]
    pub(crate) fn set_float(&mut self, step: usize, v: f64) {
        self.values[step] = v;
        self.tags[step] = Tag::Float;
    }

    pub(crate) fn set_histogram(&mut self, step: usize, h: Arc<FloatHistogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.tags.len(), None);
        }
        self.histograms[step] = Some(h);
        self.tags[step] = Tag::Histogram;
    }

    pub(crate) fn set(&mut self, step: usize, out: Out) {
        match out {
            Out::Float(v) => self.set_float(step, v),
            Out::Histogram(h) => self.set_histogram(step, h),
        }
    }

    /// Copies one step of another row.
    pub(crate) fn copy(&mut self, step: usize, from: Cell<'_>) {
        match from {
            Cell::Empty => self.clear(step),
            Cell::Float(v) => self.set_float(step, v),
            Cell::Histogram(h) => self.set_histogram(step, Arc::clone(h)),
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self, step: usize) {
        self.tags[step] = Tag::Empty;
    }

    /// True if no step has a sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.tags.iter().all(|t| *t == Tag::Empty)
    }

    /// True if no step has a histogram.
    pub(crate) fn has_floats_only(&self) -> bool {
        self.histograms.is_empty()
    }

    /// Steps and values of the floats.
    pub(crate) fn floats(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let tagged = self.tags.iter().zip(&self.values).enumerate();
        tagged
            .filter(|(_, (tag, _))| **tag == Tag::Float)
            .map(|(i, (_, v))| (i, *v))
    }

    /// Changes every float.
    pub(crate) fn map_floats(&mut self, f: impl Fn(f64) -> f64) {
        for v in &mut self.values {
            *v = f(*v);
        }
    }

    /// Removes the histograms.
    pub(crate) fn drop_histograms(&mut self) {
        if self.histograms.is_empty() {
            return;
        }

        for tag in &mut self.tags {
            if *tag == Tag::Histogram {
                *tag = Tag::Empty;
            }
        }

        self.histograms.clear();
    }

    /// What the row weighs against the sample limit: its samples, but at least the memory of its columns in samples of
    /// 16 bytes; 0 if it is empty.
    pub(crate) fn samples(&self) -> usize {
        let floats = self.tags.iter().filter(|t| **t == Tag::Float).count();
        let histograms = (0..self.histograms.len()).filter_map(|i| match self.cell(i) {
            Cell::Histogram(h) => Some(h.size_in_samples()),
            _ => None,
        });

        let samples = floats + histograms.sum::<usize>();
        if samples == 0 {
            0
        } else {
            samples.max(self.tags.len() * 9 / 16)
        }
    }
}
