//! Payloads of log records, read item by item.

#![no_main]

use trireme_wire::entry::EntryReader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = EntryReader::new(bytes) {
        // Every item costs at least a byte or, in runs, part of one; no payload may describe far more than it holds.
        let mut definitions = entry.definitions();
        let items = std::iter::from_fn(|| definitions.next().map(|definition| definition.is_ok()))
            .count()
            + entry.floats().take_while(Result::is_ok).count()
            + entry.histograms().take_while(Result::is_ok).count()
            + entry.exemplars().take_while(Result::is_ok).count()
            + entry.metadata().take_while(Result::is_ok).count();
        assert!(items <= 8 * bytes.len());
    }
});
