//! Names that a scraper cannot read are written in a form that it can.

use std::borrow::Cow;
use std::fmt::Write;

/// How names beyond letters, digits and underscores are written; the values of `escaping` in `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// With `_` for each character that does not fit.
    Underscores,
    /// Dots as `_dot_`, underscores doubled.
    Dots,
    /// With `U__` before and the code of each character that does not fit.
    Values,
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// Reads the parameter of a media type.
    pub(super) fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }

    /// The parameter's value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name of a metric or label as the scraper gets it.
    pub(super) fn name(self, name: &str) -> Cow<'_, str> {
        let as_it_is = match self {
            Self::AllowUtf8 => true,
            Self::Dots => name.is_empty(),
            Self::Underscores | Self::Values => is_legacy(name),
        };

        if as_it_is {
            return Cow::Borrowed(name);
        }

        let mut out = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            out.push_str("U__");
        }

        for (i, c) in name.char_indices() {
            match (self, c) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                _ if fits(i, c) => out.push(c),
                (Self::Values, _) => drop(write!(out, "_{:x}_", u32::from(c))),
                (Self::Dots, _) => out.push_str("__"),
                _ => out.push('_'),
            }
        }

        Cow::Owned(out)
    }
}

/// True for a character that every scraper takes at byte `i` of a name.
fn fits(i: usize, c: char) -> bool {
    c == '_' || c == ':' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit())
}

/// True for a metric's name that needs no quotes.
pub(super) fn is_legacy(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(i, c)| fits(i, c))
}

/// True for a label's name that needs no quotes: no colons.
pub(super) fn is_legacy_label(name: &str) -> bool {
    is_legacy(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_every_scraper_reads() {
        let mut rng = trireme_base::SeededRng::new(7);
        for _ in 0..20_000 {
            let name: String = (0..1 + rng.below(8))
                .filter_map(|_| char::from_u32(rng.below(0x3000) as u32))
                .collect();
            for scheme in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                let escaped = scheme.name(&name);
                assert!(
                    name.is_empty() || is_legacy(&escaped),
                    "{name:?} as {escaped:?}"
                );
            }
        }
    }

    #[test]
    fn names_that_do_not_fit_are_escaped_by_each_scheme() {
        let name = "http.server_requests é";
        let cases = [
            (Escaping::AllowUtf8, "http.server_requests é"),
            (Escaping::Underscores, "http_server_requests__"),
            (Escaping::Dots, "http_dot_server__requests____"),
            (Escaping::Values, "U__http_2e_server__requests_20__e9_"),
        ];

        for (scheme, want) in cases {
            assert_eq!(scheme.name(name), want);
            assert_eq!(Escaping::find(scheme.as_str()), Some(scheme));
        }

        assert_eq!(Escaping::Values.name("a_b"), "a_b");
        assert_eq!(Escaping::Dots.name("a_b"), "a__b");
        assert_eq!(Escaping::Underscores.name("0a:b"), "_a:b");
    }
}
