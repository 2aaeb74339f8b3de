//! Where a series' labels lie, and how they are shown to a human.

use std::ops::Range;

use trireme_model::Labels;

use crate::prompb::cursor::Cursor;
use crate::prompb::{DecodeError, DecodeLimits};

/// The label fields of one series, seen one by one.
#[derive(Default)]
pub(crate) struct LabelSpan {
    range: Range<usize>,
    scattered: bool,
    /// How many there were.
    pub(crate) count: usize,
}

impl LabelSpan {
    /// Takes the next label field, tag included.
    #[inline]
    pub(crate) fn add(&mut self, field: Range<usize>) {
        if self.count == 0 {
            self.range = field;
        } else {
            self.scattered |= self.range.end != field.start;
            self.range.end = field.end;
        }
        self.count += 1;
    }

    /// The labels as one range of the batch's label bytes; scattered ones are copied to `moved`, which follows `body`.
    pub(crate) fn settle(
        &self,
        body: &[u8],
        series: Range<usize>,
        moved: &mut Vec<u8>,
    ) -> Result<Range<u32>, DecodeError> {
        if !self.scattered {
            return Ok(self.range.start as u32..self.range.end as u32);
        }

        let start = body.len() + moved.len();

        let mut c = Cursor::over(body, series);
        loop {
            let at = c.at();
            let Some((number, wire)) = c.field()? else {
                break;
            };
            c.skip(number, wire)?;
            if number == 1 {
                moved.extend_from_slice(&body[at..c.at()]);
            }
        }

        Ok(start as u32..(body.len() + moved.len()) as u32)
    }
}

/// The bytes of a range that [`LabelSpan::settle`] gave.
#[inline]
pub(crate) fn bytes<'a>(body: &'a [u8], moved: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    let start = range.start as usize;
    let end = range.end as usize;
    if end <= body.len() {
        &body[start..end]
    } else {
        &moved[start - body.len()..end - body.len()]
    }
}

/// The bound that a series' labels break, as reason and detail.
pub(crate) fn over_bound(
    count: usize,
    bytes: usize,
    limits: &DecodeLimits,
) -> Option<(&'static str, String)> {
    if count > limits.labels_per_series_max {
        return Some((
            "too many labels",
            format!(
                "{count} labels, the limit is {}",
                limits.labels_per_series_max
            ),
        ));
    }

    if bytes > limits.label_bytes_per_series_max {
        let limit = limits.label_bytes_per_series_max;
        return Some((
            "labels too long",
            format!("{bytes} bytes of labels, the limit is {limit}"),
        ));
    }

    None
}

/// Labels as text for a message, whatever their bytes are.
pub(crate) fn display(raw: &[u8]) -> String {
    match Labels::from_wire(raw) {
        Ok(labels) => labels.to_string(),
        Err(e) => format!("series with bad labels ({e})"),
    }
}
