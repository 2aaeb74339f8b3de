//! HTTP: remote write, Prometheus API, admin API.
