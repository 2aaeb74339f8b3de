//! Which protocol a request speaks; decided from its headers before anything is decoded.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use trireme_remote::prompb::{v1, v2};

use super::respond::Refusal;

/// A version of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    V1,
    V2,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "rw1",
            Self::V2 => "rw2",
        }
    }
}

/// The protocol, or 415. A wrong guess here would read version 2 bytes as an empty version 1 request and lose data.
///
/// vmagent sends zstd first and falls back to snappy on 415. No content type and no encoding mean version 1 and snappy,
/// as Prometheus has it.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Protocol, Refusal> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"snappy")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let text = format!("content encoding {encoding:?} is not supported, only snappy is");
        return Err(Refusal::unsupported(text));
    }

    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Protocol::V1);
    };

    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        let text =
            format!("content type {text:?} is not supported, expected application/x-protobuf");
        return Err(Refusal::unsupported(text));
    }

    let proto = parts
        .filter_map(|p| p.split_once('='))
        .find(|(k, _)| k.trim().eq_ignore_ascii_case("proto"));

    protocol_of(proto.map(|(_, v)| v.trim().trim_matches('"')))
}

fn protocol_of(proto: Option<&str>) -> Result<Protocol, Refusal> {
    match proto {
        None | Some(v1::PROTO) => Ok(Protocol::V1),
        Some(v2::PROTO) => Ok(Protocol::V2),
        Some(other) => Err(Refusal::unsupported(format!(
            "protobuf message {other:?} is not supported, only {} and {} are",
            v1::PROTO,
            v2::PROTO
        ))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn content_type_and_encoding_decide() {
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let cases = [
            (None, None, Some(Protocol::V1)),
            (
                Some("application/x-protobuf"),
                Some("snappy"),
                Some(Protocol::V1),
            ),
            (
                Some("application/x-protobuf;proto=prometheus.WriteRequest"),
                Some("snappy"),
                Some(Protocol::V1),
            ),
            (Some(v2), Some("snappy"), Some(Protocol::V2)),
            (
                Some("application/x-protobuf; charset=utf-8; proto=io.prometheus.write.v2.Request"),
                None,
                Some(Protocol::V2),
            ),
            (Some("application/x-protobuf"), Some("zstd"), None),
            (Some("application/x-protobuf"), Some("gzip"), None),
            (Some("application/json"), Some("snappy"), None),
            (
                Some("application/x-protobuf;proto=io.prometheus.write.v3.Request"),
                None,
                None,
            ),
        ];

        for (content_type, encoding, want) in cases {
            let mut request = TestRequest::post();
            if let Some(v) = content_type {
                request = request.insert_header((CONTENT_TYPE, v));
            }

            if let Some(v) = encoding {
                request = request.insert_header((CONTENT_ENCODING, v));
            }

            let got = negotiate(request.to_http_request().headers());
            match (&got, want) {
                (Ok(got), Some(want)) => assert_eq!(*got, want),
                (Err(e), None) => assert_eq!(e.status.as_u16(), 415),
                _ => panic!("{content_type:?} {encoding:?}: {got:?}"),
            }
        }
    }
}
