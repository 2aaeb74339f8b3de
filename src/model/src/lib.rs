//! The data model: tenants, labels, samples, histograms, exemplars, metadata and matchers.
//!
//! A label set is kept in the byte form in which remote write 1.0 carries it ([`Labels`]). What a sender
//! sends, the log stores, peers exchange and the series hash is taken over is therefore one and the same byte
//! string, and a known series never has its labels parsed.
//!
//! ```
//! use trireme_model::Labels;
//! let labels = Labels::from_pairs([("job", "node"), ("__name__", "up")]);
//! assert_eq!(labels.get("__name__"), Some("up"));
//! assert_eq!(labels.to_string(), r#"up{job="node"}"#);
//! ```

mod histogram;
mod key;
mod labels;
mod matcher;
mod outcome;
mod quote;
mod regexp;
mod sample;
mod tenant;

pub use histogram::{
    AddOutcome, AnyHistogram, Bucket, Buckets, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram,
    HistogramError, HistogramInvalid, HistogramSample, HistogramSum, ResetHint, Span,
    SpanOutOfRange, format_float, kahan_add,
};
pub use key::SeriesKey;
pub use labels::{LabelError, Labels, LabelsBuilder, METRIC_NAME, push_label};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use outcome::{
    EXEMPLAR_LABELS_INVALID, EXEMPLAR_LABELS_TOO_LONG, EXEMPLAR_TOO_OLD, Rejection, Rejections,
    RetryLater, WriteOutcome,
};
pub use quote::{is_plain_label_name, quote};
pub use regexp::{PATTERNS_BYTES_MAX, Patterns, Regexp, RegexpError};
pub use sample::{Exemplar, FloatSample, MetricMetadata, MetricType, STALE_NAN, is_stale, prefer};
pub use tenant::{Tenant, TenantError};
