//! Where buckets begin and end.

/// Upper bound of bucket `index`.
///
/// Exponential schemas: `2^(index * 2^-schema)`; the last bucket before the one for infinities ends at the greatest
/// finite number. Custom buckets: `custom_values[index]`, +Inf after the last, -Inf before the first.
pub(super) fn upper_bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema == super::CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(i) => custom_values.get(i).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }

    if schema <= 0 {
        let exponent = i64::from(index) << schema.saturating_neg().min(31);
        return if exponent == 1024 {
            f64::MAX
        } else {
            power_of_two(exponent)
        };
    }

    let schema = schema.min(SCHEMA_MAX);
    let per_octave = 1i64 << schema;
    let octave = i64::from(index).div_euclid(per_octave);
    let part = i64::from(index).rem_euclid(per_octave);
    if octave == 1024 && part == 0 {
        return f64::MAX;
    }

    let fraction = FRACTIONS[(part as usize) << (SCHEMA_MAX - schema)];
    // Scaled in two steps, because the fraction may carry a result into range that 2^octave alone is not in.
    fraction * 2.0 * power_of_two(octave)
}

/// The finest schema.
const SCHEMA_MAX: i32 = 8;

/// `2^(2^-schema) / 2` for the schemas 1 to 8, as Prometheus's table has them: the last digit is not always the nearest.
#[allow(clippy::approx_constant)]
const FIRST_FRACTIONS: [f64; SCHEMA_MAX as usize] = [
    0.7071067811865475,
    0.5946035575013605,
    0.5452538663326288,
    0.5221368912137069,
    0.5109485743270583,
    0.5054446430258502,
    0.5027149505564014,
    0.5013556375251013,
];

/// `2^(part / 256) / 2`, the bounds of an octave at the finest schema; coarser ones take every second, fourth, ... of
/// them. The digits are those that Prometheus and its clients have agreed on by a table.
static FRACTIONS: [f64; 1 << SCHEMA_MAX] = fractions();

/// Computes the table as its authors did: what a coarser schema has is kept, what lies between is the one before it times
/// the factor of the schema.
const fn fractions() -> [f64; 1 << SCHEMA_MAX] {
    let mut out = [0.5; 1 << SCHEMA_MAX];

    let mut schema = 1;
    while schema <= SCHEMA_MAX as usize {
        let stride = 1 << (SCHEMA_MAX as usize - schema);
        let factor = FIRST_FRACTIONS[schema - 1] * 2.0;

        let mut at = stride;
        while at < out.len() {
            out[at] = out[at - stride] * factor;
            at += 2 * stride;
        }
        schema += 1;
    }

    out
}

/// `2^exponent`, 0 or infinity if that is not representable.
fn power_of_two(exponent: i64) -> f64 {
    2f64.powi(exponent.clamp(-1100, 1100) as i32)
}

/// The bucket of a coarser schema that holds bucket `index` of a finer one.
pub(super) fn reduced_index(index: i32, from_schema: i32, to_schema: i32) -> i32 {
    (index.wrapping_sub(1) >> from_schema.saturating_sub(to_schema).clamp(0, 31)).wrapping_add(1)
}

/// Bounds that both lists hold; both rise.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut i = 0;
    let mut j = 0;

    let mut out = Vec::new();
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push(a[i]);
            i += 1;
            j += 1;
        } else if a[i] < b[j] {
            i += 1;
        } else {
            j += 1;
        }
    }

    out
}

/// The bucket among `to` that holds bucket `index` of `from`; every bound of `to` is one of `from`.
pub(super) fn mapped_index(index: i32, from: &[f64], to: &[f64]) -> i32 {
    let upper = upper_bound(index, super::CUSTOM_BUCKETS_SCHEMA, from);
    to.partition_point(|bound| *bound < upper) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_schema() {
        assert_eq!(upper_bound(0, 0, &[]), 1.0);
        assert_eq!(upper_bound(3, 0, &[]), 8.0);
        assert_eq!(upper_bound(2, -1, &[]), 16.0);

        assert!((upper_bound(1, 1, &[]) - 2f64.sqrt()).abs() < 1e-15);
        assert_eq!(upper_bound(2, 1, &[]), 2.0);
        assert!((upper_bound(-1, 3, &[]) - 2f64.powf(-0.125)).abs() < 1e-15);

        assert_eq!(upper_bound(1024, 0, &[]), f64::MAX);
        assert_eq!(upper_bound(1025, 0, &[]), f64::INFINITY);
        assert_eq!(upper_bound(1 << 18, 8, &[]), f64::MAX);
    }

    #[test]
    fn bounds_have_the_digits_of_the_common_table() {
        assert_eq!(upper_bound(-1, 8, &[]), 0.9972960560854698);
        assert_eq!(upper_bound(6, 8, &[]), 1.0163783149109529);
        assert_eq!(upper_bound(3, 2, &[]), 0.8408964152537144 * 2.0);

        for index in -256..=256 {
            let exact = (f64::from(index) / 256.0).exp2();
            assert!(
                (upper_bound(index, 8, &[]) / exact - 1.0).abs() < 1e-14,
                "{index}"
            );
        }
    }

    #[test]
    fn custom_buckets_end_at_infinity_and_map_onto_shared_bounds() {
        let schema = super::super::CUSTOM_BUCKETS_SCHEMA;
        assert_eq!(upper_bound(-1, schema, &[1.0]), f64::NEG_INFINITY);
        assert_eq!(upper_bound(1, schema, &[1.0]), f64::INFINITY);

        let shared = shared_bounds(&[1.0, 2.0, 5.0], &[2.0, 3.0, 5.0]);
        assert_eq!(shared, [2.0, 5.0]);
        assert_eq!(
            [0, 1, 2, 3].map(|i| mapped_index(i, &[1.0, 2.0, 5.0], &shared)),
            [0, 0, 1, 2]
        );
    }
}
