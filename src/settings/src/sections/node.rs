//! `[node]`: who a node is.

use serde::{Deserialize, Serialize};

/// `[node]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Unique name in the cluster; finds the node's own entry in `cluster.peers`.
    pub name: String,
    /// Failure zone; replicas of a group are spread over zones.
    pub zone: String,
    /// Directory that holds everything the node stores.
    pub data_dir: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "n0".into(),
            zone: String::new(),
            data_dir: "./trireme-data".into(),
        }
    }
}
