//! Remote write 2.0 requests after inflating.

#![no_main]

use trireme_remote::{DecodeLimits, rw2};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = DecodeLimits {
        series_max: 1_000,
        samples_max: 10_000,
        ..DecodeLimits::default()
    };
    if let Ok(decoded) = rw2::decode(bytes, 7, &limits) {
        assert!(decoded.batch.series.len() <= limits.series_max);
    }
});
