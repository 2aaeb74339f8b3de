//! Finds the key somebody meant.

/// The candidate with the fewest edits from `wrong`, if it is near enough to be a typing error.
pub(crate) fn nearest<'a>(
    wrong: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = 2 + wrong.len() / 6;
    candidates
        .map(|c| (edits(wrong, c), c))
        .filter(|(n, _)| *n <= bound)
        .min()
        .map(|(_, c)| c)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }

    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_typing_errors_and_leaves_strangers() {
        let keys = ["storage.window", "storage.retention", "http.listen"];
        assert_eq!(
            nearest("storage.windw", keys.into_iter()),
            Some("storage.window")
        );
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }
}
