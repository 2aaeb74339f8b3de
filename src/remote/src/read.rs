//! Remote read's request, taken apart and checked.

use prost::Message;
use trireme_model::{MatchOp, Matcher, Patterns};

use crate::prompb::read::{LabelMatcher, ReadRequest};
use crate::{DecodeError, snappy};

/// Largest request, as sent and inflated: it holds matchers, no data.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Most queries of a request.
const QUERIES_MAX: usize = 1_000;

/// What a client wants to read, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// In the order in which they are to be answered.
    pub queries: Vec<Query>,
    /// Answer types in the client's order of preference.
    pub accepted: Vec<i32>,
}

/// Series of a time range.
#[derive(Clone, Debug)]
pub struct Query {
    /// Inclusive start (ms).
    pub start_ms: i64,
    /// Inclusive end (ms).
    pub end_ms: i64,
    /// All must match.
    pub matchers: Vec<Matcher>,
}

/// Why a request cannot be answered: each is the client's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not snappy, or too large.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// Not the message.
    #[error("{0}")]
    Message(#[from] prost::DecodeError),
    /// Over the bound on queries.
    #[error("the request holds more than {QUERIES_MAX} queries")]
    TooMany,
    /// A condition is unknown or no expression.
    #[error("{0}")]
    Matcher(String),
}

/// Decodes the body of a request: a [`ReadRequest`] in snappy's block format.
pub fn decode(body: &[u8]) -> Result<Request, ReadError> {
    let mut inflated = Vec::new();
    snappy::inflate(body, REQUEST_BYTES_MAX, &mut inflated)?;
    let asked = ReadRequest::decode(inflated.as_slice())?;
    if asked.queries.len() > QUERIES_MAX {
        return Err(ReadError::TooMany);
    }

    let mut patterns = Patterns::default();
    let mut queries = Vec::with_capacity(asked.queries.len());
    for q in &asked.queries {
        queries.push(Query {
            start_ms: q.start_timestamp_ms,
            end_ms: q.end_timestamp_ms,
            matchers: q
                .matchers
                .iter()
                .map(|m| matcher(m, &mut patterns))
                .collect::<Result<_, _>>()?,
        });
    }

    Ok(Request {
        queries,
        accepted: asked.accepted_response_types,
    })
}

fn matcher(m: &LabelMatcher, patterns: &mut Patterns) -> Result<Matcher, ReadError> {
    let op = match m.r#type {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => {
            return Err(ReadError::Matcher(format!(
                "matcher type {other} is unknown"
            )));
        }
    };
    Matcher::within(&m.name, op, &m.value, patterns).map_err(|e| ReadError::Matcher(e.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompb::read;

    fn sent(request: &ReadRequest) -> Vec<u8> {
        snappy::deflate(&request.encode_to_vec()).expect("small")
    }

    #[test]
    fn matchers_of_all_kinds_are_read_and_unknown_ones_refused() {
        let ask = |kind, value: &str| {
            let matchers = vec![LabelMatcher {
                r#type: kind,
                name: "a".into(),
                value: value.into(),
            }];

            let query = read::Query {
                start_timestamp_ms: -5,
                end_timestamp_ms: 7,
                matchers,
            };

            decode(&sent(&ReadRequest {
                queries: vec![query],
                accepted_response_types: vec![1],
            }))
        };

        for (kind, fits) in [
            (0, [true, false]),
            (1, [false, true]),
            (2, [true, false]),
            (3, [false, true]),
        ] {
            let request = ask(kind, "b").expect("valid");
            let Query {
                start_ms: -5,
                end_ms: 7,
                matchers,
            } = &request.queries[0]
            else {
                panic!("{request:?}")
            };

            assert_eq!(
                ["b", "bb"].map(|value| matchers[0].matches(value)),
                fits,
                "type {kind}"
            );
        }

        assert!(matches!(ask(4, "b"), Err(ReadError::Matcher(_))));
        assert!(matches!(ask(2, "("), Err(ReadError::Matcher(_))));
        let many = ReadRequest {
            queries: vec![read::Query::default(); 1_001],
            ..ReadRequest::default()
        };
        assert!(matches!(decode(&sent(&many)), Err(ReadError::TooMany)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            queries in proptest::collection::vec((any::<i64>(), 0..6i32, "[a-z(|.*]{0,6}"), 0..4),
            at in any::<usize>(), bit in 0..8u8,
        ) {
            let _ = decode(&bytes);
            let _ = decode(&snappy::deflate(&bytes).expect("small"));
            let query = |(t, kind, value): &(i64, i32, String)| read::Query {
                start_timestamp_ms: *t,
                end_timestamp_ms: t.wrapping_add(9),
                matchers: vec![LabelMatcher { r#type: *kind, name: "a".into(), value: value.clone() }],
            };
            let request = ReadRequest {
                queries: queries.iter().map(query).collect(),
                accepted_response_types: vec![0, 1],
            };
            let mut message = request.encode_to_vec();
            if let Ok(read) = decode(&sent(&request)) {
                prop_assert_eq!(read.queries.len(), queries.len());
            }
            let at = at % message.len();
            message[at] ^= 1 << bit;
            let _ = decode(&snappy::deflate(&message).expect("small"));
        }
    }
}
