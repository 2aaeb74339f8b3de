//! XOR chunks: what decodes encodes to a chunk that decodes to the same samples.

#![no_main]

use trireme_chunk::{XorAppender, decode_into};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    if decode_into(bytes, &mut times, &mut values).is_err() || times.is_empty() {
        return;
    }
    let mut again = Vec::new();
    let mut open = XorAppender::start(&mut again);
    times
        .iter()
        .zip(&values)
        .for_each(|(t, v)| open.append(&mut again, *t, *v));
    let (mut times_again, mut values_again) = (Vec::new(), Vec::new());
    decode_into(&again, &mut times_again, &mut values_again).expect("just written");
    assert_eq!(times, times_again);
    assert!(
        values
            .iter()
            .map(|v| v.to_bits())
            .eq(values_again.iter().map(|v| v.to_bits()))
    );
});
