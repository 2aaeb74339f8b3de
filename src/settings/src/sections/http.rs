//! `[http]`: the HTTP listener.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Address and port of remote write, query API, admin API and `/metrics`.
    pub listen: String,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Largest request body as sent.
    pub body_bytes_max: ByteSize,
    /// Largest request body after decompression.
    pub inflated_bytes_max: ByteSize,
    /// Connections at once.
    pub connections_max: usize,
    /// Of these, connections from one address; of IPv6 from one /64. 0 means no bound.
    pub connections_per_address: usize,
    /// How long a connection stays on which nothing is asked. Longer than the pools of usual clients and balancers keep
    /// theirs, so that it is not this side that hangs up while a request is on its way.
    pub keep_alive: Span,
    /// Origins whose pages may read answers, as an anchored regular expression; `*` is any. Empty sends no CORS headers.
    pub cors_origin: String,
    /// Address under which users reach the node through a proxy, as `https://metrics.example.org/eu`; empty if there is
    /// none.
    pub external_url: String,
    /// Path below which a proxy passes requests on, as `/metrics/eu`; everything is found without it too. Empty means the path of
    /// `external_url`.
    pub route_prefix: String,
    /// Time a client has to send the head of its request; ends slow-loris senders. It runs on while the process stands
    /// still, and senders drop what is answered 408: it is longer than they wait for an answer.
    pub request_timeout: Span,
    /// Time a client has to send the body of a write after its head.
    pub body_timeout: Span,
    /// A client that takes nothing of its answer for this long gets no more of it.
    pub write_idle_timeout: Span,
    /// How long the node goes on for its clients after a stop was asked for, not ready and closing their connections.
    pub drain_timeout: Span,
    /// Time requests in flight have to finish when the node stops.
    pub stop_timeout: Span,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:19291".into(),
            workers: 0,
            body_bytes_max: ByteSize(32 << 20),
            inflated_bytes_max: ByteSize(128 << 20),
            connections_max: 20_000,
            connections_per_address: 0,
            keep_alive: Span::from_secs(120),
            cors_origin: String::new(),
            external_url: String::new(),
            route_prefix: String::new(),
            request_timeout: Span::from_secs(120),
            body_timeout: Span::from_secs(30),
            write_idle_timeout: Span::from_secs(30),
            drain_timeout: Span::from_secs(15),
            stop_timeout: Span::from_secs(20),
        }
    }
}
