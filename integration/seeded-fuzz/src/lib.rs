//! Stands in for `libfuzzer-sys`: the same targets, run as tests on seeded random inputs.
//!
//! A target's file becomes a module with a function `run` ([`fuzz_target!`]). [`try_all`] feeds it valid inputs that
//! were damaged at random, which reaches deeper than random bytes: most decoders look at a checksum or a length first.
//! It finds less than coverage-guided fuzzing (`scripts/fuzz`), but it runs on every change.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use trireme_base::SeededRng;

pub use mutate::mutated;

/// Inputs for each target: `TRIREME_FUZZ_RUNS`, or this many.
const RUNS: u64 = 2_000;

/// Turns a target into a function `run` over bytes.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:block) => {
        /// One input.
        pub fn run($bytes: &[u8]) {
            $body
        }
    };
    (|$text:ident: &str| $body:block) => {
        /// One input; what is no text is made one.
        pub fn run(bytes: &[u8]) {
            let text = String::from_utf8_lossy(bytes);
            let $text: &str = &text;
            $body
        }
    };
    (|$parts:ident: $kind:ty| $body:block) => {
        /// One input, divided into parts.
        pub fn run(bytes: &[u8]) {
            let $parts = <$kind as $crate::FromBytes>::from_bytes(bytes);
            $body
        }
    };
}

/// Inputs that targets take in parts.
pub trait FromBytes {
    /// Divides the bytes.
    fn from_bytes(bytes: &[u8]) -> Self;
}

impl FromBytes for (u8, Vec<u8>) {
    fn from_bytes(bytes: &[u8]) -> Self {
        bytes
            .split_first()
            .map_or((0, Vec::new()), |(first, rest)| (*first, rest.to_vec()))
    }
}

/// Four parts, each behind a byte that says how long it is.
impl FromBytes for (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>) {
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut part = || {
            let Some((len, tail)) = rest.split_first() else {
                return Vec::new();
            };
            let (part, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            rest = tail;
            part.to_vec()
        };

        (part(), part(), part(), part())
    }
}

/// Runs a target on many inputs made from `valid`, which must not be empty. Panics with the seed of the first input
/// that the target panicked on; `TRIREME_FUZZ_SEED` runs just that one.
#[allow(clippy::panic)]
pub fn try_all(target: &str, valid: &[Vec<u8>], run: impl Fn(&[u8])) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };

    // Undamaged first.
    valid.iter().for_each(|input| run(input));
    let seeds = match number("TRIREME_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRIREME_FUZZ_RUNS").unwrap_or(RUNS),
    };

    for seed in seeds {
        let input = mutated(&mut SeededRng::new(seed), valid);
        if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
            panic!("{target} panicked; repeat with TRIREME_FUZZ_SEED={seed}; input {input:02x?}");
        }
    }
}
