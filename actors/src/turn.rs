//! Whose turn it is among the live members of a group.

use trireme_base::NodeName;
use trireme_bucket::rank;
use trireme_model::Tenant;
use trireme_transport::Hub;

/// This node and those it is connected to.
pub(crate) struct Live {
    me: NodeName,
    nodes: Vec<NodeName>,
}

impl Live {
    /// As it is now.
    pub(crate) fn now(hub: &Hub) -> Self {
        let group = hub.group().lock();
        let me = group.me().node.clone();
        let others = group
            .peers()
            .filter(|(_, peer)| peer.connected)
            .map(|(node, _)| node.clone());

        Self {
            nodes: others.chain([me.clone()]).collect(),
            me,
        }
    }

    /// How many of them come before this node for what the tenant has up to `end_ms`.
    pub(crate) fn before_me(&self, tenant: &Tenant, end_ms: i64) -> u32 {
        rank(tenant, end_ms, &self.nodes, &self.me).unwrap_or(0) as u32
    }
}
