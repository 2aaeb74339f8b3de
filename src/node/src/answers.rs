//! Room for the answers to peers' calls, so that one that asks much and reads slowly does not fill the memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trireme_base::NodeName;

/// Room is counted in pieces of so many bytes.
const UNIT_BYTES: usize = 1 << 10;

/// A share of memory for each peer. An answer has its room before it is made, and keeps it until its last byte is written
/// to the peer, or the connection is gone.
#[derive(Debug)]
pub(crate) struct AnswerRoom {
    units_max: u32,
    peers: Mutex<BTreeMap<NodeName, Arc<Semaphore>>>,
}

/// Room for one answer.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

/// An answer and its room.
struct Kept {
    answer: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl AnswerRoom {
    /// Room for `bytes_max` of answers to each peer.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            units_max: units(bytes_max),
            peers: Mutex::default(),
        }
    }

    /// Waits for room for an answer of at most `bytes_max`. Calls of one peer get it in the order in which they come.
    pub(crate) async fn enter(&self, peer: &NodeName, bytes_max: usize) -> Room {
        let room = {
            let mut peers = self.peers.lock();
            Arc::clone(
                peers
                    .entry(peer.clone())
                    .or_insert_with(|| Arc::new(Semaphore::new(self.units_max as usize))),
            )
        };

        // One that is larger than all the room has it alone.
        let wanted = units(bytes_max).min(self.units_max);
        Room(room.acquire_many_owned(wanted).await.ok())
    }
}

impl Room {
    /// The answer is made. What it does not take is free for others.
    pub(crate) fn around(mut self, answer: Bytes) -> Bytes {
        let taken = units(answer.len());
        self.0 = self.0.take().and_then(|mut permit| {
            let count = (taken as usize).min(permit.num_permits());
            permit.split(count)
        });

        Bytes::from_owner(Kept {
            answer,
            _room: self,
        })
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_its_last_part_is_gone() {
        let rooms = AnswerRoom::new(10 << 10);
        let slow = NodeName::new("n1");
        let other = NodeName::new("n2");
        let room = rooms.enter(&slow, 8 << 10).await;
        assert!(
            rooms.enter(&slow, 8 << 10).now_or_never().is_none(),
            "while it is being made"
        );

        assert!(
            rooms.enter(&other, 8 << 10).now_or_never().is_some(),
            "each peer has its own"
        );

        let mut answer = room.around(Bytes::from(vec![7; 5 << 10]));
        assert!(rooms.enter(&slow, 6 << 10).now_or_never().is_none());
        assert!(
            rooms.enter(&slow, 5 << 10).now_or_never().is_some(),
            "what it does not take is free"
        );

        let rest = answer.split_off(1 << 10);
        drop(answer);
        assert!(rooms.enter(&slow, 6 << 10).now_or_never().is_none());

        assert_eq!(rest.len(), 4 << 10);
        drop(rest);
        assert!(
            rooms.enter(&slow, 100 << 10).now_or_never().is_some(),
            "a larger one has it alone"
        );
    }
}
