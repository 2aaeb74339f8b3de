//! Remote read: `prometheus.ReadRequest` and its two kinds of answer.

use super::v1::{Label, TimeSeries};

/// Answer type: all samples in one message.
pub const SAMPLES: i32 = 0;
/// Answer type: frames of encoded chunks.
pub const STREAMED_XOR_CHUNKS: i32 = 1;

/// One request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadRequest {
    /// What to select.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// Answer types in the client's order of preference; none means [`SAMPLES`].
    #[prost(int32, repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// One selection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Query {
    /// Inclusive start (ms).
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// Inclusive end (ms).
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// Conditions, all of which must hold.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

/// One condition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LabelMatcher {
    /// 0 equal, 1 not equal, 2 regex, 3 not regex.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// Label name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Value or expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// Answer of type [`SAMPLES`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResponse {
    /// One result per query, in order.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// Series of one query.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryResult {
    /// Sorted by labels.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// One frame's message of an answer of type [`STREAMED_XOR_CHUNKS`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedReadResponse {
    /// Series or parts of series.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which query the frame belongs to.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// Chunks of one series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedSeries {
    /// Label set.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Chunks in time order.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// One encoded chunk.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Chunk {
    /// Inclusive first timestamp (ms).
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// Inclusive last timestamp (ms).
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// Encoding byte as in blocks.
    #[prost(int32, tag = "3")]
    pub r#type: i32,
    /// Encoded samples.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}
