use proptest::prelude::*;

use super::*;

fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut appender = XorAppender::start(&mut buf);
    for (t, v) in samples {
        appender.append(&mut buf, *t, *v);
    }
    assert_eq!(appender.byte_len(), buf.len());
    buf
}

fn decode(chunk: &[u8]) -> Result<Vec<(i64, u64)>, ChunkError> {
    let mut times = Vec::new();
    let mut values = Vec::new();
    decode_into(chunk, &mut times, &mut values)?;
    Ok(times
        .into_iter()
        .zip(values.into_iter().map(f64::to_bits))
        .collect())
}

fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples.iter().map(|(t, v)| (*t, v.to_bits())).collect()
}

/// Samples with the shapes that real series have, next to arbitrary ones.
fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![
        Just(15_000i64),
        14_900i64..15_100,
        1i64..1 << 40,
        Just(i64::MAX)
    ];

    let value = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (0u32..1000).prop_map(f64::from),
        Just(f64::from_bits(0x7ff0_0000_0000_0002)),
        Just(1.5),
    ];

    (any::<i64>(), prop::collection::vec((step, value), 0..300)).prop_map(|(start, steps)| {
        let mut t = start;
        steps
            .into_iter()
            .map(|(step, v)| {
                t = t.wrapping_add(step);
                (t, v)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn samples_come_back_bit_for_bit(samples in samples()) {
        prop_assert_eq!(decode(&encode(&samples)), Ok(bits(&samples)));
    }

    #[test]
    fn every_truncation_is_an_error(samples in samples()) {
        let chunk = encode(&samples);
        for len in 0..chunk.len() {
            prop_assert!(decode(&chunk[..len]).is_err(), "cut to {} of {}", len, chunk.len());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let _ = XorAppender::resume(&bytes);
    }

    #[test]
    fn a_resumed_chunk_continues_with_the_same_bytes(samples in samples(), at in any::<prop::sample::Index>()) {
        let at = at.index(samples.len() + 1);
        let mut buf = encode(&samples[..at]);
        let mut resumed = XorAppender::resume(&buf).expect("own chunk");
        let saved = XorAppender::from_bytes(&resumed.to_bytes(), &buf).expect("own state");
        prop_assert_eq!(saved, resumed);
        for (t, v) in &samples[at..] {
            resumed.append(&mut buf, *t, *v);
        }
        prop_assert_eq!(buf, encode(&samples));
    }
}

#[test]
fn bytes_are_those_of_prometheus() {
    // Worked by hand from the format: t0=1000, v0=1.0; dt=15000, same value; dod=0, v=2.0.
    let chunk = encode(&[(1_000, 1.0), (16_000, 1.0), (31_000, 2.0)]);
    let mut want = vec![0, 3, 0xd0, 0x0f];

    want.extend_from_slice(&1f64.to_bits().to_be_bytes());
    want.extend_from_slice(&[0x98, 0x75]);

    // Value 0 | dod 0 | 11, leading 1, significant 11, 0x7ff: 1.0 ^ 2.0 is 0x7ff0 << 48.
    want.extend_from_slice(&[0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000]);
    assert_eq!(chunk, want);
}

#[test]
fn state_stays_small() {
    assert_eq!(size_of::<XorAppender>(), XorAppender::STATE_BYTES);
}

#[test]
fn a_state_of_another_chunk_is_refused() {
    let mut chunk = encode(&[(1, 1.0), (2, 3.0)]);
    let state = XorAppender::resume(&chunk).expect("own chunk").to_bytes();
    chunk.push(0);
    assert!(XorAppender::from_bytes(&state, &chunk).is_err());
    chunk.clear();
    assert!(XorAppender::from_bytes(&state, &chunk).is_err());
}

#[test]
fn one_sample_never_takes_more_than_promised() {
    let mut buf = Vec::new();
    let mut appender = XorAppender::start(&mut buf);

    let mut t = 0i64;
    for i in 0..2_000u64 {
        let before = buf.len();
        t = t.wrapping_add(1 << (i % 62));
        appender.append(
            &mut buf,
            t,
            f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        assert!(buf.len() - before <= XorAppender::SAMPLE_BYTES_MAX);
    }
}
