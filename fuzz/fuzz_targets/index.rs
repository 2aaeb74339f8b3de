//! Block indexes: sections of arbitrary content inside a frame whose lengths, offsets and checksums are right.

#![no_main]

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use trireme_block::IndexReader;

/// Appends `len | body | crc32c`, and answers where it starts.
fn section(file: &mut Vec<u8>, align: usize, body: &[u8]) -> u64 {
    file.resize(file.len().next_multiple_of(align), 0);
    let at = file.len() as u64;
    file.extend((body.len() as u32).to_be_bytes());
    file.extend(body);
    file.extend(crc32c::crc32c(body).to_be_bytes());
    at
}

/// Appends a series entry, whose length is a varint.
fn series(file: &mut Vec<u8>, body: &[u8]) -> u64 {
    file.resize(file.len().next_multiple_of(16), 0);
    let at = file.len() as u64;

    let mut length = body.len();
    while length >= 0x80 {
        file.push(length as u8 | 0x80);
        length >>= 7;
    }

    file.push(length as u8);
    file.extend(body);
    file.extend(crc32c::crc32c(body).to_be_bytes());

    at
}

libfuzzer_sys::fuzz_target!(|parts: (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (symbols, entry, postings, table) = parts;
    let mut file = vec![0xba, 0xaa, 0xd7, 0x00, 2];
    let symbols = section(&mut file, 1, &symbols);
    let entry = series(&mut file, &entry);
    let after_series = file.len() as u64;
    let postings = section(&mut file, 4, &postings);
    let table = section(&mut file, 1, &table);
    let contents: Vec<u8> = [symbols, entry, after_series, table, postings, table]
        .into_iter()
        .flat_map(u64::to_be_bytes)
        .collect();
    file.extend(&contents);
    file.extend(crc32c::crc32c(&contents).to_be_bytes());

    let Ok(index) = IndexReader::open(Arc::new(Bytes::from(file))) else {
        return;
    };
    let _ = index.series((entry / 16) as u32);
    let _ = index.all_postings().map(|list| list.iter().count());
    for name in index.label_names().map(str::to_owned).collect::<Vec<_>>() {
        let mut left = 1_000;
        let _ = index.each_value(&name, "", &mut |value, reference| {
            let _ = index.list(reference).map(|list| list.iter().count());
            let _ = index.postings(&name, value);
            left -= 1;
            Ok(if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
    }
});
