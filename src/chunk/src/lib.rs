//! Sample encodings, bit-compatible with Prometheus.
