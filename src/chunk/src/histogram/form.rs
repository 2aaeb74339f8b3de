//! The two ways to store a count.

use std::fmt::Debug;

use super::Bits;
use crate::ChunkError;
use crate::bits::BitWriter;
use crate::varbit::{put_int, put_uint, read_int, read_uint};
use crate::xor::{read_xor, xor_code};

/// How counts and buckets of one kind of histogram are stored.
pub(super) trait Form: Clone + Debug {
    /// A count or a stored bucket.
    type Num: Copy + PartialOrd + Default + Debug;
    /// What the next value of a field is coded against.
    type State: Clone + Debug;

    fn put_first_count(w: &mut BitWriter, value: Self::Num);
    fn put_first_bucket(w: &mut BitWriter, value: Self::Num);
    fn read_first_count(r: Bits<'_, '_>) -> Result<Self::Num, ChunkError>;
    fn read_first_bucket(r: Bits<'_, '_>) -> Result<Self::Num, ChunkError>;
    fn state(first: Self::Num) -> Self::State;
    fn put_next(w: &mut BitWriter, state: &mut Self::State, value: Self::Num);
    /// The count of a stale sample, which nobody reads.
    fn put_stale(w: &mut BitWriter, state: &mut Self::State);
    fn read_next(r: Bits<'_, '_>, state: &mut Self::State) -> Result<Self::Num, ChunkError>;
    /// Count as it compares: an integer count is stored as `i64` but means a `u64`.
    fn less(a: Self::Num, b: Self::Num) -> bool;
    /// Stored buckets to counts per bucket.
    fn absolute(stored: &[Self::Num]) -> Vec<Self::Num>;
    /// The reverse of [`Form::absolute`].
    fn stored(absolute: Vec<Self::Num>) -> Vec<Self::Num>;
}

/// Integer counts; stored buckets are deltas to their left neighbour.
#[derive(Clone, Debug)]
pub(super) enum Int {}

/// Float counts; buckets are absolute.
#[derive(Clone, Debug)]
pub(super) enum Float {}

/// Last value and last delta.
#[derive(Clone, Debug)]
pub(super) struct DeltaState {
    value: i64,
    delta: i64,
}

/// Last value and window of significant bits.
#[derive(Clone, Debug)]
pub(super) struct XorState {
    pub(super) value: u64,
    leading: u8,
    trailing: u8,
}

impl XorState {
    pub(super) fn new(first: f64) -> Self {
        Self {
            value: first.to_bits(),
            leading: 0xff,
            trailing: 0,
        }
    }

    pub(super) fn put(&mut self, w: &mut BitWriter, value: f64) {
        let (code, n) = xor_code(
            value.to_bits() ^ self.value,
            &mut self.leading,
            &mut self.trailing,
        );
        w.push(code, n);
        self.value = value.to_bits();
    }

    pub(super) fn read(&mut self, r: Bits<'_, '_>) -> Result<f64, ChunkError> {
        self.value ^= read_xor(r, &mut self.leading, &mut self.trailing)?;
        Ok(f64::from_bits(self.value))
    }
}

impl Form for Int {
    type Num = i64;
    type State = DeltaState;

    fn put_first_count(w: &mut BitWriter, value: i64) {
        put_uint(w, value as u64);
    }

    fn put_first_bucket(w: &mut BitWriter, value: i64) {
        put_int(w, value);
    }

    fn read_first_count(r: Bits<'_, '_>) -> Result<i64, ChunkError> {
        Ok(read_uint(r)? as i64)
    }

    fn read_first_bucket(r: Bits<'_, '_>) -> Result<i64, ChunkError> {
        read_int(r)
    }

    fn state(first: i64) -> DeltaState {
        DeltaState {
            value: first,
            delta: 0,
        }
    }

    fn put_next(w: &mut BitWriter, state: &mut DeltaState, value: i64) {
        let delta = value.wrapping_sub(state.value);
        put_int(w, delta.wrapping_sub(state.delta));
        *state = DeltaState { value, delta };
    }

    fn put_stale(w: &mut BitWriter, _: &mut DeltaState) {
        put_int(w, 0);
    }

    fn read_next(r: Bits<'_, '_>, state: &mut DeltaState) -> Result<i64, ChunkError> {
        state.delta = state.delta.wrapping_add(read_int(r)?);
        state.value = state.value.wrapping_add(state.delta);
        Ok(state.value)
    }

    fn less(a: i64, b: i64) -> bool {
        (a as u64) < b as u64
    }

    fn absolute(stored: &[i64]) -> Vec<i64> {
        let mut sum = 0i64;
        let absolute = stored.iter().map(|delta| {
            sum = sum.wrapping_add(*delta);
            sum
        });
        absolute.collect()
    }

    fn stored(absolute: Vec<i64>) -> Vec<i64> {
        let mut last = 0i64;
        let deltas = absolute
            .into_iter()
            .map(|value| value.wrapping_sub(std::mem::replace(&mut last, value)));
        deltas.collect()
    }
}

impl Form for Float {
    type Num = f64;
    type State = XorState;

    fn put_first_count(w: &mut BitWriter, value: f64) {
        w.push(u128::from(value.to_bits()), 64);
    }

    fn put_first_bucket(w: &mut BitWriter, value: f64) {
        Self::put_first_count(w, value);
    }

    fn read_first_count(r: Bits<'_, '_>) -> Result<f64, ChunkError> {
        Ok(f64::from_bits(r.bits(64)?))
    }

    fn read_first_bucket(r: Bits<'_, '_>) -> Result<f64, ChunkError> {
        Self::read_first_count(r)
    }

    fn state(first: f64) -> XorState {
        XorState::new(first)
    }

    fn put_next(w: &mut BitWriter, state: &mut XorState, value: f64) {
        state.put(w, value);
    }

    fn put_stale(w: &mut BitWriter, state: &mut XorState) {
        state.put(w, 0.0);
    }

    fn read_next(r: Bits<'_, '_>, state: &mut XorState) -> Result<f64, ChunkError> {
        state.read(r)
    }

    fn less(a: f64, b: f64) -> bool {
        a < b
    }

    fn absolute(stored: &[f64]) -> Vec<f64> {
        stored.to_vec()
    }

    fn stored(absolute: Vec<f64>) -> Vec<f64> {
        absolute
    }
}
