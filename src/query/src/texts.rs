//! Label names and values of several sources as one list.

use hashbrown::HashSet;

/// Distinct texts. One that is known costs no memory, and most sources know the same ones.
#[derive(Debug, Default)]
pub struct Texts(HashSet<String>);

impl Texts {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        self.0.get_or_insert_with(text, str::to_owned);
    }

    /// True if the text was added before.
    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// All texts, sorted.
    pub fn into_sorted(self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.into_iter().collect();
        texts.sort_unstable();
        texts
    }
}

impl Extend<String> for Texts {
    fn extend<T: IntoIterator<Item = String>>(&mut self, texts: T) {
        self.0.extend(texts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_of_several_sources_are_one() {
        let mut texts = Texts::default();
        ["b", "a", "b"].into_iter().for_each(|text| texts.add(text));
        texts.extend(["c".to_owned(), "a".to_owned()]);
        assert_eq!(texts.into_sorted(), ["a", "b", "c"]);
    }
}
