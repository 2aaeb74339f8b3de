//! XOR2 chunks.

#![no_main]

use trireme_chunk::decode_xor2_into;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut times, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    let decoded = decode_xor2_into(bytes, &mut times, &mut values, Some(&mut starts));
    assert!(decoded.is_err() || (times.len() == values.len() && times.len() == starts.len()));
});
