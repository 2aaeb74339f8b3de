//! The small files of a block: tombstones and meta.json.

#![no_main]

use trireme_block::{BlockMeta, Tombstones};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(meta) = BlockMeta::parse(bytes) {
        BlockMeta::parse(&meta.to_json()).expect("what was parsed prints as what parses");
    }
    let _ = Tombstones::parse(bytes);
    // With a right frame: magic, version, and the checksum over the entries.
    let mut framed = vec![0x01, 0x30, 0xba, 0x30, 1];
    framed.extend(bytes);
    framed.extend(crc32c::crc32c(bytes).to_be_bytes());
    if let Ok(tombstones) = Tombstones::parse(&framed) {
        let again = Tombstones::parse(&tombstones.to_bytes()).expect("just written");
        assert!(again.iter().eq(tombstones.iter()));
    }
});
