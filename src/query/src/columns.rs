//! Merging the samples of one series that several places hold: a set union (I3).

use std::cmp::Ordering;

use trireme_model::{is_stale, prefer};
use trireme_promql::{Columns, Counted, HistogramPoint};

/// Adds the samples of `more` to `out`; both are sorted by time, and so is the result, each time once.
///
/// For one timestamp [`prefer`] decides between floats, the greater count between histograms; a histogram wins over a
/// float, as in the head and in blocks. `scratch` is working memory.
pub fn merge_columns(out: &mut Columns, more: &Columns, scratch: &mut Columns) {
    if more.is_empty() {
        return;
    }
    if out.is_empty() {
        out.clone_from(more);
        return;
    }

    if last_time(out) < first_time(more) {
        append(out, more);
        return;
    }

    scratch.clear();
    scratch.counts = merge_counts(&out.counts, &more.counts);
    merge_floats(out, more, scratch);
    merge_histograms(&out.histograms, &more.histograms, &mut scratch.histograms);

    if !scratch.histograms.is_empty() && !scratch.float_t.is_empty() {
        drop_floats_beside_histograms(scratch);
    }

    std::mem::swap(out, scratch);
}

fn last_time(c: &Columns) -> i64 {
    let histogram = c.histograms.last().map_or(i64::MIN, |h| h.t);
    c.float_t.last().map_or(histogram, |t| histogram.max(*t))
}

fn first_time(c: &Columns) -> i64 {
    let histogram = c.histograms.first().map_or(i64::MAX, |h| h.t);
    c.float_t.first().map_or(histogram, |t| histogram.min(*t))
}

fn append(out: &mut Columns, more: &Columns) {
    if !out.float_st.is_empty() || !more.float_st.is_empty() {
        out.float_st.resize(out.float_t.len(), 0);
        out.float_st.extend_from_slice(&more.float_st);
        out.float_st
            .resize(out.float_t.len() + more.float_t.len(), 0);
    }

    out.float_t.extend_from_slice(&more.float_t);
    out.float_v.extend_from_slice(&more.float_v);
    out.histograms.extend_from_slice(&more.histograms);
    out.counts.extend_from_slice(&more.counts);
}

/// Counts of both, one for each time.
pub(crate) fn merge_counts(a: &[Counted], b: &[Counted]) -> Vec<Counted> {
    let mut all = [a, b].concat();
    all.sort_by_key(|counted| counted.t);
    all.dedup_by_key(|counted| counted.t);
    all
}

fn merge_floats(a: &Columns, b: &Columns, out: &mut Columns) {
    let start = |c: &Columns, i: usize| c.float_st.get(i).copied().unwrap_or(0);
    let mut i = 0;

    let mut j = 0;
    while i < a.float_t.len() || j < b.float_t.len() {
        let order = match (a.float_t.get(i), b.float_t.get(j)) {
            (Some(x), Some(y)) => x.cmp(y),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => {
                out.push_float_st(a.float_t[i], start(a, i), a.float_v[i]);
                i += 1;
            }
            Ordering::Greater => {
                out.push_float_st(b.float_t[j], start(b, j), b.float_v[j]);
                j += 1;
            }
            Ordering::Equal => {
                let x = a.float_v[i];
                let y = b.float_v[j];
                let v = prefer(x, y);
                // The winner's start timestamp; equal values keep whichever knows one.
                let st = match (v.to_bits() == x.to_bits(), v.to_bits() == y.to_bits()) {
                    (true, true) => start(a, i).max(start(b, j)),
                    (true, false) => start(a, i),
                    _ => start(b, j),
                };
                out.push_float_st(a.float_t[i], st, v);
                i += 1;
                j += 1;
            }
        }
    }
}

fn merge_histograms(a: &[HistogramPoint], b: &[HistogramPoint], out: &mut Vec<HistogramPoint>) {
    let mut i = 0;

    let mut j = 0;
    while i < a.len() || j < b.len() {
        let order = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.t.cmp(&y.t),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => {
                out.push(a[i].clone());
                i += 1;
            }
            Ordering::Greater => {
                out.push(b[j].clone());
                j += 1;
            }
            Ordering::Equal => {
                out.push(if beats(&b[j], &a[i]) {
                    b[j].clone()
                } else {
                    a[i].clone()
                });
                i += 1;
                j += 1;
            }
        }
    }
}

/// True if `a` is taken before `b`: a histogram before a stale marker, then the greater count, sum and start timestamp.
fn beats(a: &HistogramPoint, b: &HistogramPoint) -> bool {
    match (is_stale(a.h.sum), is_stale(b.h.sum)) {
        (false, true) => true,
        (true, false) => false,
        _ => {
            let by_count = a.h.count.total_cmp(&b.h.count);
            by_count
                .then(a.h.sum.total_cmp(&b.h.sum))
                .then(a.st.cmp(&b.st))
                .is_gt()
        }
    }
}

/// Leaves out floats at times at which there is a histogram too.
pub(crate) fn drop_floats_beside_histograms(c: &mut Columns) {
    let histograms = &c.histograms;
    let keep: Vec<bool> = c
        .float_t
        .iter()
        .map(|t| histograms.binary_search_by_key(t, |h| h.t).is_err())
        .collect();

    if keep.iter().all(|k| *k) {
        return;
    }

    let filter = |i: &mut usize| {
        *i += 1;
        keep[*i - 1]
    };
    let mut i = 0;

    c.float_t.retain(|_| filter(&mut i));
    i = 0;
    c.float_v.retain(|_| filter(&mut i));
    i = 0;
    c.float_st.retain(|_| filter(&mut i));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use trireme_model::FloatHistogram;

    use super::*;

    fn columns(samples: &BTreeMap<i64, (u8, i64)>) -> Columns {
        let mut c = Columns::default();
        for (t, (v, st)) in samples {
            match v % 4 {
                3 => c.push_histogram(
                    *t,
                    *st,
                    Arc::new(FloatHistogram {
                        count: f64::from(*v),
                        ..Default::default()
                    }),
                ),
                _ => c.push_float_st(*t, *st, f64::from(*v)),
            }
        }

        c
    }

    fn samples() -> impl Strategy<Value = BTreeMap<i64, (u8, i64)>> {
        proptest::collection::btree_map(0..30i64, (0..20u8, 0..3i64), 0..20)
    }

    fn shape(c: &Columns) -> String {
        // An absent start column and one of zeros are the same.
        let st: Vec<i64> = (0..c.float_t.len())
            .map(|i| c.float_st.get(i).copied().unwrap_or(0))
            .collect();
        format!(
            "{:?} {:?} {:?} {:?}",
            c.float_t, c.float_v, st, c.histograms
        )
    }

    proptest! {
        #[test]
        fn merging_is_a_set_union_in_any_order(a in samples(), b in samples(), d in samples()) {
            let merged = |parts: &[&BTreeMap<i64, (u8, i64)>]| {
                let (mut out, mut scratch) = (Columns::default(), Columns::default());
                for part in parts {
                    merge_columns(&mut out, &columns(part), &mut scratch);
                }
                out
            };
            let all = merged(&[&a, &b, &d]);
            prop_assert_eq!(shape(&all), shape(&merged(&[&d, &a, &b])));
            prop_assert_eq!(shape(&all), shape(&merged(&[&a, &b, &d, &b])));
            let mut want: BTreeMap<i64, (bool, u8)> = BTreeMap::new();
            for (t, (v, _)) in a.iter().chain(&b).chain(&d) {
                let new = (v % 4 == 3, *v);
                let entry = want.entry(*t).or_insert(new);
                *entry = (*entry).max(new);
            }
            let floats: Vec<_> = want.iter().filter(|(_, (h, _))| !h).map(|(t, (_, v))| (*t, f64::from(*v))).collect();
            let got: Vec<_> = all.float_t.iter().copied().zip(all.float_v.iter().copied()).collect();
            prop_assert_eq!(got, floats);
            let histograms: Vec<_> = want.iter().filter(|(_, (h, _))| *h).map(|(t, (_, v))| (*t, f64::from(*v))).collect();
            prop_assert_eq!(all.histograms.iter().map(|h| (h.t, h.h.count)).collect::<Vec<_>>(), histograms);
        }
    }
}
