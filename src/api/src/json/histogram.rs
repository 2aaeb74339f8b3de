//! Native histograms as the query API shows them.

use trireme_model::{FloatHistogram, is_stale};

use super::{push_quoted_float, put};

/// Appends `{"count":"","sum":"","buckets":[[rule,"low","high","count"],...]}`; empty buckets are left out.
pub(crate) fn push_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    push_with_sum(out, h, |out| push_quoted_float(out, h.sum));
}

/// The same for raw data, where a stale marker is told from other NaNs.
pub(crate) fn push_raw_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    push_with_sum(out, h, |out| match is_stale(h.sum) {
        true => out.extend_from_slice(b"\"StaleNaN\""),
        false => push_quoted_float(out, h.sum),
    });
}

fn push_with_sum(out: &mut Vec<u8>, h: &FloatHistogram, push_sum: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"count\":");
    push_quoted_float(out, h.count);
    out.extend_from_slice(b",\"sum\":");
    push_sum(out);

    let mut separator: &[u8] = b",\"buckets\":[";
    for bucket in h.buckets().filter(|b| b.count != 0.0) {
        out.extend_from_slice(separator);
        separator = b",";
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };

        put(out, format_args!("[{rule},"));
        push_quoted_float(out, bucket.lower);
        out.push(b',');
        push_quoted_float(out, bucket.upper);
        out.push(b',');
        push_quoted_float(out, bucket.count);
        out.push(b']');
    }

    if separator == b"," {
        out.push(b']');
    }

    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use trireme_model::Span;

    use super::*;

    #[test]
    fn buckets_carry_their_boundary_rule_and_empty_ones_are_left_out() {
        let h = FloatHistogram {
            count: 7.0,
            sum: 1.5,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![3.0, 0.0],
            negative_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            negative_buckets: vec![2.0],
            ..Default::default()
        };

        let mut out = Vec::new();
        push_histogram(&mut out, &h);
        let want = r#"{"count":"7","sum":"1.5","buckets":[[1,"-1","-0.5","2"],[3,"-0.001","0.001","2"],[0,"0.5","1","3"]]}"#;

        assert_eq!(String::from_utf8(out).expect("text"), want);
    }

    #[test]
    fn raw_histograms_tell_stale_from_other_nans() {
        let text = |sum: f64| {
            let mut out = Vec::new();
            push_raw_histogram(
                &mut out,
                &FloatHistogram {
                    sum,
                    ..Default::default()
                },
            );
            String::from_utf8(out).expect("text")
        };

        assert_eq!(
            text(f64::from_bits(trireme_model::STALE_NAN)),
            r#"{"count":"0","sum":"StaleNaN"}"#
        );
        assert_eq!(text(f64::NAN), r#"{"count":"0","sum":"NaN"}"#);
    }
}
