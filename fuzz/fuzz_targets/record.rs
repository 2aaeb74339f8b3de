//! Log records one after another, as recovery and followers read them.

#![no_main]

use bytes::Bytes;
use trireme_wire::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut rest = Bytes::copy_from_slice(bytes);
    while let Ok(record) = Record::read(&mut rest) {
        assert!(record.payload().len() <= record.bytes().len());
    }
});
