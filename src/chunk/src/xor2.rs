//! Encoding 4: floats with start timestamps and one joint code for time and value.
//!
//! ```text
//! count u16 | start header 1B | t0 varint, v0 64 bits | t1-t0 uvarint, value | { joint }*   a start behind each
//! joint  0 dod 0, same value | 10 dod 0, changed | 110 +13 bits dod, value | 1110 +20 | 11110 +64
//!        | 11111 dod 0, stale
//! value  0 same | 10 last window | 110 new window | 111 stale     after joint 10:  0 last window | 1 new window
//! ```
//!
//! A stale marker is not what later values are coded against. Blocks are written with encoding 1, which every
//! Prometheus reads, unless start timestamps are to be kept.

use trireme_model::{STALE_NAN, is_stale};

use crate::ChunkError;
use crate::bits::{BitReader, BitWriter, count_of};
use crate::start::StartState;
use crate::xor::{Window, low, read_reused, read_window, window};

const NO_WINDOW: u8 = 0xff;

/// An open float chunk with start timestamps; it always holds a complete, readable chunk.
#[derive(Clone, Debug)]
pub struct Xor2Appender {
    w: BitWriter,
    count: u16,
    t: i64,
    t_delta: u64,
    v: u64,
    leading: u8,
    trailing: u8,
    start: StartState,
}

impl Default for Xor2Appender {
    fn default() -> Self {
        Self {
            w: BitWriter::with_header(&[0; 3]),
            count: 0,
            t: 0,
            t_delta: 0,
            v: 0,
            leading: NO_WINDOW,
            trailing: 0,
            start: StartState::default(),
        }
    }
}

impl Xor2Appender {
    /// Appends a sample; `t` (ms) is after the last one, `st` is its start timestamp (ms) or 0 for none.
    pub fn append(&mut self, st: i64, t: i64, v: f64) -> Result<(), ChunkError> {
        if self.count == u16::MAX {
            return Err(ChunkError::Full(self.count));
        }

        match self.count {
            0 => {
                self.w.varint(t);
                self.w.push(u128::from(v.to_bits()), 64);
            }
            1 => {
                self.t_delta = t.wrapping_sub(self.t) as u64;
                self.w.uvarint(self.t_delta);
                self.put_value(v);
            }
            _ => {
                let t_delta = t.wrapping_sub(self.t) as u64;
                let dod = t_delta.wrapping_sub(self.t_delta) as i64;
                self.t_delta = t_delta;
                self.put_joint(dod, v);
            }
        }

        self.start.put(&mut self.w, self.count, t, self.t, st);
        self.t = t;

        if !is_stale(v) {
            self.v = v.to_bits();
        }

        self.count += 1;
        let [high, low] = self.count.to_be_bytes();
        *self.w.header() = [high, low, self.start.header()];

        Ok(())
    }

    fn put_joint(&mut self, dod: i64, v: f64) {
        if dod == 0 {
            return self.put_on_time(v);
        }

        if fits(dod, 13) {
            self.w.push(0b110 << 13 | low(dod, 13), 16);
        } else if fits(dod, 20) {
            self.w.push(0b1110 << 20 | low(dod, 20), 24);
        } else {
            self.w.push(0b11110 << 64 | u128::from(dod as u64), 69);
        }

        self.put_value(v);
    }

    /// Appends the value of a sample that comes when it is expected.
    #[inline]
    fn put_on_time(&mut self, v: f64) {
        match v.to_bits() ^ self.v {
            _ if is_stale(v) => self.w.push(0b11111, 5),
            0 => self.w.push(0, 1),
            delta => {
                self.w.push(0b10, 2);
                match window(delta, &mut self.leading, &mut self.trailing) {
                    Window::Reused(bits, n) => self.w.push(u128::from(bits), 1 + n),
                    Window::New(header, bits, n) => self.put_window(1, 1, header, bits, n),
                }
            }
        }
    }

    fn put_value(&mut self, v: f64) {
        if is_stale(v) {
            return self.w.push(0b111, 3);
        }

        let delta = v.to_bits() ^ self.v;
        if delta == 0 {
            return self.w.push(0, 1);
        }

        match window(delta, &mut self.leading, &mut self.trailing) {
            Window::Reused(bits, n) => self.w.push(0b10 << n | u128::from(bits), 2 + n),
            Window::New(header, bits, n) => self.put_window(0b110, 3, header, bits, n),
        }
    }

    fn put_window(&mut self, prefix: u128, prefix_bits: u32, header: u64, bits: u64, n: u32) {
        self.w.push(
            (prefix << 11 | u128::from(header)) << n | u128::from(bits),
            prefix_bits + 11 + n,
        );
    }

    /// The chunk.
    pub fn bytes(&self) -> &[u8] {
        self.w.bytes()
    }

    /// Samples so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Time (ms) of the last sample; 0 in an empty chunk.
    pub fn last_time(&self) -> i64 {
        self.t
    }
}

/// Plain two's complement here, unlike in encoding 1.
#[inline]
fn fits(dod: i64, n: u32) -> bool {
    (-(1i64 << (n - 1))..1i64 << (n - 1)).contains(&dod)
}

/// Appends all samples of an encoding 4 chunk to `times` (ms) and `values`, and their start timestamps (0 for
/// none) to `starts` if given; nothing is changed on an error.
pub fn decode_xor2_into(
    chunk: &[u8],
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
    mut starts: Option<&mut Vec<i64>>,
) -> Result<(), ChunkError> {
    let before = (
        times.len(),
        values.len(),
        starts.as_ref().map_or(0, |s| s.len()),
    );

    let mut reader = Reader::new(chunk)?;
    for index in 0..reader.count {
        match reader.next(index) {
            Ok((st, v)) => {
                times.push(reader.t);
                values.push(v);
                if let Some(starts) = &mut starts {
                    starts.push(st);
                }
            }
            Err(error) => {
                times.truncate(before.0);
                values.truncate(before.1);
                if let Some(starts) = starts {
                    starts.truncate(before.2);
                }
                return Err(error);
            }
        }
    }

    Ok(())
}

struct Reader<'a> {
    bits: BitReader<'a>,
    count: u16,
    t: i64,
    t_delta: u64,
    v: u64,
    leading: u8,
    trailing: u8,
    start: StartState,
}

impl<'a> Reader<'a> {
    fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let count = count_of(chunk)?;
        let mut bits = BitReader::new(chunk);
        bits.short(16)?;

        let start = StartState::of_header(bits.byte()?);
        Ok(Self {
            bits,
            count,
            t: 0,
            t_delta: 0,
            v: 0,
            leading: NO_WINDOW,
            trailing: 0,
            start,
        })
    }

    /// The next sample's start and value; its time is left in `t`.
    fn next(&mut self, index: u16) -> Result<(i64, f64), ChunkError> {
        let before = self.t;
        let v = match index {
            0 => {
                self.t = self.bits.varint()?;
                let v = self.bits.bits(64)?;
                // Not a baseline if stale, as for every other sample.
                if v != STALE_NAN {
                    self.v = v;
                }
                v
            }
            1 => {
                self.t_delta = self.bits.uvarint()?;
                self.step();
                self.value()?
            }
            _ => self.joint()?,
        };

        let st = self.start.read(&mut self.bits, index, self.t, before)?;
        Ok((st, f64::from_bits(v)))
    }

    fn step(&mut self) {
        self.t = self.t.wrapping_add(self.t_delta as i64);
    }

    fn joint(&mut self) -> Result<u64, ChunkError> {
        let dod_bits = match self.bits.ones(5)? {
            2 => 13,
            3 => 20,
            4 => 64,
            unchanged_dod => {
                self.step();
                match unchanged_dod {
                    0 => {}
                    1 if self.bits.ones(1)? == 0 => {
                        self.v ^=
                            read_reused(&mut self.bits, &mut self.leading, &mut self.trailing)?;
                    }
                    1 => {
                        self.v ^=
                            read_window(&mut self.bits, &mut self.leading, &mut self.trailing)?
                    }
                    _ => return Ok(STALE_NAN),
                }

                return Ok(self.v);
            }
        };

        let dod = self.bits.bits(dod_bits)? << (64 - dod_bits);
        self.t_delta = self
            .t_delta
            .wrapping_add((dod as i64 >> (64 - dod_bits)) as u64);
        self.step();

        self.value()
    }

    fn value(&mut self) -> Result<u64, ChunkError> {
        match self.bits.ones(3)? {
            0 => {}
            1 => self.v ^= read_reused(&mut self.bits, &mut self.leading, &mut self.trailing)?,
            2 => self.v ^= read_window(&mut self.bits, &mut self.leading, &mut self.trailing)?,
            _ => return Ok(STALE_NAN),
        }
        Ok(self.v)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Samples = Vec<(i64, i64, f64)>;

    fn encode(samples: &Samples) -> Vec<u8> {
        let mut open = Xor2Appender::default();
        for (st, t, v) in samples {
            open.append(*st, *t, *v).expect("not full");
        }
        open.bytes().to_vec()
    }

    fn decode(chunk: &[u8]) -> Result<Vec<(i64, i64, u64)>, ChunkError> {
        let mut times = Vec::new();
        let mut values = Vec::new();
        let mut starts = Vec::new();

        decode_xor2_into(chunk, &mut times, &mut values, Some(&mut starts))?;
        Ok(starts
            .into_iter()
            .zip(times)
            .zip(values)
            .map(|((st, t), v)| (st, t, v.to_bits()))
            .collect())
    }

    fn samples() -> impl Strategy<Value = Samples> {
        let step = prop_oneof![Just(15_000i64), 14_900i64..15_100, 1i64..1 << 40];
        let value = prop_oneof![
            (0u32..100).prop_map(f64::from),
            any::<u64>().prop_map(f64::from_bits),
            Just(f64::from_bits(STALE_NAN)),
            Just(1.5),
        ];

        let start =
            prop_oneof![8 => Just(None), 1 => (0i64..1 << 41).prop_map(Some), 1 => Just(Some(0))];
        (
            any::<i32>(),
            prop::collection::vec((step, value, start), 0..200),
        )
            .prop_map(|(first, steps)| {
                let mut t = i64::from(first);
                let mut st = 0;
                steps
                    .into_iter()
                    .map(|(step, v, start)| {
                        t += step;
                        st = start.unwrap_or(st);
                        (st, t, v)
                    })
                    .collect()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn samples_and_starts_come_back_bit_for_bit(samples in samples()) {
            let want: Vec<_> = samples.iter().map(|(st, t, v)| (*st, *t, v.to_bits())).collect();
            prop_assert_eq!(decode(&encode(&samples)), Ok(want));
        }

        #[test]
        fn every_truncation_is_an_error(samples in samples()) {
            let chunk = encode(&samples);
            for len in 0..chunk.len() {
                prop_assert!(decode(&chunk[..len]).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_start_that_changes_behind_the_reach_of_the_header_is_kept() {
        let samples: Samples = (0..200)
            .map(|i| (if i < 150 { 0 } else { 77 }, i * 10, 1.0))
            .collect();
        let starts: Vec<_> = decode(&encode(&samples))
            .expect("own chunk")
            .iter()
            .map(|s| s.0)
            .collect();

        assert_eq!((starts[149], starts[150], starts[199]), (0, 77, 77));
    }
}
