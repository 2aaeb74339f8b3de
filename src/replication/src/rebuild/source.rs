//! Whom to copy from.

use trireme_base::NodeName;

/// A connected peer that told its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub node: NodeName,
    /// It is being rebuilt itself.
    pub is_rebuilding: bool,
    /// It has data that its log alone could not give.
    pub has_history: bool,
    /// Records that some replica has and it has not.
    pub records_behind: u64,
}

/// The most complete one of those that may be asked; equal ones by name, so that the choice does not flutter.
pub(super) fn choose(sources: &[Source], may_ask: impl Fn(&NodeName) -> bool) -> Option<NodeName> {
    let able = sources.iter().filter(|peer| !peer.is_rebuilding && may_ask(&peer.node));
    able.min_by_key(|peer| (peer.records_behind, &peer.node)).map(|peer| peer.node.clone())
}
