//! Remote read requests, compressed and after inflating.

#![no_main]

use trireme_remote::read::decode;
use trireme_remote::snappy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes);
    if let Ok(body) = snappy::deflate(bytes)
        && let Ok(request) = decode(&body)
    {
        for matcher in request.queries.iter().flat_map(|query| &query.matchers) {
            let _ = matcher.matches("a");
        }
    }
});
