//! Parameters of a search, and how well a text matches its terms.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Comparing takes the square of the length, which is bounded elsewhere.
    trireme_api::fuzzing::search(&bytes[..bytes.len().min(2_048)]);
});
