//! From references to canonical label bytes.

use trireme_model::{METRIC_NAME, push_label};

use super::symbols::Symbols;

/// Why references are not a label set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RefsError {
    #[error("{0} label references; they must come in pairs")]
    Odd(usize),
    #[error("label reference {0} is outside the symbol table")]
    OutOfRange(u32),
    #[error("a label name is empty")]
    EmptyName,
    #[error("label {0:?} occurs twice")]
    Duplicate(String),
    #[error("{0} labels, the limit is {1}")]
    TooMany(usize, usize),
    #[error("over {0} bytes of labels")]
    TooLong(usize),
    #[error("a label is not UTF-8")]
    NotText,
}

impl RefsError {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Odd(_) | Self::OutOfRange(_) => "bad symbol reference",
            Self::EmptyName => "empty label name",
            Self::Duplicate(_) => "duplicate label",
            Self::TooMany(..) => "too many labels",
            Self::TooLong(_) => "labels too long",
            Self::NotText => "labels not UTF-8",
        }
    }
}

/// What a series may be in the family of a histogram or summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its name is the family's: a quantile, or a native histogram.
    Whole,
    /// It has a label `le`.
    Bucket,
    /// Neither: the name tells.
    SumOrCount,
}

/// Scratch space that is used again for each series.
#[derive(Default)]
pub(crate) struct LabelBuilder<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> LabelBuilder<'a> {
    /// Appends the label set of `refs` to `out`: sorted, without empty values. On error `out` is as it was.
    pub(crate) fn build(
        &mut self,
        symbols: &Symbols<'a>,
        refs: &[u32],
        out: &mut Vec<u8>,
        labels_max: usize,
        bytes_max: usize,
    ) -> Result<(), RefsError> {
        self.pairs.clear();
        let (pairs, rest) = refs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(RefsError::Odd(refs.len()));
        }
        if pairs.len() > labels_max {
            return Err(RefsError::TooMany(pairs.len(), labels_max));
        }

        if !self.read_pairs(symbols, pairs, bytes_max)? {
            self.sort_pairs()?;
        }

        for (name, value) in self.pairs.iter().filter(|(_, value)| !value.is_empty()) {
            push_label(out, name, value);
        }

        Ok(())
    }

    /// Looks up the texts; true if the names are in order, each once.
    #[inline]
    fn read_pairs(
        &mut self,
        symbols: &Symbols<'a>,
        pairs: &[[u32; 2]],
        bytes_max: usize,
    ) -> Result<bool, RefsError> {
        let mut sorted = true;
        let mut bytes = 0;
        for [name, value] in pairs {
            let name = text(symbols, *name)?;
            let value = text(symbols, *value)?;
            if name.is_empty() {
                return Err(RefsError::EmptyName);
            }
            sorted &= self.pairs.last().is_none_or(|(last, _)| *last < name);
            bytes += name.len() + value.len();
            self.pairs.push((name, value));
        }

        if bytes > bytes_max {
            return Err(RefsError::TooLong(bytes_max));
        }

        Ok(sorted)
    }

    fn sort_pairs(&mut self) -> Result<(), RefsError> {
        self.pairs.sort_unstable_by_key(|(name, _)| *name);
        match self.pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            Some(twice) => Err(RefsError::Duplicate(
                String::from_utf8_lossy(twice[0].0).into_owned(),
            )),
            None => Ok(()),
        }
    }

    /// What the series of the set that was built last is in its family; `is_native` if it has native histograms.
    pub(crate) fn part(&self, is_native: bool) -> Part {
        match () {
            () if is_native || self.has("quantile") => Part::Whole,
            () if self.has("le") => Part::Bucket,
            () => Part::SumOrCount,
        }
    }

    fn has(&self, wanted: &str) -> bool {
        self.pairs
            .iter()
            .any(|(name, _)| *name == wanted.as_bytes())
    }

    /// Metric name of the set that was built last.
    pub(crate) fn metric_name(&self) -> Option<&'a [u8]> {
        self.pairs
            .iter()
            .find(|(name, _)| *name == METRIC_NAME.as_bytes())
            .map(|(_, value)| *value)
    }
}

#[inline]
fn text<'a>(symbols: &Symbols<'a>, r: u32) -> Result<&'a [u8], RefsError> {
    symbols.get(r).ok_or(RefsError::OutOfRange(r))
}
