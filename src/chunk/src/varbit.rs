//! Prometheus's bit-wise variable length integers.
//!
//! ```text
//! 0 -> 0 | 10 +3 bits | 110 +6 | 1110 +9 | 11110 +12 | 111110 +18 | 1111110 +25 | 11111110 +56 | 11111111 +64
//! ```

use crate::ChunkError;
use crate::bits::{BitReader, BitWriter, fits};

/// Payload bits after `i + 1` ones and a zero.
const SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

fn put(w: &mut BitWriter, bits: u64, class: Option<usize>) {
    match class {
        Some(i) => {
            let n = SIZES[i];
            // i + 1 ones and a zero.
            let prefix = (1u128 << (i + 2)) - 2;
            w.push(
                prefix << n | u128::from(bits & ((1 << n) - 1)),
                i as u32 + 2 + n,
            );
        }
        None => w.push(0xff << 64 | u128::from(bits), 72),
    }
}

pub(crate) fn put_int(w: &mut BitWriter, value: i64) {
    if value == 0 {
        return w.push(0, 1);
    }
    put(w, value as u64, SIZES.iter().position(|n| fits(value, *n)));
}

pub(crate) fn put_uint(w: &mut BitWriter, value: u64) {
    if value == 0 {
        return w.push(0, 1);
    }
    put(w, value, SIZES.iter().position(|n| value >> n == 0));
}

pub(crate) fn read_int(r: &mut BitReader<'_>) -> Result<i64, ChunkError> {
    match r.ones(8)? {
        0 => Ok(0),
        8 => Ok(r.bits(64)? as i64),
        ones => r.signed(SIZES[ones as usize - 1]),
    }
}

pub(crate) fn read_uint(r: &mut BitReader<'_>) -> Result<u64, ChunkError> {
    match r.ones(8)? {
        0 => Ok(0),
        8 => r.bits(64),
        ones => r.bits(SIZES[ones as usize - 1]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_every_size_come_back(values in prop::collection::vec((any::<i64>(), 0u32..64), 0..100)) {
            let mut w = BitWriter::with_header(&[]);
            for (v, shift) in &values {
                put_int(&mut w, v >> shift);
                put_uint(&mut w, *v as u64 >> shift);
            }
            let mut r = BitReader::new(w.bytes());
            for (v, shift) in &values {
                prop_assert_eq!(read_int(&mut r), Ok(v >> shift));
                prop_assert_eq!(read_uint(&mut r), Ok(*v as u64 >> shift));
            }
        }
    }

    #[test]
    fn lengths_are_those_of_the_format() {
        for (value, bits) in [
            (0i64, 1),
            (4, 5),
            (-3, 5),
            (-4, 9),
            (32, 9),
            (33, 13),
            (2_049, 24),
            (i64::MIN, 72),
        ] {
            let mut w = BitWriter::with_header(&[]);
            put_int(&mut w, value);
            w.push(1, 1);
            assert_eq!(w.bytes().len(), (bits + 1usize).div_ceil(8), "{value}");
        }
    }
}
