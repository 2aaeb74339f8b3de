//! Damage to valid inputs.

use trireme_base::SeededRng;

/// Longest input.
const BYTES_MAX: usize = 64 << 10;
/// Numbers at which lengths and counts go wrong.
const ODD_NUMBERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// One of the valid inputs, damaged in one to eight places; now and then only random bytes.
pub fn mutated(random: &mut SeededRng, valid: &[Vec<u8>]) -> Vec<u8> {
    if random.chance(0.05) {
        let len = random.below(300);
        return (0..len).map(|_| random.next_u64() as u8).collect();
    }

    let mut input = pick(random, valid).clone();
    for _ in 0..=random.below(8) {
        damage(random, &mut input, valid);
    }

    input.truncate(BYTES_MAX);
    input
}

fn pick<'a>(random: &mut SeededRng, valid: &'a [Vec<u8>]) -> &'a Vec<u8> {
    &valid[random.below(valid.len() as u64) as usize]
}

fn damage(random: &mut SeededRng, input: &mut Vec<u8>, valid: &[Vec<u8>]) {
    let at = random.below(input.len() as u64 + 1) as usize;
    let end = (at + 1 + random.below(16) as usize).min(input.len());

    let start = at.min(end);
    match random.below(9) {
        0 | 1 if at < input.len() => input[at] ^= 1 << random.below(8),
        2 if at < input.len() => input[at] = random.next_u64() as u8,
        3 => drop(input.drain(start..end)),
        4 => {
            let piece = input[start..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => input.truncate(at),
        6 => {
            let odd = ODD_NUMBERS[random.below(ODD_NUMBERS.len() as u64) as usize];
            let width = 1 << random.below(4);
            let bytes = if random.chance(0.5) {
                odd.to_le_bytes()
            } else {
                odd.rotate_left(8).to_be_bytes()
            };
            input.splice(
                start..end.min(start + width),
                bytes[..width].iter().copied(),
            );
        }
        7 => {
            let mut varint = Vec::new();
            let mut rest = ODD_NUMBERS[random.below(ODD_NUMBERS.len() as u64) as usize];
            while rest >= 0x80 {
                varint.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            varint.push(rest as u8);
            input.splice(start..end, varint);
        }
        _ => {
            let other = pick(random, valid);
            let from = random.below(other.len() as u64 + 1) as usize;
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}
