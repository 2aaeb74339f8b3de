//! Encodings 2 and 3: native histograms with integer and float counts, and 5 and 6, which add start timestamps.
//!
//! ```text
//! count u16 | flags 1B | zero threshold 1 or 9B | schema | positive spans | negative spans | custom bounds
//!           | samples
//! int    first: t, count, zero count, sum 64 bits, buckets     then: deltas of deltas, sum XOR, buckets dod
//! float  first: t, count, zero count, sum, buckets as 64 bits  then: t dod, everything else XOR
//! ```
//!
//! All samples of a chunk share one layout. A sample with new buckets makes the chunk be encoded again with the
//! wider layout; a counter reset or another resolution needs a new chunk, whose flags say why.

mod append;
mod decode;
mod fields;
mod form;
mod layout;
mod parts;

pub use append::{Appended, HistogramAppender};
pub use decode::decode_histograms;

use trireme_model::ResetHint;

use crate::bits::BitReader;

/// Flags byte of a chunk that was cut for this reason.
fn flags_of(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0b0000_0000,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    }
}

fn hint_of(flags: u8) -> ResetHint {
    match flags >> 6 {
        0 => ResetHint::Unknown,
        1 => ResetHint::NotReset,
        2 => ResetHint::Reset,
        _ => ResetHint::Gauge,
    }
}

/// Where the samples start: count and flags.
const HEADER_BYTES: usize = 3;

/// One sample's numbers in stored form, whatever the kind of counts.
type Bits<'a, 'b> = &'a mut BitReader<'b>;

#[cfg(test)]
mod tests;
