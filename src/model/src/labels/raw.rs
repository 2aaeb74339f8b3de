//! Canonical label bytes without decoding them: what sorting, grouping and look-ups work on.
//!
//! Names and values compare as bytes, which for UTF-8 is the order of their characters. Nothing is checked again here;
//! bytes that are no labels end a walk early.

use std::cmp::Ordering;

use super::WireReader;

/// One label: its whole wire form, its name and its value.
#[derive(Clone, Copy)]
pub(super) struct RawLabel<'a> {
    pub(super) whole: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Walks the labels of canonical bytes.
#[derive(Clone)]
pub(super) struct RawLabels<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for RawLabels<'a> {
    type Item = RawLabel<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawLabel<'a>> {
        let bytes = self.0;
        let label = short_label(bytes).or_else(|| any_label(bytes))?;
        self.0 = &bytes[label.whole.len()..];
        Some(label)
    }
}

/// The first label if all its lengths are one byte, as nearly always.
#[inline]
pub(super) fn short_label(bytes: &[u8]) -> Option<RawLabel<'_>> {
    let [0x0a, len @ ..0x80, 0x0a, name_len @ ..0x80, ..] = bytes else {
        return None;
    };

    let end = 2 + usize::from(*len);
    let name_end = 4 + usize::from(*name_len);
    let whole = bytes.get(..end)?;
    let [0x12, value_len @ ..0x80, value @ ..] = whole.get(name_end..)? else {
        return None;
    };

    (value.len() == usize::from(*value_len)).then(|| RawLabel {
        whole,
        name: &whole[4..name_end],
        value,
    })
}

#[cold]
fn any_label(bytes: &[u8]) -> Option<RawLabel<'_>> {
    let mut reader = WireReader {
        bytes,
        at: 0,
        all_short: false,
    };

    let (name, value) = reader.next_pair().ok()??;
    Some(RawLabel {
        whole: &bytes[..reader.at],
        name: &bytes[name],
        value: &bytes[value],
    })
}

/// Prometheus's order: name, then value, label by label; a prefix comes first.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let same = common_prefix(a, b);
    if same == a.len().min(b.len()) {
        // Canonical bytes end where a label does, so one set is the beginning of the other.
        return a.len().cmp(&b.len());
    }

    // Up to the label with the first difference both are cut alike.
    let mut left = RawLabels(a);
    let mut right = RawLabels(b);

    let mut passed = 0;
    loop {
        match (left.next(), right.next()) {
            (Some(x), Some(y)) => {
                passed += x.whole.len();
                if passed > same {
                    return x.name.cmp(y.name).then_with(|| x.value.cmp(y.value));
                }
            }
            (None, None) => return Ordering::Equal,
            (x, _) => {
                return if x.is_some() {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            }
        }
    }
}

/// How many bytes are equal from the start.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));

    let mut at = 0;
    for (x, y) in words {
        let differs = word_of(x) ^ word_of(y);
        if differs != 0 {
            return at + differs.trailing_zeros() as usize / 8;
        }
        at += 8;
    }

    at + a[at..]
        .iter()
        .zip(&b[at..])
        .take_while(|(x, y)| x == y)
        .count()
}

#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("BUG: chunks of eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Labels;
    use super::*;

    type Pairs = std::collections::BTreeMap<String, String>;

    fn labels() -> impl Strategy<Value = Pairs> {
        let name = prop_oneof!["[a-c]{1,3}", "[a-b]{1,200}", "é[\\x00-\\x7f]{0,3}"];
        proptest::collection::btree_map(
            name,
            prop_oneof!["[a-c\\x00é]{1,3}", "[xy]{120,140}"],
            0..6,
        )
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_decoded_pairs(a in labels(), b in labels()) {
            let (x, y) = (Labels::from_pairs(&a), Labels::from_pairs(&b));
            prop_assert_eq!(x.cmp(&y), a.iter().cmp(b.iter()));
            prop_assert_eq!(x.cmp(&Labels::from_pairs(&a)), Ordering::Equal);
        }

        #[test]
        fn parts_are_those_of_the_decoded_pairs(a in labels(), b in labels()) {
            let all = Labels::from_pairs(&a);
            let names: Vec<&str> = b.keys().map(String::as_str).chain(a.keys().take(1).map(String::as_str)).collect();
            let of = |keep: bool| {
                Labels::from_pairs(a.iter().filter(|(n, _)| names.contains(&n.as_str()) == keep))
            };
            prop_assert_eq!(all.only(&names), of(true));
            prop_assert_eq!(all.without(&names), of(false));
            for name in names {
                prop_assert_eq!(all.get(name), a.get(name).map(String::as_str));
            }
        }

        #[test]
        fn bytes_that_are_no_labels_end_the_walk(
            a in proptest::collection::vec(any::<u8>(), 0..60),
            b in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = compare(&a, &b);
            prop_assert!(RawLabels(&a).map(|label| label.whole.len()).sum::<usize>() <= a.len());
        }
    }
}
