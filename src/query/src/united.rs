//! One series of which several places hold samples.

use trireme_model::Labels;
use trireme_promql::{Columns, SelectError, SeriesRead};

use crate::merge_columns;

/// Adds to `out` the union of what `read` gives of each part.
pub(crate) fn read_united<P>(
    parts: &[P],
    out: &mut Columns,
    mut read: impl FnMut(&P, &mut Columns) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    read(first, out)?;
    if rest.is_empty() {
        return Ok(());
    }
    let (mut more, mut scratch) = (Columns::default(), Columns::default());
    for part in rest {
        more.clear();
        read(part, &mut more)?;
        merge_columns(out, &more, &mut scratch);
    }
    Ok(())
}

/// Parts under the same labels, whatever each of them is called where it lies.
pub(crate) struct United {
    pub(crate) labels: Labels,
    pub(crate) parts: Vec<Box<dyn SeriesRead>>,
}

impl SeriesRead for United {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn want(&self, start_ms: i64, end_ms: i64) -> u64 {
        self.parts.iter().map(|part| part.want(start_ms, end_ms)).sum()
    }

    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        read_united(&self.parts, out, |part, out| part.read(start_ms, end_ms, out))
    }
}
