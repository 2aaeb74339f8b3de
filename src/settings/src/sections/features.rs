//! `[features]`: switches under Prometheus's names.

use serde::{Deserialize, Serialize};

use super::{FloatEncoding, Settings};

/// `[features]`: switches under the names that Prometheus has for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Features {
    /// Functions and aggregations that may still change.
    pub promql_experimental_functions: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub promql_binop_fill_modifiers: bool,
    /// Names with letters of any script and dots need no quotes.
    pub promql_unquoted_utf8_names: bool,
    /// Start timestamps are kept in blocks and given to readers, and take part in `rate`, `irate`, `increase` and
    /// `resets`, unless a query says otherwise. Off, they are nowhere; equal on all nodes of a group.
    pub use_start_timestamps: bool,
    /// The paths below `/api/v1/search`.
    pub search_api: bool,
    /// What a query costs is estimated on demand, and limited.
    pub query_cost: bool,
    /// `stats=all` lists samples by step.
    pub promql_per_step_stats: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            promql_experimental_functions: true,
            promql_binop_fill_modifiers: true,
            promql_unquoted_utf8_names: false,
            use_start_timestamps: false,
            search_api: false,
            query_cost: false,
            promql_per_step_stats: false,
        }
    }
}

impl Settings {
    /// True if start timestamps are kept in blocks and given to readers, from blocks and from the head.
    pub fn keeps_start_timestamps(&self) -> bool {
        self.features.use_start_timestamps || self.storage.float_encoding == FloatEncoding::Xor2
    }

    /// The switches as they are in force.
    pub fn features_in_force(&self) -> Features {
        let query = &self.query;
        let on = &self.features;
        let experimental = query.enable_experimental;

        Features {
            promql_experimental_functions: experimental && on.promql_experimental_functions,
            promql_binop_fill_modifiers: experimental && on.promql_binop_fill_modifiers,
            promql_unquoted_utf8_names: experimental && on.promql_unquoted_utf8_names,
            use_start_timestamps: query.start_timestamps && self.keeps_start_timestamps(),
            search_api: experimental && on.search_api,
            query_cost: experimental && on.query_cost,
            promql_per_step_stats: experimental && on.promql_per_step_stats,
        }
    }
}
