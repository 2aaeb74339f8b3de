//! Orders of elements.

use std::cmp::Ordering;

use trireme_model::Labels;

/// Order of values with NaN last, whichever direction.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

/// Order by the named labels, numbers in them by value; equal ones by all their labels.
pub(crate) fn by_labels(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    for name in names {
        let order = natural(a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

/// Compares texts chunk by chunk: runs of digits by their number, the rest by bytes.
fn natural(a: &str, b: &str) -> Ordering {
    let mut x = a;

    let mut y = b;
    while !x.is_empty() && !y.is_empty() {
        let (chunk_x, rest_x) = split_chunk(x);
        let (chunk_y, rest_y) = split_chunk(y);
        let order = match (chunk_x.parse::<i64>(), chunk_y.parse::<i64>()) {
            (Ok(m), Ok(n)) => m.cmp(&n),
            _ => chunk_x.cmp(chunk_y),
        };
        if order != Ordering::Equal {
            return order;
        }
        (x, y) = (rest_x, rest_y);
    }

    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// The leading run of digits or of other characters, and the rest.
fn split_chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_sort_by_value() {
        let mut values = ["10", "2", "b1", "a20", "a3", "a", ""];
        values.sort_by(|a, b| natural(a, b));
        assert_eq!(values, ["", "2", "10", "a", "a3", "a20", "b1"]);
    }

    #[test]
    fn nan_is_last_in_both_directions() {
        let mut values = [1.0, f64::NAN, 3.0];
        values.sort_by(|a, b| by_value(*a, *b, true));
        assert_eq!(values[..2], [3.0, 1.0]);
        values.sort_by(|a, b| by_value(*a, *b, false));
        assert_eq!(values[..2], [1.0, 3.0]);
    }
}
