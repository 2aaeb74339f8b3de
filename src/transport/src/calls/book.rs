//! The calls to each peer of the ring.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use trireme_base::NodeName;

use crate::Calls;

/// Calls by peer; follows the ring.
#[derive(Debug)]
pub struct CallBook {
    calls_max: usize,
    answer_bytes_max: usize,
    peers: RwLock<Arc<BTreeMap<NodeName, Arc<Calls>>>>,
}

impl CallBook {
    /// A book without peers; the bounds are those of [`Calls::new`].
    pub fn new(calls_max: usize, answer_bytes_max: usize) -> Self {
        Self {
            calls_max,
            answer_bytes_max,
            peers: RwLock::default(),
        }
    }

    /// The ring has changed; peers that stay keep their calls. Called by one thread at a time.
    pub fn set_peers<'a>(&self, peers: impl IntoIterator<Item = &'a NodeName>) {
        let known = self.all();
        let next = peers.into_iter().map(|node| {
            let calls = match known.get(node) {
                Some(calls) => Arc::clone(calls),
                None => Arc::new(Calls::new(self.calls_max, self.answer_bytes_max)),
            };
            (node.clone(), calls)
        });
        let next = next.collect();

        *self.peers.write() = Arc::new(next);
    }

    /// Calls to a peer.
    pub fn get(&self, node: &NodeName) -> Option<Arc<Calls>> {
        self.peers.read().get(node).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Arc<BTreeMap<NodeName, Arc<Calls>>> {
        Arc::clone(&self.peers.read())
    }
}
