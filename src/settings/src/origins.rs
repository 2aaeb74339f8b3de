//! Whose web pages may read answers.

use regex::Regex;

use crate::sections::Http;

impl Http {
    /// What an `Origin` header has to match so that its pages may read answers; `None` if none may. An error if
    /// `cors_origin` is no regular expression.
    pub fn cors_origins(&self) -> Result<Option<Regex>, regex::Error> {
        match self.cors_origin.as_str() {
            "" => Ok(None),
            "*" => Regex::new(".*").map(Some),
            pattern => Regex::new(&format!("^(?:{pattern})$")).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_whole() {
        let of = |text: &str| Http { cors_origin: text.to_owned(), ..Http::default() }.cors_origins();
        assert!(of("").expect("valid").is_none());
        assert!(of("*").expect("valid").expect("some").is_match("https://a.example"));
        let origins = of("https?://(a|b)\\.example").expect("valid").expect("some");
        assert!(origins.is_match("http://b.example") && !origins.is_match("http://b.example.evil"));
        assert!(of("(a").is_err());
    }
}
