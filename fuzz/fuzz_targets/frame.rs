//! Frames of the cluster connection, arriving in two pieces.

#![no_main]

use bytes::BytesMut;
use trireme_wire::frame::Decoder;

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    for decoder in [Decoder::default(), Decoder::for_handshake()] {
        let mut buffer = BytesMut::from(first);
        let mut is_broken = false;
        for piece in [&[], second] {
            buffer.extend_from_slice(piece);
            while !is_broken {
                match decoder.next(&mut buffer) {
                    Ok(Some(frame)) => drop(frame.encode()),
                    Ok(None) => break,
                    Err(_) => is_broken = true,
                }
            }
        }
    }
});
