//! The string table of a request.

use std::ops::Range;

use crate::prompb::cursor::Cursor;
use crate::prompb::{DecodeError, DecodeLimits, Room, bound};

/// Strings by reference. They are not checked for UTF-8 here; a bad one concerns only the series that use it.
pub(crate) struct Symbols<'a>(Vec<&'a [u8]>);

impl<'a> Symbols<'a> {
    /// The string of a reference, if there is one.
    #[inline]
    pub(crate) fn get(&self, reference: u32) -> Option<&'a [u8]> {
        self.0.get(reference as usize).copied()
    }
}

/// Collects the table and the place of every series.
pub(crate) fn split<'a>(
    body: &'a [u8],
    limits: &DecodeLimits,
    room: &mut Room<'_>,
) -> Result<(Symbols<'a>, Vec<Range<usize>>), DecodeError> {
    let mut symbols = Vec::new();
    let mut series = Vec::new();

    let mut c = Cursor::new(body);
    while let Some((number, wire)) = c.field()? {
        match number {
            4 => {
                symbols.push(c.typed_message(wire)?.rest());
                bound(symbols.len(), limits.symbols_max, "symbols")?;
                room.bytes(2 * size_of::<&[u8]>())?;
            }
            5 => {
                series.push(c.typed_message(wire)?.range());
                bound(series.len(), limits.series_max, "series")?;
                room.bytes(2 * size_of::<Range<usize>>())?;
            }
            // Reserved so that version 1 bytes under a version 2 content type are noticed instead of read as nothing.
            1..=3 => return Err(c.error("a field of remote write 1.0 in a 2.0 request")),
            _ => c.skip(number, wire)?,
        }
    }

    if (!symbols.is_empty() || !series.is_empty()) && symbols.first() != Some(&b"".as_slice()) {
        return Err(DecodeError::Malformed {
            at: 0,
            what: "the first symbol is not the empty string",
        });
    }

    Ok((Symbols(symbols), series))
}
