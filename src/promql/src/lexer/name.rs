//! Which characters a name may have without quotes.

use std::sync::LazyLock;

use regex::Regex;

use super::is_alpha;

/// True if a name may begin with `c`.
pub(super) fn starts(c: char, unquoted_utf8: bool) -> bool {
    is_alpha(c) || (unquoted_utf8 && is_letter_beyond_ascii(c))
}

/// True if `c` may stand inside a name.
pub(super) fn goes_on(c: char, unquoted_utf8: bool) -> bool {
    starts(c, unquoted_utf8) || c.is_ascii_digit() || (unquoted_utf8 && c == '.')
}

/// True if the name of a label needs no quotes where names may have letters of any script.
pub(crate) fn is_unquoted_name(name: &str) -> bool {
    name.starts_with(|c| starts(c, true)) && name.chars().all(|c| goes_on(c, true))
}

/// Unicode's category L. The standard library's `is_alphabetic` knows a wider one, with marks among it.
fn is_letter_beyond_ascii(c: char) -> bool {
    static LETTER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^\p{L}").expect("the pattern is a constant that the tests use")
    });
    !c.is_ascii() && LETTER.is_match(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_any_script_make_names_and_marks_do_not() {
        for name in ["a", "a.", "a..b", "a.5", "été", "温度", "_x.y", "Inf.x"] {
            assert!(is_unquoted_name(name), "{name}");
        }
        for other in ["", ".a", "5a", "x_١", "o\u{308}", "😀", "a:b", "a b", "ⅷ"] {
            assert!(!is_unquoted_name(other), "{other}");
        }
    }
}
