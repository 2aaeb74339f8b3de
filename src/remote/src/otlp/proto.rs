//! OTLP's metrics messages, as far as they are read, and its answers.

/// Who sent the metrics.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// Attributes such as `service.name`.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// One attribute.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value of any type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "any_value::Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<any_value::Value>,
}

/// Types of [`AnyValue`].
pub mod any_value {
    /// A value of one type.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// Text.
        #[prost(string, tag = "1")]
        String(String),
        /// Truth value.
        #[prost(bool, tag = "2")]
        Bool(bool),
        /// Integer.
        #[prost(int64, tag = "3")]
        Int(i64),
        /// Number.
        #[prost(double, tag = "4")]
        Double(f64),
        /// List.
        #[prost(message, tag = "5")]
        Array(super::ArrayValue),
        /// Map.
        #[prost(message, tag = "6")]
        Map(super::KeyValueList),
        /// Bytes.
        #[prost(bytes = "vec", tag = "7")]
        Bytes(Vec<u8>),
    }
}

/// A list of values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// A map of values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValueList {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

/// A point of a gauge or sum.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NumberDataPoint {
    /// Attributes.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
    /// Start of the counter (ns since the epoch), 0 unset.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Time (ns since the epoch).
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The number.
    #[prost(oneof = "Number", tags = "4, 6")]
    pub value: Option<Number>,
    /// Exemplars.
    #[prost(message, repeated, tag = "5")]
    pub exemplars: Vec<Exemplar>,
    /// Bit 0: no value was recorded.
    #[prost(uint32, tag = "8")]
    pub flags: u32,
}

/// A number of a [`NumberDataPoint`].
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum Number {
    /// Floating point.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Integer.
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

/// A point of a histogram with explicit bounds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistogramDataPoint {
    /// Attributes.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Start (ns since the epoch), 0 unset.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Time (ns since the epoch).
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// All observations.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Sum of the observations.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// Observations by bucket, not cumulative; one more than bounds.
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    /// Upper bounds.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// Exemplars.
    #[prost(message, repeated, tag = "8")]
    pub exemplars: Vec<Exemplar>,
    /// Bit 0: no value was recorded.
    #[prost(uint32, tag = "10")]
    pub flags: u32,
}

/// A point of an exponential histogram.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExponentialHistogramDataPoint {
    /// Attributes.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
    /// Start (ns since the epoch), 0 unset.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Time (ns since the epoch).
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// All observations.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Sum of the observations.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// Resolution: bounds are powers of 2^(2^-scale).
    #[prost(sint32, tag = "6")]
    pub scale: i32,
    /// Observations in the zero bucket.
    #[prost(fixed64, tag = "7")]
    pub zero_count: u64,
    /// Positive buckets.
    #[prost(message, optional, tag = "8")]
    pub positive: Option<Buckets>,
    /// Negative buckets.
    #[prost(message, optional, tag = "9")]
    pub negative: Option<Buckets>,
    /// Bit 0: no value was recorded.
    #[prost(uint32, tag = "10")]
    pub flags: u32,
    /// Exemplars.
    #[prost(message, repeated, tag = "11")]
    pub exemplars: Vec<Exemplar>,
    /// Width of the zero bucket.
    #[prost(double, tag = "14")]
    pub zero_threshold: f64,
}

/// A run of buckets.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Buckets {
    /// Index of the first bucket.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Counts.
    #[prost(uint64, repeated, tag = "2")]
    pub bucket_counts: Vec<u64>,
}

/// A point of a summary.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryDataPoint {
    /// Attributes.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
    /// Start (ns since the epoch), 0 unset.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Time (ns since the epoch).
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// All observations.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Sum of the observations.
    #[prost(double, tag = "5")]
    pub sum: f64,
    /// Quantiles.
    #[prost(message, repeated, tag = "6")]
    pub quantile_values: Vec<ValueAtQuantile>,
    /// Bit 0: no value was recorded.
    #[prost(uint32, tag = "8")]
    pub flags: u32,
}

/// One quantile.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ValueAtQuantile {
    /// Between 0 and 1.
    #[prost(double, tag = "1")]
    pub quantile: f64,
    /// Its value.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// One exemplar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Attributes that the series does not have.
    #[prost(message, repeated, tag = "7")]
    pub filtered_attributes: Vec<KeyValue>,
    /// Time (ns since the epoch).
    #[prost(fixed64, tag = "2")]
    pub time_unix_nano: u64,
    /// The number.
    #[prost(oneof = "ExemplarNumber", tags = "3, 6")]
    pub value: Option<ExemplarNumber>,
    /// Span.
    #[prost(bytes = "vec", tag = "4")]
    pub span_id: Vec<u8>,
    /// Trace.
    #[prost(bytes = "vec", tag = "5")]
    pub trace_id: Vec<u8>,
}

/// A number of an [`Exemplar`].
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum ExemplarNumber {
    /// Floating point.
    #[prost(double, tag = "3")]
    Double(f64),
    /// Integer.
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExportResponse {
    /// Set if a part was refused.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What was refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PartialSuccess {
    /// How many data points.
    #[prost(int64, tag = "1")]
    pub rejected_data_points: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The answer to a request that failed as a whole (`google.rpc.Status`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text.
    #[prost(string, tag = "2")]
    pub message: String,
}
