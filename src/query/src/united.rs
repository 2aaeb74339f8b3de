//! One series of which several places hold samples.

use trireme_model::Labels;
use trireme_promql::{Columns, SelectError, SeriesRead};

use crate::merge_columns;

/// Adds to `out` the union of what `read` gives of each part, an error once that weighs more than `samples_max`.
pub(crate) fn read_united<P>(
    parts: &[P],
    samples_max: usize,
    out: &mut Columns,
    mut read: impl FnMut(&P, &mut Columns) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    let Some((first, rest)) = parts.split_first() else {
        return Ok(());
    };

    read(first, out)?;
    out.check_within(samples_max)?;
    if rest.is_empty() {
        return Ok(());
    }

    let mut more = Columns::default();

    let mut scratch = Columns::default();
    for part in rest {
        more.clear();
        read(part, &mut more)?;
        merge_columns(out, &more, &mut scratch);
        out.check_within(samples_max)?;
    }

    Ok(())
}

/// Parts under the same labels, whatever each of them is called where it lies.
pub struct United {
    /// Its labels.
    pub labels: Labels,
    /// Where its samples are.
    pub parts: Vec<Box<dyn SeriesRead>>,
}

impl SeriesRead for United {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn want(&self, start_ms: i64, end_ms: i64) -> u64 {
        self.parts
            .iter()
            .map(|part| part.want(start_ms, end_ms))
            .sum()
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        read_united(&self.parts, samples_max, out, |part, out| {
            part.read_within(start_ms, end_ms, samples_max, out)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Has a sample a millisecond, and counts how often it was read.
    struct Piece(i64, Labels, Arc<AtomicUsize>);

    impl SeriesRead for Piece {
        fn labels(&self) -> &Labels {
            &self.1
        }

        fn read_within(
            &self,
            _: i64,
            _: i64,
            samples_max: usize,
            out: &mut Columns,
        ) -> Result<(), SelectError> {
            self.2.fetch_add(1, Ordering::Relaxed);
            (0..100).for_each(|i| out.push_float(self.0 * 100 + i, 1.0));
            out.check_within(samples_max)
        }
    }

    #[test]
    fn a_series_that_is_too_long_is_not_read_to_its_end() {
        let read = Arc::new(AtomicUsize::new(0));
        let united = United {
            labels: Labels::default(),
            parts: (0..50)
                .map(|n| {
                    Box::new(Piece(n, Labels::default(), Arc::clone(&read))) as Box<dyn SeriesRead>
                })
                .collect(),
        };

        let within =
            |samples_max| united.read_within(0, 5_000, samples_max, &mut Columns::default());
        assert_eq!(within(1_000), Err(SelectError::TooManySamples));
        assert_eq!(read.swap(0, Ordering::Relaxed), 11);
        assert_eq!(within(5_000), Ok(()));
        assert_eq!(read.load(Ordering::Relaxed), 50);
    }
}
