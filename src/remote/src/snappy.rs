//! Snappy block format behind a cap.

use crate::prompb::DecodeError;

/// Inflates `body` into `out`, which is emptied first and keeps its capacity for the next request.
///
/// The declared size is compared with `limit` before a byte is allocated, so a small body cannot ask for gigabytes.
pub fn inflate(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.clear();

    let size = inflated_len(body)?;
    if size > limit {
        return Err(DecodeError::TooLarge {
            size: size as u64,
            limit,
        });
    }

    out.resize(size, 0);
    let done = snap::raw::Decoder::new().decompress(body, out);
    let written = done.map_err(|e| DecodeError::Snappy(e.to_string()))?;

    out.truncate(written);
    Ok(())
}

/// Size that `body` declares for its inflated form; nothing is allocated.
pub fn inflated_len(body: &[u8]) -> Result<usize, DecodeError> {
    snap::raw::decompress_len(body).map_err(|e| DecodeError::Snappy(e.to_string()))
}

/// Compresses `body` in block format. Fails only for bodies over 4 GiB.
pub fn deflate(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    snap::raw::Encoder::new()
        .compress_vec(body)
        .map_err(|e| DecodeError::Snappy(e.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_a_declared_size_over_the_cap_before_allocating() {
        let body = deflate(&vec![0; 10_000]).expect("small");
        let mut out = Vec::new();
        assert_eq!(
            inflate(&body, 9_999, &mut out),
            Err(DecodeError::TooLarge {
                size: 10_000,
                limit: 9_999
            })
        );

        assert_eq!(out.capacity(), 0);
        inflate(&body, 10_000, &mut out).expect("at the cap");
        assert_eq!(out.len(), 10_000);
    }

    proptest! {
        #[test]
        fn damaged_bodies_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<usize>(), bit in 0..8u8,
        ) {
            let mut out = Vec::new();
            let _ = inflate(&bytes, 1 << 16, &mut out);
            let mut body = deflate(&bytes).expect("small");
            inflate(&body, 1 << 16, &mut out).expect("undamaged");
            prop_assert_eq!(&out, &bytes);
            let at = at % body.len();
            body[at] ^= 1 << bit;
            let _ = inflate(&body, 1 << 16, &mut out);
        }
    }
}
