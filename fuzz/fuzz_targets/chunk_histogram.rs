//! Histogram chunks in all their encodings.

#![no_main]

use trireme_chunk::{Encoding, decode_histograms};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for encoding in [
        Encoding::Histogram,
        Encoding::FloatHistogram,
        Encoding::HistogramSt,
        Encoding::FloatHistogramSt,
    ] {
        let _ = decode_histograms(encoding, bytes);
    }
});
