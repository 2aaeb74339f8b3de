//! Numbers as short decimals, exactly.
//!
//! Most metric values were written by somebody as a decimal: counts, bytes, seconds with two or three digits
//! behind the point. `m / 10^k` with an exact integer `m` is rounded by IEEE division to the same bits as the
//! parsed text, so storing `m` loses nothing, and `m` is often two to four bytes where the double has eight.

/// Divisors by scale index.
pub const SCALES: [f64; 6] = [1.0, 10.0, 100.0, 1e3, 1e6, 1e9];

/// Integers up to here have one exact double each.
const EXACT_MAX: f64 = (1u64 << 51) as f64;
/// Adding and subtracting this rounds a double of magnitude below 2^51 to the nearest integer.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;

/// The integer `m` and scale index `k` with `m / SCALES[k] == v` bit for bit, if there is one.
#[inline]
pub fn split(v: f64) -> Option<(i64, u8)> {
    if let Some(m) = at_scale(v, 0) {
        return Some((m, 0));
    }

    if let Some(m) = at_scale(v, 3) {
        return Some(if m % 100 == 0 {
            (m / 100, 1)
        } else if m % 10 == 0 {
            (m / 10, 2)
        } else {
            (m, 3)
        });
    }

    [4u8, 5]
        .into_iter()
        .find_map(|k| at_scale(v, k).map(|m| (m, k)))
}

/// The integer `m` with `m / SCALES[k] == v` bit for bit, if there is one; -0.0 has none.
#[inline]
pub fn at_scale(v: f64, k: u8) -> Option<i64> {
    let scaled = v * SCALES[usize::from(k)];
    if scaled.is_nan() || scaled.abs() >= EXACT_MAX {
        return None;
    }
    let rounded = (scaled + ROUND) - ROUND;
    let m = rounded as i64;
    (join(m, k).to_bits() == v.to_bits()).then_some(m)
}

/// The value of a pair from [`split`].
#[inline]
pub fn join(m: i64, k: u8) -> f64 {
    m as f64 / SCALES[usize::from(k)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_short_form_of_decimals() {
        let cases = [
            (0.0, (0, 0)),
            (42.0, (42, 0)),
            (-3.0, (-3, 0)),
            (0.1, (1, 1)),
            (12345.67, (1_234_567, 2)),
            (-0.005, (-5, 3)),
            (0.000_012, (12, 4)),
            (1.234_567_89, (1_234_567_890, 5)),
        ];

        for (v, want) in cases {
            assert_eq!(split(v), Some(want), "{v}");
        }

        for v in [
            -0.0,
            f64::NAN,
            f64::INFINITY,
            1e300,
            5e-324,
            std::f64::consts::PI,
            (1u64 << 52) as f64,
        ] {
            assert_eq!(split(v), None, "{v}");
        }
    }
}
