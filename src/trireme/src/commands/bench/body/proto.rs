//! The few protobuf forms the generator writes; receivers are tested against what real senders send elsewhere.

/// Appends `value` as a varint.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes [`varint`] takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a length-delimited field with a tag of one byte.
pub fn bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the message of one sample as a field: value (left out if its bits are zero) and timestamp.
pub fn sample_field(out: &mut Vec<u8>, tag: u8, value: f64, timestamp_ms: i64) {
    let timestamp = timestamp_ms.cast_unsigned();
    let value_len = if value.to_bits() == 0 { 0 } else { 9 };
    let timestamp_len = if timestamp == 0 {
        0
    } else {
        1 + varint_len(timestamp)
    };

    out.push(tag);
    out.push((value_len + timestamp_len) as u8);

    if value_len > 0 {
        out.push(0x09);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    if timestamp_len > 0 {
        out.push(0x10);
        varint(out, timestamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_length_is_what_varint_writes() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
            }
        }
    }
}
