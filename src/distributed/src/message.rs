//! What replicas say to each other about queries, in protobuf. Fields are only added; zero means absent.

use prost::{Message, Oneof};

/// A question to a replica.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(oneof = "Question", tags = "1, 2, 3, 4")]
    pub(crate) question: Option<Question>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Question {
    /// How far do you have each stream durably?
    #[prost(message, tag = "1")]
    Positions(Nothing),
    /// Evaluate.
    #[prost(message, tag = "2")]
    Query(Query),
    /// What do you have yourself, complete or not?
    #[prost(message, tag = "3")]
    Find(Find),
    /// What does your group have?
    #[prost(message, tag = "4")]
    OfGroup(OfGroup),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Position {
    #[prost(fixed64, tag = "1")]
    pub(crate) incarnation: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) boot: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) seq: u64,
}

/// A query, of which aggregations are wanted over a shard of the series, or the whole result.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Query {
    #[prost(string, tag = "1")]
    pub(crate) tenant: String,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    #[prost(sint64, tag = "3")]
    pub(crate) start_ms: i64,
    #[prost(sint64, tag = "4")]
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    #[prost(sint64, tag = "5")]
    pub(crate) step_ms: i64,
    /// 0 for the replica's setting.
    #[prost(sint64, tag = "6")]
    pub(crate) lookback_ms: i64,
    #[prost(uint32, tag = "7")]
    pub(crate) shard: u32,
    /// 0 asks for the whole result.
    #[prost(uint32, tag = "8")]
    pub(crate) shards: u32,
    /// Places of the aggregations: start << 32 | end.
    #[prost(uint64, repeated, tag = "9")]
    pub(crate) nodes: Vec<u64>,
    /// What must have been applied before.
    #[prost(message, repeated, tag = "10")]
    pub(crate) positions: Vec<Position>,
    #[prost(string, repeated, tag = "11")]
    pub(crate) replica_labels: Vec<String>,
    #[prost(sint64, tag = "12")]
    pub(crate) max_source_resolution_ms: i64,
    /// Whether start timestamps take part: 1 yes, 2 no, 0 as the replica is set.
    #[prost(uint32, tag = "13")]
    pub(crate) start_timestamps: u32,
    /// What the query may cost at most; 0 for no bound. A shard may cost as much as the whole.
    #[prost(uint64, tag = "14")]
    pub(crate) series_max: u64,
    #[prost(uint64, tag = "15")]
    pub(crate) samples_read_max: u64,
    /// Statistics are to tell steps apart.
    #[prost(bool, tag = "16")]
    pub(crate) per_step_stats: bool,
    /// Samples that the query may hold; 0 for the replica's bound.
    #[prost(uint64, tag = "17")]
    pub(crate) samples_max: u64,
}

/// A look into a replica's own data, asked when no replica is complete.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Find {
    #[prost(string, tag = "1")]
    pub(crate) tenant: String,
    #[prost(enumeration = "What", tag = "2")]
    pub(crate) what: i32,
    /// The label whose values are wanted.
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    /// A series is meant if it satisfies all matchers of one set; series with samples: of the only set.
    #[prost(message, repeated, tag = "4")]
    pub(crate) sets: Vec<MatcherSet>,
    #[prost(sint64, tag = "5")]
    pub(crate) start_ms: i64,
    #[prost(sint64, tag = "6")]
    pub(crate) end_ms: i64,
    /// A replica that has applied these is complete.
    #[prost(message, repeated, tag = "7")]
    pub(crate) positions: Vec<Position>,
    #[prost(string, repeated, tag = "8")]
    pub(crate) replica_labels: Vec<String>,
    /// Most items, and one more that shows that there are more; 0 means all.
    #[prost(uint64, tag = "9")]
    pub(crate) limit: u64,
}

/// A look into what a group has, asked by a member of another one. Blocks in the bucket are left out: who asks reads them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OfGroup {
    #[prost(message, optional, tag = "1")]
    pub(crate) find: Option<Find>,
    /// Only series of this shard.
    #[prost(uint32, tag = "2")]
    pub(crate) shard: u32,
    /// 0 asks for all series.
    #[prost(uint32, tag = "3")]
    pub(crate) shards: u32,
    /// Answer with what there is, although it may not be all that the group has acknowledged.
    #[prost(bool, tag = "4")]
    pub(crate) as_it_is: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub(crate) enum What {
    Samples = 0,
    Series = 1,
    Names = 2,
    Values = 3,
    /// Of the series that the expression in `name` selects. Only of a group.
    Exemplars = 4,
    /// Of the metric in `name`, or of all. Only of a group.
    Metadata = 5,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MatcherSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Matcher {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// `=`, `!=`, `=~` or `!~`.
    #[prost(string, tag = "2")]
    pub(crate) op: String,
    #[prost(string, tag = "3")]
    pub(crate) value: String,
}

/// A replica's answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) positions: Vec<Position>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) nodes: Vec<Node>,
    #[prost(message, optional, tag = "3")]
    pub(crate) whole: Option<Whole>,
    /// Samples over all steps, samples read, most held, series.
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) stats: Vec<u64>,
    /// Series that were found.
    #[prost(message, repeated, tag = "5")]
    pub(crate) rows: Vec<Row>,
    /// Label names or values that were found.
    #[prost(string, repeated, tag = "6")]
    pub(crate) texts: Vec<String>,
    /// What was found is all there is.
    #[prost(bool, tag = "7")]
    pub(crate) complete: bool,
    #[prost(message, repeated, tag = "8")]
    pub(crate) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) metadata: Vec<Metadata>,
    /// There is more than fits into an answer: ask for shards, or evaluate it yourself.
    #[prost(bool, tag = "10")]
    pub(crate) too_large: bool,
    /// With positions: epoch of the latest ring that the replica knows; 0 from one that does not say.
    #[prost(uint64, tag = "11")]
    pub(crate) epoch: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    /// Of the series.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) series: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) labels: Vec<u8>,
    #[prost(double, tag = "3")]
    pub(crate) value: f64,
    #[prost(sint64, tag = "4")]
    pub(crate) at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub(crate) metric: String,
    /// Type as in remote write 1.0.
    #[prost(uint32, tag = "2")]
    pub(crate) kind: u32,
    #[prost(string, tag = "3")]
    pub(crate) unit: String,
    #[prost(string, tag = "4")]
    pub(crate) help: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    pub(crate) pos: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) steps: u32,
    #[prost(message, repeated, tag = "3")]
    pub(crate) groups: Vec<Group>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) rows: Vec<Row>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) notes: Vec<Note>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Note {
    #[prost(bool, tag = "1")]
    pub(crate) warning: bool,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) pos: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Group {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) labels: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) first: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(crate) drop_name: bool,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) seen: Vec<u8>,
    #[prost(double, repeated, tag = "5")]
    pub(crate) values: Vec<f64>,
    #[prost(double, repeated, tag = "6")]
    pub(crate) compensations: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub(crate) counts: Vec<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) histograms: Vec<GroupHistogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupHistogram {
    #[prost(uint32, tag = "1")]
    pub(crate) step: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) sum: Option<Histogram>,
    #[prost(message, optional, tag = "3")]
    pub(crate) rest: Option<Histogram>,
    #[prost(double, tag = "4")]
    pub(crate) count: f64,
    /// 1 incremental, 2 reset seen, 4 no reset seen, 8 reconciled.
    #[prost(uint32, tag = "5")]
    pub(crate) flags: u32,
}

/// A series: its times or steps.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Row {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) labels: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub(crate) drop_name: bool,
    #[prost(sint64, repeated, tag = "3")]
    pub(crate) at: Vec<i64>,
    #[prost(double, repeated, tag = "4")]
    pub(crate) values: Vec<f64>,
    #[prost(sint64, repeated, tag = "5")]
    pub(crate) histograms_at: Vec<i64>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) histograms: Vec<Histogram>,
    /// Start timestamps of the floats: one for each, or none.
    #[prost(sint64, repeated, tag = "7")]
    pub(crate) starts: Vec<i64>,
    /// Start timestamps of the histograms: one for each, or none.
    #[prost(sint64, repeated, tag = "8")]
    pub(crate) histogram_starts: Vec<i64>,
    /// Times of samples that stand for several.
    #[prost(sint64, repeated, tag = "9")]
    pub(crate) counts_at: Vec<i64>,
    /// For how many: one for each of these times.
    #[prost(double, repeated, tag = "10")]
    pub(crate) counts: Vec<f64>,
}

/// A whole result.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Whole {
    /// 1 scalar, 2 string, 3 vector, 4 matrix.
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(sint64, tag = "2")]
    pub(crate) t: i64,
    #[prost(double, tag = "3")]
    pub(crate) v: f64,
    #[prost(string, tag = "4")]
    pub(crate) text: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) rows: Vec<Row>,
    #[prost(string, repeated, tag = "6")]
    pub(crate) warnings: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub(crate) infos: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint32, tag = "1")]
    pub(crate) reset_hint: u32,
    #[prost(sint32, tag = "2")]
    pub(crate) schema: i32,
    #[prost(double, tag = "3")]
    pub(crate) zero_threshold: f64,
    #[prost(double, tag = "4")]
    pub(crate) zero_count: f64,
    #[prost(double, tag = "5")]
    pub(crate) count: f64,
    #[prost(double, tag = "6")]
    pub(crate) sum: f64,
    /// Offset and length in turn.
    #[prost(sint64, repeated, tag = "7")]
    pub(crate) positive_spans: Vec<i64>,
    #[prost(double, repeated, tag = "8")]
    pub(crate) positive_buckets: Vec<f64>,
    #[prost(sint64, repeated, tag = "9")]
    pub(crate) negative_spans: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) negative_buckets: Vec<f64>,
    #[prost(double, repeated, tag = "11")]
    pub(crate) custom_values: Vec<f64>,
    /// True if the counts were sent as integers.
    #[prost(bool, tag = "12")]
    pub(crate) is_integer: bool,
}
