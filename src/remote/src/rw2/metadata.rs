//! Metadata travels with every series in 2.0; a batch keeps what is said of a metric family once.

use std::collections::HashSet;

use trireme_model::{MetricMetadata, MetricType};

use super::labels::Part;
use super::symbols::Symbols;
use crate::prompb::cursor::Cursor;
use crate::prompb::{DecodeError, DecodeLimits, Room};
use crate::rw1::extras::metric_type;

/// Longest help text that is kept.
const HELP_BYTES_MAX: usize = 4 << 10;

/// A `Metadata` message as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Refs {
    kind: u64,
    help: u32,
    unit: u32,
}

impl Refs {
    /// False if a reference is outside the table.
    pub(crate) fn are_in(&self, symbols: &Symbols<'_>) -> bool {
        symbols.get(self.help).is_some() && symbols.get(self.unit).is_some()
    }

    /// True if it says nothing.
    pub(crate) fn is_empty(self) -> bool {
        (self.kind, self.help, self.unit) == (0, 0, 0)
    }
}

/// The series that says something.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) part: Part,
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

/// What a request says of metric families, each statement once. Series of a family may disagree.
#[derive(Default)]
pub(crate) struct MetadataSet<'a> {
    seen: HashSet<(&'a [u8], Refs)>,
    last: Option<(&'a [u8], Refs)>,
    entries: Vec<(String, MetricMetadata)>,
}

impl<'a> MetadataSet<'a> {
    /// Adds what a series says. References outside the table count as "", metadata never fails a series.
    pub(crate) fn add(
        &mut self,
        series: Of<'a>,
        refs: Refs,
        symbols: &Symbols<'a>,
        limits: &DecodeLimits,
        room: &mut Room<'_>,
    ) -> Result<(), DecodeError> {
        let kind = metric_type(refs.kind);
        let said = (family(series, kind), refs);
        let is_empty = kind == MetricType::Unknown && refs.help == 0 && refs.unit == 0;
        if is_empty || self.last == Some(said) || self.entries.len() >= limits.metadata_max {
            return Ok(());
        }

        self.last = Some(said);
        if !self.seen.insert(said) {
            return Ok(());
        }

        let metadata = MetricMetadata {
            kind,
            unit: text(symbols, refs.unit),
            help: text(symbols, refs.help),
        };

        let (family, _) = said;
        // Bytes that are not UTF-8 become longer, by which this counts them already.
        room.metadata(family.len() + metadata.unit.len() + metadata.help.len())?;
        self.entries
            .push((String::from_utf8_lossy(family).into_owned(), metadata));

        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<(String, MetricMetadata)> {
        self.entries
    }
}

fn text(symbols: &Symbols<'_>, r: u32) -> String {
    let bytes = symbols.get(r).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(HELP_BYTES_MAX)]).into_owned()
}

/// The family of a classic histogram's or summary's component series. A summary may be called `col_sum`: its quantiles
/// are of that name and no sums of a family `col`.
fn family(series: Of<'_>, kind: MetricType) -> &[u8] {
    let suffixes: &[&[u8]] = match (kind, series.part) {
        (MetricType::Histogram | MetricType::GaugeHistogram, Part::Bucket) => &[b"_bucket"],
        (
            MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary,
            Part::SumOrCount,
        ) => &[b"_count", b"_sum"],
        _ => &[],
    };

    let name = series.name;
    suffixes
        .iter()
        .find_map(|s| name.strip_suffix(*s))
        .filter(|n| !n.is_empty())
        .unwrap_or(name)
}
