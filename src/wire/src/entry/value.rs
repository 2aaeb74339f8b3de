//! One float in one control byte and 0 to 8 bytes.
//!
//! Low six bits of the control byte:
//!
//! ```text
//!  0       +0.0
//!  1       stale marker
//!  2       1.0
//!  3..=9   integer: zigzag in 1..=7 bytes LE
//! 10..=44  decimal: 10 + 7 * (scale - 1) + (bytes - 1), zigzag of the integer in 1..=7 bytes LE
//! 45..=52  double whose low bytes are 0: its high 1..=8 bytes, LE
//! ```
//!
//! The two high bits belong to the caller: "reference is the last plus one" and "timestamp as before".

use trireme_model::STALE_NAN;

use super::EntryError;
use super::decimal;
use super::varint::{Cursor, unzigzag, zigzag};

pub(super) const NEXT_REF: u8 = 0x40;
pub(super) const SAME_TIME: u8 = 0x80;
const CODE: u8 = 0x3f;
const INTEGER: u8 = 3;
const DOUBLE: u8 = 45;
const DOUBLE_MAX: u8 = 52;

/// Code, bytes and their number.
#[inline]
pub(super) fn encode(v: f64) -> (u8, u64, usize) {
    let bits = v.to_bits();
    match bits {
        0 => return (0, 0, 0),
        STALE_NAN => return (1, 0, 0),
        0x3ff0_0000_0000_0000 => return (2, 0, 0),
        _ => {}
    }

    let cut = bits.trailing_zeros() as usize / 8;
    if let Some((m, scale)) = decimal::split(v) {
        let z = zigzag(m);
        let n = (71 - (z | 1).leading_zeros() as usize) / 8;
        if n <= 8 - cut {
            return (INTEGER + 7 * scale + (n as u8 - 1), z, n);
        }
    }

    (DOUBLE + (7 - cut) as u8, bits >> (8 * cut), 8 - cut)
}

/// Appends the low `n` bytes of `word`.
#[inline]
pub(super) fn put_word(buf: &mut Vec<u8>, word: u64, n: usize) {
    // A copy of fixed size and a shorter length beat a copy of variable size.
    buf.extend_from_slice(&word.to_le_bytes());
    buf.truncate(buf.len() - (8 - n));
}

#[inline]
pub(super) fn decode(cursor: &mut Cursor<'_>, control: u8) -> Result<f64, EntryError> {
    let code = control & CODE;
    Ok(match code {
        0 => 0.0,
        1 => f64::from_bits(STALE_NAN),
        2 => 1.0,
        INTEGER..DOUBLE => {
            let form = code - INTEGER;
            let z = cursor.uint(usize::from(form % 7) + 1)?;
            decimal::join(unzigzag(z), form / 7)
        }
        DOUBLE..=DOUBLE_MAX => {
            let n = usize::from(code - DOUBLE) + 1;
            f64::from_bits(cursor.uint(n)? << (8 * (8 - n)))
        }
        _ => {
            return Err(EntryError::Unknown {
                what: "value code",
                code,
            });
        }
    })
}
