//! Snappy bodies: never more output than the cap.

#![no_main]

use trireme_remote::snappy;

const LIMIT: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    if snappy::inflate(bytes, LIMIT, &mut out).is_ok() {
        assert!(out.len() <= LIMIT);
        assert_eq!(snappy::inflated_len(bytes).ok(), Some(out.len()));
    }
    assert!(out.capacity() <= LIMIT + (64 << 10));
});
