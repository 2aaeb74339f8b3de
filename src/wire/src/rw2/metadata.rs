//! Metadata travels with every series in 2.0; a batch keeps it once per metric family.

use std::collections::HashMap;

use trireme_model::{MetricMetadata, MetricType};

use super::symbols::Symbols;
use crate::prompb::cursor::Cursor;
use crate::prompb::{DecodeError, DecodeLimits, Room};
use crate::rw1::extras::metric_type;

/// Longest help text that is kept.
const HELP_BYTES_MAX: usize = 4 << 10;

/// A `Metadata` message as sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Refs {
    kind: u64,
    help: u32,
    unit: u32,
}

/// Reads the message into `refs`; a field that occurs again replaces the former.
pub(crate) fn read(mut c: Cursor<'_>, refs: &mut Refs) -> Result<(), DecodeError> {
    while let Some((number, wire)) = c.field()? {
        match number {
            1 => refs.kind = c.typed_varint(wire)?,
            3 => refs.help = c.typed_varint(wire)? as u32,
            4 => refs.unit = c.typed_varint(wire)? as u32,
            _ => c.skip(number, wire)?,
        }
    }
    Ok(())
}

/// Metadata by family; the first of a request wins.
#[derive(Default)]
pub(crate) struct MetadataSet<'a> {
    seen: HashMap<&'a [u8], usize>,
    last: &'a [u8],
    entries: Vec<(String, MetricMetadata)>,
}

impl<'a> MetadataSet<'a> {
    /// Adds what a series of metric `name` says. References outside the table count as "", metadata never fails a series.
    pub(crate) fn add(
        &mut self,
        name: &'a [u8],
        refs: Refs,
        symbols: &Symbols<'a>,
        limits: &DecodeLimits,
        room: &mut Room<'_>,
    ) -> Result<(), DecodeError> {
        let kind = metric_type(refs.kind);
        let family = family(name, kind);
        let empty = kind == MetricType::Unknown && refs.help == 0 && refs.unit == 0;
        if empty
            || (self.last == family && !self.entries.is_empty())
            || self.entries.len() >= limits.metadata_max
        {
            return Ok(());
        }
        self.last = family;
        let next = self.entries.len();
        if *self.seen.entry(family).or_insert(next) != next {
            return Ok(());
        }
        let text = |r: u32| {
            let bytes = symbols.get(r).unwrap_or_default();
            String::from_utf8_lossy(&bytes[..bytes.len().min(HELP_BYTES_MAX)]).into_owned()
        };
        let metadata = MetricMetadata { kind, unit: text(refs.unit), help: text(refs.help) };
        // Bytes that are not UTF-8 become longer, by which this counts them already.
        room.metadata(family.len() + metadata.unit.len() + metadata.help.len())?;
        self.entries.push((String::from_utf8_lossy(family).into_owned(), metadata));
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<(String, MetricMetadata)> {
        self.entries
    }
}

/// The family of a classic histogram's or summary's component series.
fn family(name: &[u8], kind: MetricType) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &[b"_bucket", b"_count", b"_sum"],
        MetricType::Summary => &[b"_count", b"_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|s| name.strip_suffix(*s)).filter(|n| !n.is_empty()).unwrap_or(name)
}
