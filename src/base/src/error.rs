//! The kinds of failure that callers act on.

/// What went wrong, as far as a caller has to decide what to do next.
///
/// Every error enum of the project has a `kind()` that answers one of these. The HTTP layer maps a kind to a
/// status in one place, because that choice is data safety: senders retry 5xx and drop on 4xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is wrong; sending it again cannot succeed.
    Invalid,
    /// The input is larger than a configured bound.
    TooLarge,
    /// A rate or in-flight bound of a tenant or the node is reached.
    Limited,
    /// The thing asked for does not exist.
    NotFound,
    /// Not enough replicas answered in time.
    NoQuorum,
    /// This node cannot serve the request now; another one or a later try may.
    Unavailable,
    /// A deadline passed.
    Timeout,
    /// The caller went away or asked to stop.
    Cancelled,
    /// Data on disk or on the wire failed its checks.
    Corrupt,
    /// A defect of this program or an unexpected failure of the environment.
    Internal,
}
