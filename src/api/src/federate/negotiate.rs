//! Which format a scraper gets, by its `Accept`.

use super::escape::Escaping;
use super::protobuf::Form;

/// A format of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The text format 0.0.4, which has no native histograms.
    Text,
    /// Messages `MetricFamily`.
    Protobuf(Form),
}

/// Most media types of a header that are looked at.
const TYPES_MAX: usize = 64;

impl Format {
    /// The answer's content type.
    pub(super) fn content_type(self, escaping: Escaping) -> String {
        let escaping = escaping.as_str();
        match self {
            Self::Text => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
            Self::Protobuf(form) => {
                let encoding = match form {
                    Form::Delimited => "delimited",
                    Form::Text => "text",
                    Form::Compact => "compact-text",
                };
                format!(
                    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                     encoding={encoding}; escaping={escaping}"
                )
            }
        }
    }
}

/// One media type of the header.
struct Accepted<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl<'a> Accepted<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts
            .filter_map(|part: &'a str| {
                part.split_once('=')
                    .map(|(k, v)| (k.trim(), v.trim().trim_matches('"')))
            })
            .collect();

        let quality = parameters
            .iter()
            .find(|(k, _)| *k == "q")
            .and_then(|(_, q)| q.parse().ok());

        Self {
            media,
            parameters,
            quality: quality.unwrap_or(1.0),
        }
    }

    fn get(&self, name: &str) -> &'a str {
        self.parameters
            .iter()
            .find(|(k, _)| *k == name)
            .map_or("", |(_, v)| *v)
    }

    fn format(&self) -> Option<Format> {
        let is_family = self.get("proto") == "io.prometheus.client.MetricFamily";
        match self.media {
            "application/vnd.google.protobuf" if is_family => {
                let form = match self.get("encoding") {
                    "delimited" => Form::Delimited,
                    "text" => Form::Text,
                    "compact-text" => Form::Compact,
                    _ => return None,
                };
                Some(Format::Protobuf(form))
            }
            "text/plain" if matches!(self.get("version"), "0.0.4" | "") => Some(Format::Text),
            _ => None,
        }
    }
}

/// The best format that both sides know, and how names are escaped: by the last scheme named before it, as Prometheus
/// reads the header. OpenMetrics is never chosen.
pub(super) fn negotiate(accept: &str) -> (Format, Escaping) {
    let mut accepted: Vec<_> = accept
        .split(',')
        .take(TYPES_MAX)
        .map(Accepted::parse)
        .collect();

    accepted.sort_by(|a, b| b.quality.total_cmp(&a.quality));

    let mut escaping = Escaping::Underscores;
    for one in &accepted {
        escaping = Escaping::find(one.get("escaping")).unwrap_or(escaping);
        if let Some(format) = one.format() {
            return (format, escaping);
        }
    }

    (Format::Text, escaping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_chosen_by_quality() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let protobuf = "text/plain;version=0.0.4;q=0.3,application/vnd.google.protobuf;\
                        proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6";
        let compact = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                       encoding=compact-text;escaping=dots";
        let cases = [
            ("", Format::Text, Escaping::Underscores),
            ("*/*", Format::Text, Escaping::Underscores),
            (prometheus, Format::Text, Escaping::AllowUtf8),
            (
                protobuf,
                Format::Protobuf(Form::Delimited),
                Escaping::Underscores,
            ),
            (compact, Format::Protobuf(Form::Compact), Escaping::Dots),
            ("text/plain;escaping=values", Format::Text, Escaping::Values),
            (
                "text/plain;escaping=rot13;q=x,,;;=",
                Format::Text,
                Escaping::Underscores,
            ),
        ];

        for (accept, format, escaping) in cases {
            assert_eq!(negotiate(accept), (format, escaping), "{accept}");
        }
    }

    #[test]
    fn any_header_gets_an_answer() {
        let pieces = [
            "text/plain",
            "*/*",
            ";",
            ",",
            "=",
            "q",
            "NaN",
            "1e999",
            "\"",
            "escaping",
            "dots",
            " ",
            "é",
        ];

        let mut rng = trireme_base::SeededRng::new(7);
        for _ in 0..20_000 {
            let picks = (0..rng.below(20)).map(|_| pieces[rng.below(pieces.len() as u64) as usize]);
            let accept: String = picks.collect();
            let (format, escaping) = negotiate(&accept);
            assert!(format.content_type(escaping).contains("escaping="));
        }
    }
}
