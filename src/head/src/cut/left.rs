//! Windows that a cut left in the head, because their blocks could not be written.

use trireme_model::Tenant;

use super::Taken;
use crate::bucket::BucketId;
use crate::state::LastCut;

/// Samples of one tenant and window that cut `cut` took and that are in no block yet. They stay in the head, in memory and in
/// checkpoints, until their block is written: one that cannot be written holds up no other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftWindow {
    /// The cut.
    pub cut: i64,
    /// Whose samples.
    pub tenant: Tenant,
    /// Number of the window.
    pub window: i64,
}

impl LeftWindow {
    fn takes(&self, window_ms: i64, tenant: &Tenant, id: BucketId) -> bool {
        id.window == self.window
            && *tenant == self.tenant
            && Taken::by(self.cut, window_ms).takes(id)
    }
}

impl LastCut {
    /// True if samples of this bucket are in a block.
    pub fn has(&self, window_ms: i64, tenant: &Tenant, id: BucketId) -> bool {
        let is_taken = self
            .number
            .is_some_and(|cut| Taken::by(cut, window_ms).takes(id));
        is_taken && !self.has_left(window_ms, tenant, id)
    }

    /// True if a cut took this bucket and left it.
    #[inline]
    pub fn has_left(&self, window_ms: i64, tenant: &Tenant, id: BucketId) -> bool {
        is_left(&self.left, window_ms, tenant, id)
    }
}

/// True if a bucket is of one of the windows that were left.
#[inline]
pub(crate) fn is_left(left: &[LeftWindow], window_ms: i64, tenant: &Tenant, id: BucketId) -> bool {
    // Mostly there is none.
    !left.is_empty() && left.iter().any(|left| left.takes(window_ms, tenant, id))
}

/// What one block holds of a window: what its cut takes, save for what earlier cuts took and left.
#[derive(Clone, Debug)]
pub(crate) struct Portion {
    window: i64,
    taken: Taken,
    before: Vec<Taken>,
}

impl Portion {
    /// The portion of `part`, where `left` is all that was left.
    pub fn of(left: &[LeftWindow], window_ms: i64, part: &LeftWindow) -> Self {
        let before = left
            .iter()
            .filter(|left: &&LeftWindow| {
                left.window == part.window && left.tenant == part.tenant && left.cut < part.cut
            })
            .map(|left| Taken::by(left.cut, window_ms));
        Self {
            window: part.window,
            taken: Taken::by(part.cut, window_ms),
            before: before.collect(),
        }
    }

    #[inline]
    pub fn takes(&self, id: BucketId) -> bool {
        id.window == self.window
            && self.taken.takes(id)
            && !self.before.iter().any(|cut| cut.takes(id))
    }
}
