//! Text forms.

use std::fmt;

use super::FloatHistogram;

/// A float as Go's `%g` prints it: the shortest digits that read back the same, with an exponent outside 1e-4..1e6.
///
/// Prometheus shows floats inside annotations and histogram texts in this form: `1e+06`, `0.25`, `+Inf`, `NaN`.
pub fn format_float(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }

    let scientific = format!("{v:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{v}");
    }

    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Prometheus's text form: `{count:3, sum:2, [-1,1]:1, (1,2]:2}`, empty buckets left out.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{count:{}, sum:{}",
            format_float(self.count),
            format_float(self.sum)
        )?;

        for bucket in self.buckets().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }

        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn floats_are_shortest_with_exponents_for_extremes() {
        let cases = [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1e6, "1e+06"),
            (123_456.0, "123456"),
            (0.0001, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ];
        for (v, text) in cases {
            assert_eq!(format_float(v), text);
        }
    }

    #[test]
    fn histograms_show_populated_buckets_with_bounds() {
        let h = FloatHistogram {
            count: 3.0,
            sum: 2.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![0.0, 2.0],
            ..FloatHistogram::default()
        };
        assert_eq!(
            h.to_string(),
            "{count:3, sum:2.5, [-0.001,0.001]:1, (1,2]:2}"
        );
    }
}
