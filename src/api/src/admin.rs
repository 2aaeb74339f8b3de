//! What the admin API shows and does.

use async_trait::async_trait;
use serde_json::Value;
use trireme_base::ErrorKind;
use trireme_model::Tenant;

/// Why an admin call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// Decides the status.
    pub kind: ErrorKind,
    /// Text for the operator.
    pub message: String,
}

/// Administration of the node and its cluster. Answers are JSON values made from the owner's own structs.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Epoch, groups and replicas.
    async fn ring(&self) -> Result<Value, AdminError>;
    /// Positions per stream.
    async fn replication(&self) -> Result<Value, AdminError>;
    /// Whether this node is being rebuilt from a peer, why, and how far that is.
    async fn rebuild(&self) -> Result<Value, AdminError>;
    /// Leaves a rebuild that only trimmed logs made necessary.
    async fn cancel_rebuild(&self) -> Result<Value, AdminError>;
    /// Windows of one tenant or of all.
    async fn windows(&self, tenant: Option<Tenant>) -> Result<Value, AdminError>;
    /// Starts to drain this node.
    async fn drain(&self) -> Result<Value, AdminError>;
    /// Writes a checkpoint now.
    async fn checkpoint(&self) -> Result<Value, AdminError>;
    /// Adds a member; `body` is the request's JSON.
    async fn add_member(&self, body: Value) -> Result<Value, AdminError>;
    /// Removes a member; `body` is the request's JSON or null, or what its parameters say.
    async fn remove_member(&self, node: &str, body: Value) -> Result<Value, AdminError>;
    /// `drain`, `activate` or `replace` on a member; `body` is the request's JSON or null.
    async fn change_member(
        &self,
        node: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError>;
    /// `drain`, `activate`, `weigh` or `remove` on a group; `body` is the request's JSON or null.
    async fn change_group(
        &self,
        group: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError>;
    /// Makes an actor panic, where the settings allow it.
    async fn crash(&self, actor: &str) -> Result<Value, AdminError>;
}
