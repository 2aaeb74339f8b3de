//! Tenants and their limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Span;

/// `[tenants]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tenants {
    /// Header that names the tenant.
    pub header: String,
    /// Second header that is understood when the first is absent.
    pub header_alias: String,
    /// Tenant of requests without a header.
    pub default: String,
    /// External label of blocks that holds the tenant.
    pub label: String,
    /// Limits of tenants without an override.
    pub limits: Limits,
    /// Limits by tenant; what is left out is taken from `limits`.
    pub overrides: BTreeMap<String, LimitsOverride>,
    /// Which tenants may write.
    pub create: TenantCreation,
    /// Tenants with data on a node at the same time; a further one is told to come again later. 0 means no bound.
    pub max: usize,
}

/// How tenants come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantCreation {
    /// By writing, up to `tenants.max`.
    Any,
    /// Only those that stand in `tenants.overrides`, and the default one.
    Listed,
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            header: "THANOS-TENANT".into(),
            header_alias: "X-Scope-OrgID".into(),
            default: "default-tenant".into(),
            label: "tenant_id".into(),
            limits: Limits::default(),
            overrides: BTreeMap::new(),
            create: TenantCreation::Any,
            max: 10_000,
        }
    }
}

/// Limits of one tenant on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Active series; known ones keep flowing at the limit, new ones are refused. 0 means no bound.
    pub series_max: u64,
    /// Samples a second, over time; more is answered 429. 0 means no bound.
    pub samples_per_second: u64,
    /// Samples at once, after a pause; at least those of a second.
    pub samples_burst: u64,
    /// Labels of a series.
    pub labels_max: usize,
    /// Bytes of a label name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label value.
    pub label_value_bytes_max: usize,
    /// Samples that a query may hold, if that is less than `query.max_samples`. 0 means as many.
    pub query_samples_max: usize,
    /// Queries, and streams, at the same time. 0 means all places but a quarter.
    pub query_concurrency_max: usize,
    /// From the first to the last step of a range query. 0 means no bound.
    pub query_range_max: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_max: 5_000_000,
            samples_per_second: 0,
            samples_burst: 0,
            labels_max: 64,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 4_096,
            query_samples_max: 0,
            query_concurrency_max: 0,
            query_range_max: Span::from_secs(0),
        }
    }
}

/// What is different for one tenant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsOverride {
    /// See [`Limits::series_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_max: Option<u64>,
    /// See [`Limits::samples_per_second`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_per_second: Option<u64>,
    /// See [`Limits::samples_burst`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_burst: Option<u64>,
    /// See [`Limits::labels_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_max: Option<usize>,
    /// See [`Limits::label_name_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_name_bytes_max: Option<usize>,
    /// See [`Limits::label_value_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_value_bytes_max: Option<usize>,
    /// See [`Limits::query_samples_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_samples_max: Option<usize>,
    /// See [`Limits::query_concurrency_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_concurrency_max: Option<usize>,
    /// See [`Limits::query_range_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_range_max: Option<Span>,
}

impl LimitsOverride {
    /// The tenant's limits: what is set here, and the rest of `base`.
    pub fn over(&self, base: &Limits) -> Limits {
        Limits {
            series_max: self.series_max.unwrap_or(base.series_max),
            samples_per_second: self.samples_per_second.unwrap_or(base.samples_per_second),
            samples_burst: self.samples_burst.unwrap_or(base.samples_burst),
            labels_max: self.labels_max.unwrap_or(base.labels_max),
            label_name_bytes_max: self
                .label_name_bytes_max
                .unwrap_or(base.label_name_bytes_max),
            label_value_bytes_max: self
                .label_value_bytes_max
                .unwrap_or(base.label_value_bytes_max),
            query_samples_max: self.query_samples_max.unwrap_or(base.query_samples_max),
            query_concurrency_max: self
                .query_concurrency_max
                .unwrap_or(base.query_concurrency_max),
            query_range_max: self.query_range_max.unwrap_or(base.query_range_max),
        }
    }
}
