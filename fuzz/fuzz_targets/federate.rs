//! The header `Accept` of a scrape, and the series in the format that it asks for.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    trireme_api::fuzzing::federate(bytes);
});
