//! The numbers of one sample after the other.

use trireme_model::{ResetHint, Span};

use super::Bits;
use super::form::{Form, XorState};
use super::layout::{Layout, bucket_count};
use super::parts::Parts;
use crate::ChunkError;
use crate::bits::BitWriter;
use crate::varbit::{put_int, read_int};

/// What the next sample is coded against.
#[derive(Clone, Debug)]
pub(super) struct Fields<F: Form> {
    pub(super) t: i64,
    t_delta: i64,
    count: F::State,
    zero_count: F::State,
    sum: XorState,
    positive: Vec<F::State>,
    negative: Vec<F::State>,
}

impl<F: Form> Fields<F> {
    fn after_first(t: i64, p: &Parts<F>) -> Self {
        Self {
            t,
            t_delta: 0,
            count: F::state(p.count),
            zero_count: F::state(p.zero_count),
            sum: XorState::new(p.sum),
            positive: p.positive.iter().map(|n| F::state(*n)).collect(),
            negative: p.negative.iter().map(|n| F::state(*n)).collect(),
        }
    }

    /// Writes the first sample, behind the layout.
    pub(super) fn put_first(w: &mut BitWriter, t: i64, p: &Parts<F>) -> Self {
        put_int(w, t);
        F::put_first_count(w, p.count);
        F::put_first_count(w, p.zero_count);
        w.push(u128::from(p.sum.to_bits()), 64);

        for bucket in p.positive.iter().chain(&p.negative) {
            F::put_first_bucket(w, *bucket);
        }

        Self::after_first(t, p)
    }

    /// Writes a later sample, whose buckets are those of the chunk's layout, or a stale one.
    pub(super) fn put_next(&mut self, w: &mut BitWriter, t: i64, p: &Parts<F>) {
        let t_delta = t.wrapping_sub(self.t);
        put_int(w, t_delta.wrapping_sub(self.t_delta));
        (self.t, self.t_delta) = (t, t_delta);

        if p.is_stale() {
            F::put_stale(w, &mut self.count);
            F::put_stale(w, &mut self.zero_count);
            return self.sum.put(w, p.sum);
        }

        F::put_next(w, &mut self.count, p.count);
        F::put_next(w, &mut self.zero_count, p.zero_count);
        self.sum.put(w, p.sum);
        debug_assert_eq!(
            (self.positive.len(), self.negative.len()),
            (p.positive.len(), p.negative.len())
        );

        let states = self.positive.iter_mut().chain(&mut self.negative);
        for (state, bucket) in states.zip(p.positive.iter().chain(&p.negative)) {
            F::put_next(w, state, *bucket);
        }
    }

    /// Reads the first sample.
    pub(super) fn read_first(
        r: Bits<'_, '_>,
        layout: &Layout,
    ) -> Result<(Self, Parts<F>), ChunkError> {
        let t = read_int(r)?;
        let count = F::read_first_count(r)?;
        let zero_count = F::read_first_count(r)?;
        let sum = f64::from_bits(r.bits(64)?);
        let positive = read_first_buckets::<F>(r, &layout.positive)?;
        let negative = read_first_buckets::<F>(r, &layout.negative)?;
        let hint = ResetHint::Unknown;
        let p = Parts {
            hint,
            layout: layout.clone(),
            count,
            zero_count,
            sum,
            positive,
            negative,
        };

        Ok((Self::after_first(t, &p), p))
    }

    /// Reads a later sample.
    pub(super) fn read_next(
        &mut self,
        r: Bits<'_, '_>,
        layout: &Layout,
    ) -> Result<Parts<F>, ChunkError> {
        self.t_delta = self.t_delta.wrapping_add(read_int(r)?);
        self.t = self.t.wrapping_add(self.t_delta);
        let count = F::read_next(r, &mut self.count)?;
        let zero_count = F::read_next(r, &mut self.zero_count)?;
        let sum = self.sum.read(r)?;
        let mut p = Parts {
            hint: ResetHint::NotReset,
            layout: Layout::default(),
            count,
            zero_count,
            sum,
            positive: Vec::new(),
            negative: Vec::new(),
        };

        // A stale sample ends here.
        if !p.is_stale() {
            p.positive = self
                .positive
                .iter_mut()
                .map(|state| F::read_next(r, state))
                .collect::<Result<_, _>>()?;
            p.negative = self
                .negative
                .iter_mut()
                .map(|state| F::read_next(r, state))
                .collect::<Result<_, _>>()?;
            p.layout = layout.clone();
        }

        Ok(p)
    }
}

fn read_first_buckets<F: Form>(r: Bits<'_, '_>, spans: &[Span]) -> Result<Vec<F::Num>, ChunkError> {
    (0..bucket_count(spans))
        .map(|_| F::read_first_bucket(r))
        .collect()
}
