//! Native histograms of one series, most of them by how they differ from one before.
//!
//! ```text
//! per sample: zigzag time, less that of the sample before it (0 for the first); kind u8; varint length, body
//!   0 whole   as in `histogram`
//!   1 alike   has the layout of the last whole one before it. Of start timestamp, zero count, count, sum, positive
//!             buckets, negative buckets, in this order: a bit each, lowest first, for those that differ, then these:
//!             integers as zigzag varint of the difference, buckets as counts and not as deltas; floats as varint of the
//!             bits that differ, the sign bit lowest
//! ```
//!
//! Layout is all else: schema, spans, bounds, reset hint, and whether counts are integers. It stands in a run once, however
//! many samples have it, and buckets without an observation since take a bit each.

use std::sync::Arc;

use trireme_model::{AnyHistogram, FloatHistogram, Histogram, HistogramSample};

use super::EntryError;
use super::histogram::{decode, encode};
use super::varint::{Cursor, put, put_bytes, put_signed};

const WHOLE: u8 = 0;
const ALIKE: u8 = 1;

/// Words before the buckets: start timestamp, zero count, count, sum.
const HEAD_WORDS: usize = 4;
const SUM_WORD: usize = 3;

/// Appends a sample to a run; fails if what is there is none.
pub fn push_to_run(run: &mut Vec<u8>, sample: &HistogramSample) -> Result<(), EntryError> {
    let (before, base) = last_of(run)?;
    let base = base
        .map(|body| decode(&mut Cursor::new(body), 0))
        .transpose()?;

    let mut body = Vec::with_capacity(256);
    let kind = match base.filter(|base| have_one_layout(&base.h, &sample.h)) {
        Some(base) => {
            encode_difference(&mut body, &base, sample);
            ALIKE
        }
        None => {
            encode(&mut body, sample);
            WHOLE
        }
    };

    // Small steps: there are many such runs.
    let needed = body.len() + 24;

    if run.capacity() - run.len() < needed {
        run.reserve_exact(needed.max(run.len() / 8));
    }

    put_signed(run, sample.t.wrapping_sub(before));
    run.push(kind);
    put_bytes(run, &body);

    Ok(())
}

/// Time of the last sample of a run, and the body of the last one that is whole.
fn last_of(run: &[u8]) -> Result<(i64, Option<&[u8]>), EntryError> {
    let mut before = 0;

    let mut base = None;
    for raw in Raws::of(run) {
        let raw = raw?;
        before = raw.t;
        if raw.kind == WHOLE {
            base = Some(raw.body);
        }
    }

    Ok((before, base))
}

/// Times of the samples of a run and where each ends, in its order. What stands before an end is a run, too.
pub fn run_times(run: &[u8]) -> impl Iterator<Item = Result<(i64, usize), EntryError>> {
    let mut raws = Raws::of(run);
    std::iter::from_fn(move || {
        let raw = raws.next()?;
        Some(raw.map(|raw| (raw.t, raws.cursor.at)))
    })
}

/// Reads the samples of a run, in its order.
pub fn read_run(run: &[u8]) -> impl Iterator<Item = Result<HistogramSample, EntryError>> {
    let mut base: Option<HistogramSample> = None;
    Raws::of(run).map(move |raw| {
        let Raw { t, kind, body } = raw?;
        let mut cursor = Cursor::new(body);
        let sample = match (kind, &base) {
            (WHOLE, _) => decode(&mut cursor, t)?,
            (ALIKE, Some(base)) => decode_difference(&mut cursor, base, t)?,
            _ => {
                return Err(EntryError::Unknown {
                    what: "histogram of a run",
                    code: kind,
                });
            }
        };

        if !cursor.is_empty() {
            return Err(EntryError::Range(cursor.at));
        }

        if kind == WHOLE {
            base = Some(sample.clone());
        }

        Ok(sample)
    })
}

/// A sample that was not looked into.
struct Raw<'a> {
    t: i64,
    kind: u8,
    body: &'a [u8],
}

struct Raws<'a> {
    cursor: Cursor<'a>,
    t: i64,
}

impl<'a> Raws<'a> {
    fn of(run: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(run),
            t: 0,
        }
    }

    fn read(&mut self) -> Result<Raw<'a>, EntryError> {
        self.t = self.t.wrapping_add(self.cursor.signed()?);
        Ok(Raw {
            t: self.t,
            kind: self.cursor.u8()?,
            body: self.cursor.bytes()?,
        })
    }
}

impl<'a> Iterator for Raws<'a> {
    type Item = Result<Raw<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }

        let raw = self.read();
        if raw.is_err() {
            // Nothing behind it can be found.
            self.cursor = Cursor::default();
        }

        Some(raw)
    }
}

fn have_one_layout(a: &AnyHistogram, b: &AnyHistogram) -> bool {
    macro_rules! are_alike {
        ($a:expr, $b:expr) => {
            $a.reset_hint == $b.reset_hint
                && $a.schema == $b.schema
                && $a.zero_threshold.to_bits() == $b.zero_threshold.to_bits()
                && $a.positive_spans == $b.positive_spans
                && $a.negative_spans == $b.negative_spans
                && $a.positive_buckets.len() == $b.positive_buckets.len()
                && $a.negative_buckets.len() == $b.negative_buckets.len()
                && have_same_bits(&$a.custom_values, &$b.custom_values)
        };
    }

    match (a, b) {
        (AnyHistogram::Int(a), AnyHistogram::Int(b)) => are_alike!(a, b),
        (AnyHistogram::Float(a), AnyHistogram::Float(b)) => are_alike!(a, b),
        _ => false,
    }
}

fn have_same_bits(values: &[f64], others: &[f64]) -> bool {
    values
        .iter()
        .map(|v| v.to_bits())
        .eq(others.iter().map(|v| v.to_bits()))
}

/// What may differ between samples of one layout.
fn words(sample: &HistogramSample) -> Vec<u64> {
    let mut out = Vec::with_capacity(HEAD_WORDS + 16);
    out.push(sample.st as u64);

    match &sample.h {
        AnyHistogram::Int(h) => {
            out.extend([h.zero_count, h.count, h.sum.to_bits()]);
            for deltas in [&h.positive_buckets, &h.negative_buckets] {
                let mut count = 0i64;
                out.extend(deltas.iter().map(|delta| {
                    count = count.wrapping_add(*delta);
                    count as u64
                }));
            }
        }
        AnyHistogram::Float(h) => {
            out.extend([h.zero_count, h.count, h.sum].map(f64::to_bits));
            out.extend(
                h.positive_buckets
                    .iter()
                    .chain(&h.negative_buckets)
                    .map(|count| count.to_bits()),
            );
        }
    }

    out
}

/// The sample of these words with the layout of `base`.
fn from_words(base: &HistogramSample, t: i64, words: &[u64]) -> HistogramSample {
    let (head, buckets) = words.split_at(HEAD_WORDS);
    let sum = f64::from_bits(head[SUM_WORD]);
    let h = match &base.h {
        AnyHistogram::Int(base) => {
            let (positive, negative) = buckets.split_at(base.positive_buckets.len());
            AnyHistogram::Int(Arc::new(Histogram {
                zero_count: head[1],
                count: head[2],
                sum,
                positive_buckets: deltas(positive),
                negative_buckets: deltas(negative),
                positive_spans: base.positive_spans.clone(),
                negative_spans: base.negative_spans.clone(),
                custom_values: base.custom_values.clone(),
                ..**base
            }))
        }
        AnyHistogram::Float(base) => {
            let (positive, negative) = buckets.split_at(base.positive_buckets.len());
            AnyHistogram::Float(Arc::new(FloatHistogram {
                zero_count: f64::from_bits(head[1]),
                count: f64::from_bits(head[2]),
                sum,
                positive_buckets: floats(positive),
                negative_buckets: floats(negative),
                positive_spans: base.positive_spans.clone(),
                negative_spans: base.negative_spans.clone(),
                custom_values: base.custom_values.clone(),
                ..**base
            }))
        }
    };

    HistogramSample {
        t,
        st: head[0] as i64,
        h,
    }
}

fn floats(words: &[u64]) -> Vec<f64> {
    words.iter().map(|word| f64::from_bits(*word)).collect()
}

fn deltas(counts: &[u64]) -> Vec<i64> {
    let mut before = 0;
    counts
        .iter()
        .map(|count: &u64| {
            (*count as i64).wrapping_sub(std::mem::replace(&mut before, *count as i64))
        })
        .collect()
}

fn is_float(h: &AnyHistogram, word: usize) -> bool {
    word == SUM_WORD || (word > 0 && matches!(h, AnyHistogram::Float(_)))
}

fn encode_difference(out: &mut Vec<u8>, base: &HistogramSample, sample: &HistogramSample) {
    let old = words(base);
    let new = words(sample);
    let bits = out.len();

    out.resize(bits + new.len().div_ceil(8), 0);
    for (word, (old, new)) in old
        .iter()
        .zip(&new)
        .enumerate()
        .filter(|(_, (old, new))| old != new)
    {
        out[bits + word / 8] |= 1 << (word % 8);
        if is_float(&base.h, word) {
            // The high bits differ, and the low ones mostly too or not at all.
            put(out, (old ^ new).reverse_bits());
        } else {
            put_signed(out, new.wrapping_sub(*old) as i64);
        }
    }
}

fn decode_difference(
    cursor: &mut Cursor<'_>,
    base: &HistogramSample,
    t: i64,
) -> Result<HistogramSample, EntryError> {
    let mut words = words(base);

    let bits = cursor.take(words.len().div_ceil(8))?;
    for (number, word) in words.iter_mut().enumerate() {
        if bits[number / 8] & 1 << (number % 8) == 0 {
            continue;
        }
        if is_float(&base.h, number) {
            *word ^= cursor.varint()?.reverse_bits();
        } else {
            *word = word.wrapping_add(cursor.signed()? as u64);
        }
    }

    Ok(from_words(base, t, &words))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trireme_model::{ResetHint, Span};

    use super::*;

    fn encoded(sample: &HistogramSample) -> Vec<u8> {
        let mut out = sample.t.to_le_bytes().to_vec();
        encode(&mut out, sample);
        out
    }

    fn int(t: i64, positive: Vec<i64>, negative: Vec<i64>, seed: u64) -> HistogramSample {
        let spans = |buckets: &[i64]| {
            vec![Span {
                offset: 3,
                length: buckets.len() as u32,
            }]
        };

        let h = Histogram {
            reset_hint: if seed.is_multiple_of(7) {
                ResetHint::Gauge
            } else {
                ResetHint::Unknown
            },
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: seed,
            count: seed.wrapping_mul(31),
            sum: f64::from_bits(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            positive_spans: spans(&positive),
            negative_spans: spans(&negative),
            positive_buckets: positive,
            negative_buckets: negative,
            custom_values: if seed.is_multiple_of(5) {
                vec![1.0, f64::NAN]
            } else {
                Vec::new()
            },
        };

        HistogramSample {
            t,
            st: seed as i64 % 3,
            h: AnyHistogram::Int(Arc::new(h)),
        }
    }

    fn float(t: i64, buckets: &[i64], seed: u64) -> HistogramSample {
        let h = FloatHistogram {
            schema: -1,
            count: seed as f64,
            sum: 0.1 * seed as f64,
            positive_spans: vec![Span {
                offset: -3,
                length: buckets.len() as u32,
            }],
            positive_buckets: buckets.iter().map(|n| *n as f64 * 0.5).collect(),
            ..FloatHistogram::default()
        };
        HistogramSample {
            t,
            st: 0,
            h: AnyHistogram::Float(Arc::new(h)),
        }
    }

    fn sample() -> impl Strategy<Value = HistogramSample> {
        let bucket = prop_oneof![Just(0i64), -3..3i64, any::<i64>()];
        let buckets = proptest::collection::vec(bucket, 0..4);
        let time = prop_oneof![0..1_000i64, any::<i64>()];

        (
            time,
            buckets.clone(),
            buckets,
            any::<bool>(),
            prop_oneof![0..20u64, any::<u64>()],
        )
            .prop_map(|(t, positive, negative, is_float, seed)| match is_float {
                true => float(t, &positive, seed),
                false => int(t, positive, negative, seed),
            })
    }

    proptest! {
        #[test]
        fn reads_back_bit_for_bit_what_was_pushed(samples in proptest::collection::vec(sample(), 0..20)) {
            let mut run = Vec::new();
            for sample in &samples {
                push_to_run(&mut run, sample).expect("a run");
            }
            let read: Vec<_> = read_run(&run).map(|sample| encoded(&sample.expect("a run"))).collect();
            prop_assert_eq!(read, samples.iter().map(encoded).collect::<Vec<_>>());
            let times: Vec<_> = run_times(&run).map(|t| t.expect("a run")).collect();
            prop_assert_eq!(times.len(), samples.len());
            for (n, (t, end)) in times.into_iter().enumerate() {
                prop_assert_eq!(t, samples[n].t);
                prop_assert_eq!(read_run(&run[..end]).filter(Result::is_ok).count(), n + 1);
            }
        }

        #[test]
        fn any_bytes_are_a_run_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = read_run(&bytes).take_while(Result::is_ok).count();
            prop_assert!(read <= bytes.len());
            let _ = push_to_run(&mut bytes.clone(), &int(5, vec![1, 2], vec![], 1));
        }
    }

    #[test]
    fn what_did_not_change_takes_a_bit() {
        // One of 160 buckets counts on: its delta rises, and that of the next one falls.
        let buckets = |n: i64| {
            (0..160)
                .map(|i| {
                    if i == 80 {
                        n
                    } else if i == 81 {
                        -n
                    } else {
                        0
                    }
                })
                .collect()
        };

        let mut run = Vec::new();
        push_to_run(&mut run, &int(0, buckets(5), Vec::new(), 1)).expect("a run");
        let first = run.len();

        for n in 1..10 {
            push_to_run(&mut run, &int(n * 15_000, buckets(5 + n), Vec::new(), 1)).expect("a run");
        }

        assert_eq!(
            run.len() - first,
            9 * (3 + 1 + 1 + 21 + 1),
            "time, kind, length, bits, one bucket"
        );
    }
}
