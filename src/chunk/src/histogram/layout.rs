//! What all histograms of a chunk share.

use trireme_model::{CUSTOM_BUCKETS_SCHEMA, Span};

use super::Bits;
use crate::ChunkError;
use crate::bits::BitWriter;
use crate::varbit::{put_int, put_uint, read_int, read_uint};

/// Custom bounds up to this many thousandths are stored as integers.
const CUSTOM_INT_MAX: f64 = 33_554_430.0;

/// Resolution, zero bucket and buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive: Vec<Span>,
    pub(super) negative: Vec<Span>,
    pub(super) custom: Vec<f64>,
}

impl Layout {
    /// Says what is wrong with spans or schema.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !(-9..=52).contains(&self.schema) && self.schema != CUSTOM_BUCKETS_SCHEMA {
            return Err("unknown histogram schema");
        }

        for spans in [&self.positive, &self.negative] {
            if spans.iter().skip(1).any(|span| span.offset < 0) {
                return Err("spans overlap");
            }
            Span::check_reach(spans).map_err(|_| "bucket index over 32 bits")?;
        }

        Ok(())
    }

    pub(super) fn put(&self, w: &mut BitWriter) {
        put_zero_threshold(w, self.zero_threshold);
        put_int(w, i64::from(self.schema));

        for spans in [&self.positive, &self.negative] {
            put_uint(w, spans.len() as u64);
            for span in spans {
                put_uint(w, u64::from(span.length));
                put_int(w, i64::from(span.offset));
            }
        }

        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            put_uint(w, self.custom.len() as u64);
            for bound in &self.custom {
                put_custom_bound(w, *bound);
            }
        }
    }

    pub(super) fn read(r: Bits<'_, '_>) -> Result<Self, ChunkError> {
        let zero_threshold = read_zero_threshold(r)?;
        let schema =
            i32::try_from(read_int(r)?).map_err(|_| r.malformed("unknown histogram schema"))?;
        let positive = read_spans(r)?;
        let negative = read_spans(r)?;

        let mut custom = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            let n = read_uint(r)?;
            // A bound takes more than one bit: refuse a false number before allocating for it.
            if n > r.remaining() as u64 {
                return Err(ChunkError::Truncated(r.position()));
            }
            for _ in 0..n {
                custom.push(read_custom_bound(r)?);
            }
        }

        let layout = Self {
            schema,
            zero_threshold,
            positive,
            negative,
            custom,
        };

        layout.check().map_err(|what| r.malformed(what))?;
        // Every bucket of the first sample takes a bit or more.
        if bucket_count(&layout.positive) + bucket_count(&layout.negative) > r.remaining() as u64 {
            return Err(ChunkError::Truncated(r.position()));
        }

        Ok(layout)
    }
}

fn read_spans(r: Bits<'_, '_>) -> Result<Vec<Span>, ChunkError> {
    let n = read_uint(r)?;
    // A span takes two bits or more.
    if n > r.remaining() as u64 {
        return Err(ChunkError::Truncated(r.position()));
    }

    let mut spans = Vec::with_capacity(n as usize);
    for _ in 0..n {
        let length =
            u32::try_from(read_uint(r)?).map_err(|_| r.malformed("span length over 32 bits"))?;
        let offset =
            i32::try_from(read_int(r)?).map_err(|_| r.malformed("span offset over 32 bits"))?;
        spans.push(Span { offset, length });
    }

    Ok(spans)
}

/// Exponent of a power of two by C's `frexp`, whose mantissa is in `[0.5, 1)`.
fn power_of_two(x: f64) -> Option<i32> {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32;
    (x > 0.0 && exponent > 0 && x.to_bits() << 12 == 0).then_some(exponent - 1022)
}

fn put_zero_threshold(w: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        return w.push(0, 8);
    }
    match power_of_two(threshold).filter(|e| (-242..=11).contains(e)) {
        Some(exponent) => w.push((exponent + 243) as u128, 8),
        None => w.push(0xff << 64 | u128::from(threshold.to_bits()), 72),
    }
}

fn read_zero_threshold(r: Bits<'_, '_>) -> Result<f64, ChunkError> {
    Ok(match r.byte()? {
        0 => 0.0,
        255 => f64::from_bits(r.bits(64)?),
        byte => f64::from_bits((i64::from(byte) - 243 + 1022) as u64 * (1 << 52)),
    })
}

fn put_custom_bound(w: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = (0.0..=CUSTOM_INT_MAX).contains(&thousandths) && thousandths.trunc() == thousandths;

    // Rounding can make the product whole for a bound that the quotient does not give back.
    if whole && thousandths / 1000.0 == bound {
        put_uint(w, thousandths as u64 + 1);
    } else {
        w.push(u128::from(bound.to_bits()), 65);
    }
}

fn read_custom_bound(r: Bits<'_, '_>) -> Result<f64, ChunkError> {
    match read_uint(r)? {
        0 => Ok(f64::from_bits(r.bits(64)?)),
        thousandths => Ok((thousandths - 1) as f64 / 1000.0),
    }
}

/// Buckets that spans describe.
pub(super) fn bucket_count(spans: &[Span]) -> u64 {
    spans.iter().map(|s| u64::from(s.length)).sum()
}

/// Index of every bucket, ascending.
pub(super) fn indexes(spans: &[Span]) -> impl Iterator<Item = i32> {
    let mut next = 0i64;
    spans.iter().flat_map(move |span: &Span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        (start..next).map(|i| i as i32)
    })
}

/// Spans that cover the buckets of both; adjoining spans are merged.
pub(super) fn union(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut all: Vec<i32> = indexes(a).chain(indexes(b)).collect();
    all.sort_unstable();
    all.dedup();

    let mut spans: Vec<Span> = Vec::new();

    let mut end = 0i64;
    for index in all {
        let mut offset = i64::from(index) - end;
        // A gap may be wider than an offset can say.
        while offset > i64::from(i32::MAX) {
            spans.push(Span {
                offset: i32::MAX,
                length: 0,
            });
            offset -= i64::from(i32::MAX);
        }

        match spans.last_mut() {
            Some(last) if offset == 0 => last.length += 1,
            _ => spans.push(Span {
                offset: offset as i32,
                length: 1,
            }),
        }

        end = i64::from(index) + 1;
    }

    spans
}

/// Moves counts from the buckets of `from` to those of `to`, which covers them; new buckets are 0.
pub(super) fn spread<N: Copy + Default>(counts: &[N], from: &[Span], to: &[Span]) -> Vec<N> {
    let mut old = indexes(from).zip(counts).peekable();
    indexes(to)
        .map(|index| {
            old.next_if(|(i, _)| *i == index)
                .map_or(N::default(), |(_, count)| *count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitReader;

    #[test]
    fn zero_thresholds_come_back_and_powers_of_two_take_a_byte() {
        let small = 2f64.powi(-128);
        for (x, bytes) in [
            (0.0, 1),
            (small, 1),
            (2f64.powi(-243), 1),
            (1024.0, 1),
            (0.001, 9),
            (2048.0, 9),
            (2f64.powi(-244), 9),
        ] {
            let mut w = BitWriter::with_header(&[]);
            put_zero_threshold(&mut w, x);
            assert_eq!(w.bytes().len(), bytes, "{x}");
            assert_eq!(read_zero_threshold(&mut BitReader::new(w.bytes())), Ok(x));
        }

        let mut w = BitWriter::with_header(&[]);
        put_zero_threshold(&mut w, small);
        assert_eq!(
            w.bytes(),
            [116],
            "the byte Prometheus documents for its default threshold"
        );
    }

    #[test]
    fn custom_bounds_come_back() {
        for x in [
            0.0,
            0.001,
            0.25,
            33_554.43,
            33_554.431,
            -1.0,
            1.0 / 3.0,
            f64::INFINITY,
        ] {
            let mut w = BitWriter::with_header(&[]);
            put_custom_bound(&mut w, x);
            assert_eq!(read_custom_bound(&mut BitReader::new(w.bytes())), Ok(x));
        }
    }

    #[test]
    fn union_covers_both_and_keeps_counts() {
        let span = |offset, length| Span { offset, length };
        let a = [span(-1, 2), span(3, 1)];
        let b = [span(0, 3), span(0, 0), span(1, 1)];
        let both = union(&a, &b);

        assert_eq!(both, [span(-1, 4), span(1, 1)]);
        assert_eq!(spread(&[7, 8, 9], &a, &both), [7, 8, 0, 0, 9]);
        let far = union(&[span(i32::MIN + 1, 1)], &[span(i32::MAX, 1)]);

        assert_eq!(indexes(&far).collect::<Vec<_>>(), [i32::MIN + 1, i32::MAX]);
        assert_eq!(
            Layout {
                positive: far,
                ..Layout::default()
            }
            .check(),
            Ok(())
        );
    }
}
