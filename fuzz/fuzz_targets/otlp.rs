//! OTLP metrics requests after inflating, protobuf and JSON.

#![no_main]

use trireme_remote::DecodeLimits;
use trireme_remote::otlp::{OtlpOptions, decode, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = DecodeLimits {
        series_max: 1_000,
        samples_max: 10_000,
        ..DecodeLimits::default()
    };
    if let Ok(decoded) = decode(bytes, 7, &limits, &OtlpOptions::default()) {
        assert!(decoded.batch.series.len() <= limits.series_max);
    }
    if let Ok(protobuf) = json::to_protobuf(bytes) {
        let _ = decode(&protobuf, 7, &limits, &OtlpOptions::default());
    }
});
