//! Whom to copy from.

use trireme_base::NodeName;

use super::RebuildReason;

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
    /// It has more of a stream that the logs cannot give this node any more.
    pub has_stranded: bool,
}

/// The most complete one of those that may be asked; equal ones by name, so that the choice does not flutter.
///
/// Whoever was left behind asks only those that have what it lacks: what is installed then brings it forward each time. A
/// copy of anybody else would leave it where it was, and two that each lack what the other has let go of would copy for ever.
pub(super) fn choose(
    sources: &[Source],
    reason: Option<RebuildReason>,
    may_ask: impl Fn(&NodeName) -> bool,
) -> Option<NodeName> {
    let able = sources.iter().filter(|peer| {
        let helps = peer.has_stranded || reason != Some(RebuildReason::LeftBehind);
        !peer.is_rebuilding && helps && may_ask(&peer.node)
    });
    able.min_by_key(|peer| (peer.records_behind, &peer.node))
        .map(|peer| peer.node.clone())
}
