//! Ways in for fuzz targets: what reads text from outside, without a server around it. No part of the interface.

/// A search: its query string, and behind the first line break a text that is compared with its terms.
pub fn search(bytes: &[u8]) {
    crate::prom::fuzz_search(bytes);
}

/// A scrape: the header `Accept`, then metric, label and value of each series, all with a zero byte between them.
pub fn federate(bytes: &[u8]) {
    crate::federate::fuzz(bytes);
}
