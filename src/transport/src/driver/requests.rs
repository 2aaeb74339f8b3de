//! Calls of the peer whose bodies are still coming, and what the bodies of all its calls hold.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use trireme_wire::frame::RequestHead;
use trireme_wire::record::RECORD_BYTES_MAX;

/// Bytes of bodies of one peer's calls that are held at a time: two of the largest calls.
const REQUEST_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// Calls whose bodies are still coming, or that are being answered.
const REQUESTS_MAX: usize = 64;
/// What a call takes beside its body, roughly.
const OVERHEAD_BYTES: usize = 256;

/// Bodies of the peer's calls.
#[derive(Debug, Default)]
pub(super) struct Requests {
    coming: BTreeMap<u64, (RequestHead, BytesMut)>,
    /// Bytes of the calls that are being answered.
    answering: BTreeMap<u64, usize>,
    bytes: usize,
}

/// What came of a part.
#[derive(Debug, PartialEq)]
pub(super) enum Arrived {
    /// The call is whole, to be answered.
    Whole(RequestHead, Bytes),
    /// More is to come, or the rest of what was refused came.
    Part,
    /// There is no room for this call.
    NoRoom,
}

impl Requests {
    /// A part of a call came.
    pub(super) fn arrived(&mut self, head: RequestHead, body: Bytes) -> Arrived {
        if head.part == 0 {
            return self.first(head, body);
        }

        // The rest of a call that was refused or given up may still be on its way.
        let Some((_, held)) = self.coming.get_mut(&head.id) else {
            return Arrived::Part;
        };
        if held.len() + body.len() > RECORD_BYTES_MAX || self.bytes + body.len() > REQUEST_BYTES_MAX
        {
            self.forget(head.id);
            return Arrived::NoRoom;
        }

        held.extend_from_slice(&body);
        self.bytes += body.len();
        if head.more {
            return Arrived::Part;
        }

        let (first, whole) = self.coming.remove(&head.id).expect("BUG: looked up above");
        self.answering.insert(head.id, OVERHEAD_BYTES + whole.len());
        Arrived::Whole(first, whole.freeze())
    }

    fn first(&mut self, head: RequestHead, body: Bytes) -> Arrived {
        let bytes = OVERHEAD_BYTES + body.len();
        let calls = self.coming.len() + self.answering.len();
        if calls >= REQUESTS_MAX || self.bytes + bytes > REQUEST_BYTES_MAX {
            return Arrived::NoRoom;
        }

        self.bytes += bytes;
        if head.more {
            self.coming
                .insert(head.id, (head, BytesMut::from(&body[..])));
            return Arrived::Part;
        }

        self.answering.insert(head.id, bytes);
        Arrived::Whole(head, body)
    }

    /// A call was answered or given up.
    pub(super) fn forget(&mut self, id: u64) {
        let coming = self
            .coming
            .remove(&id)
            .map(|(_, held)| OVERHEAD_BYTES + held.len());
        let answering = self.answering.remove(&id);
        self.bytes -= coming.unwrap_or(0) + answering.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: u64, part: u32, more: bool) -> RequestHead {
        RequestHead {
            id,
            part,
            more,
            deadline_ms: 1,
            ..RequestHead::default()
        }
    }

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    #[test]
    fn puts_the_parts_of_a_call_together() {
        let mut requests = Requests::default();
        assert_eq!(requests.arrived(head(1, 0, true), bytes(3)), Arrived::Part);
        assert_eq!(
            requests.arrived(head(2, 0, false), bytes(1)),
            Arrived::Whole(head(2, 0, false), bytes(1))
        );
        assert_eq!(requests.arrived(head(1, 1, true), bytes(4)), Arrived::Part);
        assert_eq!(
            requests.arrived(head(1, 2, false), bytes(2)),
            Arrived::Whole(head(1, 0, true), bytes(9))
        );
        requests.forget(1);
        requests.forget(2);
        assert_eq!(requests.bytes, 0);
    }

    #[test]
    fn bounds_what_it_holds_in_bytes_and_in_calls() {
        let mut requests = Requests::default();
        assert_eq!(
            requests.arrived(head(1, 0, true), bytes(RECORD_BYTES_MAX)),
            Arrived::Part
        );
        assert_eq!(
            requests.arrived(head(1, 1, true), bytes(1)),
            Arrived::NoRoom,
            "larger than any call"
        );

        assert_eq!(
            requests.arrived(head(1, 2, false), bytes(1)),
            Arrived::Part,
            "its rest is nobody's"
        );

        assert_eq!(requests.bytes, 0);

        let half = RECORD_BYTES_MAX - OVERHEAD_BYTES;
        assert!(matches!(
            requests.arrived(head(2, 0, false), bytes(half)),
            Arrived::Whole(..)
        ));
        assert!(matches!(
            requests.arrived(head(3, 0, false), bytes(half)),
            Arrived::Whole(..)
        ));

        assert_eq!(
            requests.arrived(head(4, 0, false), bytes(0)),
            Arrived::NoRoom
        );
        requests.forget(3);

        for id in 5..5 + REQUESTS_MAX as u64 - 1 {
            assert!(matches!(
                requests.arrived(head(id, 0, false), bytes(0)),
                Arrived::Whole(..)
            ));
        }

        assert_eq!(
            requests.arrived(head(99, 0, false), bytes(0)),
            Arrived::NoRoom,
            "as many as it answers"
        );
    }
}
