//! Members that say that this process must not run.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use trireme_base::NodeName;

use crate::Refusal;

/// Members that have to say so, if there are so many.
const NEEDED: usize = 2;

/// Who has refused this process as a copy of another one, since anybody let it in.
///
/// One member may be wrong: it may know a process that never came to be, or it may be somebody else at a member's
/// address. A process that one member refuses while the others cannot be asked is in nobody's quorum, and waits.
#[derive(Debug, Default)]
pub struct Witnesses(Mutex<BTreeMap<NodeName, Refusal>>);

impl Witnesses {
    /// One of `members` members refused this process. Gives what they say once enough say so.
    pub fn heard(&self, from: &NodeName, refusal: &Refusal, members: usize) -> Option<Refusal> {
        let mut known = self.0.lock();
        known.insert(from.clone(), refusal.clone());
        if known.len() < NEEDED.min(members.max(1)) {
            return None;
        }

        let names: Vec<&str> = known.keys().map(NodeName::as_str).collect();
        let detail = format!("{} ({})", refusal.detail, names.join(", "));
        Some(Refusal {
            reason: refusal.reason,
            detail,
        })
    }

    /// A member let this process in.
    pub fn forget_all(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use trireme_wire::frame::RefuseReason;

    use super::*;

    #[test]
    fn one_member_of_several_is_not_enough() {
        let refusal = Refusal {
            reason: RefuseReason::DuplicateIncarnation,
            detail: "a copy".to_owned(),
        };
        let n1 = NodeName::new("n1");
        let n2 = NodeName::new("n2");
        let witnesses = Witnesses::default();
        assert!(witnesses.heard(&n1, &refusal, 2).is_none());

        assert!(
            witnesses.heard(&n1, &refusal, 2).is_none(),
            "the same one again"
        );

        witnesses.forget_all();
        assert!(witnesses.heard(&n2, &refusal, 2).is_none());
        let agreed = witnesses.heard(&n1, &refusal, 2).expect("both");

        assert_eq!(agreed.detail, "a copy (n1, n2)");
        assert!(
            Witnesses::default().heard(&n1, &refusal, 1).is_some(),
            "there is no other"
        );
    }
}
