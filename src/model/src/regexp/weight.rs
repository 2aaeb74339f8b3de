//! About how much memory a pattern takes, known before it is compiled.
//!
//! A program has an instruction for each byte that can come next, so repeating a group with a count repeats its program,
//! and a class of letters of all languages has hundreds of instructions. The guess is on the high side.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes of an instruction with what surrounds it.
const INSTRUCTION_BYTES: usize = 32;
/// Bytes that a range of a class takes: its characters have several bytes, each of which has an instruction.
const RANGE_BYTES: usize = 96;
/// Bytes of a class with any character beyond ASCII: each length that a character can have is a path of its own.
const UNICODE_BYTES: usize = 1_024;
/// Bytes of any automaton: tables of a fixed size, and what is kept for the next search.
const AUTOMATON_BYTES: usize = 64 << 10;
/// Bytes for each text of a list, which is searched without an automaton, beside its characters.
const TEXT_BYTES: usize = 64;

/// Memory of a list of texts that is written as `pattern` (bytes).
pub(super) fn of_text(pattern: &str) -> usize {
    let texts = pattern.matches('|').count() + 1;
    texts
        .saturating_mul(TEXT_BYTES)
        .saturating_add(pattern.len().saturating_mul(2))
}

/// Memory of the compiled pattern (bytes).
pub(super) fn of_program(hir: &Hir) -> usize {
    of(hir).saturating_add(AUTOMATON_BYTES)
}

/// Classes of Unicode properties, `\pL` and the like, in a pattern as written; too many rather than too few.
pub(super) fn properties(pattern: &str) -> usize {
    pattern.matches(r"\p").count() + pattern.matches(r"\P").count()
}

fn of(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => INSTRUCTION_BYTES,
        HirKind::Literal(literal) => literal.0.len().saturating_mul(INSTRUCTION_BYTES),
        HirKind::Class(Class::Unicode(class)) => {
            let beyond_ascii = if class.is_ascii() { 0 } else { UNICODE_BYTES };
            class
                .ranges()
                .len()
                .saturating_mul(RANGE_BYTES)
                .saturating_add(beyond_ascii)
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().len().saturating_mul(INSTRUCTION_BYTES)
        }
        HirKind::Capture(capture) => of(&capture.sub).saturating_add(2 * INSTRUCTION_BYTES),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .map(of)
            .fold(INSTRUCTION_BYTES, usize::saturating_add),
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or(repeated.min.saturating_add(1));
            let one = of(&repeated.sub).saturating_add(INSTRUCTION_BYTES);
            one.saturating_mul(times.max(1) as usize)
        }
    }
}
