//! Exemplars and metadata: rare next to samples, so they are read into owned form.

use trireme_model::{Exemplar, LabelError, Labels, MetricMetadata, MetricType};

use super::labels::LabelSpan;
use crate::prompb::DecodeError;
use crate::prompb::cursor::Cursor;

/// Reads an `Exemplar`; the inner error is why its labels are not a label set, which costs the exemplar alone.
pub(crate) fn exemplar(mut c: Cursor<'_>) -> Result<Result<Exemplar, LabelError>, DecodeError> {
    let whole = c.range();
    let body = c.buffer();
    let mut span = LabelSpan::default();
    let mut v = 0.0;

    let mut t = 0;
    loop {
        let start = c.at();
        let Some((number, wire)) = c.field()? else {
            break;
        };

        match number {
            1 => {
                c.typed_message(wire)?;
                span.add(start..c.at());
            }
            2 => v = c.typed_double(wire)?,
            3 => t = c.typed_varint(wire)? as i64,
            _ => c.skip(number, wire)?,
        }
    }

    let mut moved = Vec::new();
    let range = span.settle(body, whole, &mut moved)?;
    let raw = super::labels::bytes(body, &moved, &range);

    Ok(Labels::of_exemplar(raw).map(|labels| Exemplar { labels, v, t }))
}

/// Reads a `MetricMetadata` as family name and content. Text that is not UTF-8 has its bad bytes replaced.
pub(crate) fn metadata(mut c: Cursor<'_>) -> Result<(String, MetricMetadata), DecodeError> {
    let mut name = String::new();

    let mut metadata = MetricMetadata::default();
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => metadata.kind = metric_type(c.typed_varint(wire)?),
            2 => name = text(c.typed_message(wire)?),
            4 => metadata.help = text(c.typed_message(wire)?),
            5 => metadata.unit = text(c.typed_message(wire)?),
            _ => c.skip(number, wire)?,
        }
    }

    Ok((name, metadata))
}

/// The type of both protocol versions' enums.
pub(crate) fn metric_type(n: u64) -> MetricType {
    u8::try_from(n as i32)
        .ok()
        .and_then(MetricType::from_number)
        .unwrap_or_default()
}

fn text(c: Cursor<'_>) -> String {
    String::from_utf8_lossy(c.rest()).into_owned()
}
