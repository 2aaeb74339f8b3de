//! How the node is seen from outside: its address, and whose web pages may read answers.

use regex::Regex;

use crate::sections::Http;

impl Http {
    /// The path below which requests come in, without a slash at its end.
    pub fn prefix(&self) -> &str {
        match self.route_prefix.as_str() {
            "" => path_of(&self.external_url).unwrap_or_default(),
            prefix => prefix,
        }
    }

    /// True if the external URL is none, or one that a browser can open.
    pub(crate) fn is_external_url_valid(&self) -> bool {
        self.external_url.is_empty() || path_of(&self.external_url).is_some()
    }

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

/// The path of `http(s)://HOST[:PORT][/PATH]`; `None` for anything else.
fn path_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_plain = rest
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"?#@\"<>\\".contains(&b));

    (!host.is_empty() && is_plain).then(|| path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_path_of_the_external_url_unless_it_is_set() {
        let of = |url: &str, prefix: &str| {
            let http = Http {
                external_url: url.into(),
                route_prefix: prefix.into(),
                ..Http::default()
            };
            http.prefix().to_owned()
        };

        assert_eq!(of("", ""), "");
        assert_eq!(of("https://metrics.example.org", ""), "");
        assert_eq!(
            of("https://metrics.example.org:8443/eu/west/", ""),
            "/eu/west"
        );
        assert_eq!(of("https://metrics.example.org/eu", "/other"), "/other");

        let is_valid = |url: &str| {
            Http {
                external_url: url.into(),
                ..Http::default()
            }
            .is_external_url_valid()
        };

        assert!(is_valid("") && is_valid("http://[::1]:9090/a"));

        for bad in [
            "metrics.example.org",
            "ftp://a",
            "https://",
            "https:///eu",
            "https://a/?b=c",
            "https://a b",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn origins_are_matched_whole() {
        let of = |text: &str| {
            Http {
                cors_origin: text.to_owned(),
                ..Http::default()
            }
            .cors_origins()
        };

        assert!(of("").expect("valid").is_none());
        assert!(
            of("*")
                .expect("valid")
                .expect("some")
                .is_match("https://a.example")
        );

        let origins = of("https?://(a|b)\\.example")
            .expect("valid")
            .expect("some");
        assert!(origins.is_match("http://b.example") && !origins.is_match("http://b.example.evil"));
        assert!(of("(a").is_err());
    }
}
