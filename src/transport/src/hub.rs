//! One place to tell what the own log did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use trireme_base::{Ended, NodeName, StreamId};
use trireme_replication::{DisconnectReason, GroupRing, GroupView};
use trireme_wire::record::Record;

use crate::Feed;

/// The view of the group that all links of a node share. Locked for moments only.
pub type SharedGroup = Arc<Mutex<GroupView>>;

/// Spreads news of the own log to the group view and to the feed of each peer. Nothing here blocks: it is called on the
/// log's thread.
#[derive(Debug)]
pub struct Hub {
    /// The stream this node writes.
    own: StreamId,
    group: SharedGroup,
    /// Epoch of the view's ring, to be read without its lock.
    epoch: AtomicU64,
    /// Replaced as a whole when the ring changes.
    feeds: RwLock<Arc<Feeds>>,
    feed_bytes: u64,
    /// A record of the own stream was written, and the feeds were not woken since.
    untold: AtomicBool,
    /// What showed that somebody else writes the own stream, or wrote it.
    second_writer: watch::Sender<Option<DisconnectReason>>,
}

type Feeds = BTreeMap<NodeName, Arc<Feed>>;

impl Hub {
    /// A hub with one feed per peer of the group; each feed keeps at most `feed_bytes` of records.
    pub fn new(group: GroupView, feed_bytes: u64) -> Self {
        let peers = group.peers().map(|(node, _)| node.clone());
        let feeds: Feeds = peers
            .map(|node| (node, Arc::new(Feed::new(feed_bytes))))
            .collect();
        let own = group.me().stream();

        Self {
            own,
            epoch: AtomicU64::new(group.epoch()),
            group: Arc::new(Mutex::new(group)),
            feeds: RwLock::new(Arc::new(feeds)),
            feed_bytes,
            untold: AtomicBool::new(false),
            second_writer: watch::Sender::new(None),
        }
    }

    /// The ring has changed: view and feeds follow. Peers that stay keep their feeds. Called by one thread at a time.
    pub fn set_ring(&self, ring: GroupRing, now: Duration) {
        let known = self.feeds();
        let mut group = self.group.lock();
        group.set_ring(ring, now);

        // With the lock held: what this node has under the older ring is in the view by now.
        self.epoch.store(group.epoch(), Ordering::Release);
        let feeds = group.peers().map(|(node, _)| {
            let feed = match known.get(node) {
                Some(feed) => Arc::clone(feed),
                None => Arc::new(Feed::new(self.feed_bytes)),
            };
            (node.clone(), feed)
        });
        let feeds: Feeds = feeds.collect();

        *self.feeds.write() = Arc::new(feeds);
    }

    fn feeds(&self) -> Arc<Feeds> {
        Arc::clone(&self.feeds.read())
    }

    /// The view of the group.
    pub fn group(&self) -> &SharedGroup {
        &self.group
    }

    /// Epoch of the ring by which this node goes towards its peers.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A peer has more of the own stream than this process ever wrote.
    pub fn note_second_writer(&self, proof: &DisconnectReason) {
        self.second_writer.send_replace(Some(proof.clone()));
    }

    /// Resolves when a peer has shown that the own stream has a second writer: this node's data directory is a copy, or was
    /// set back to an older state. The node must then stop and say why.
    pub async fn second_writer(&self) -> DisconnectReason {
        let mut changes = self.second_writer.subscribe();
        let found = changes
            .wait_for(Option::is_some)
            .await
            .expect("BUG: the hub holds the sender");
        found.clone().expect("BUG: waited for it")
    }

    /// The feed of a peer.
    pub fn feed(&self, node: &NodeName) -> Option<Arc<Feed>> {
        self.feeds.read().get(node).cloned()
    }

    /// A record was written to the own log, in the order of its stream. Wakes nobody: [`Hub::batch_written`] does.
    pub fn written(&self, record: &Record) {
        if record.stream() == self.own {
            self.untold.store(true, Ordering::Relaxed);
        }
        for feed in self.feeds().values() {
            feed.written(record);
        }
    }

    /// All records of a batch were written. Peers wait for those of the own stream; others are fetched from their origin,
    /// and if this node serves them after all, their fsync, which follows, wakes it.
    pub fn batch_written(&self) {
        if self.untold.swap(false, Ordering::Relaxed) {
            self.feeds().values().for_each(|feed| feed.wake());
        }
    }

    /// The own log is fsynced up to these positions. Origins wait to hear of theirs; the own stream's is told by
    /// heartbeats.
    pub fn durable(&self, positions: &[(StreamId, u64)]) {
        {
            let mut group = self.group.lock();
            for (stream, seq) in positions {
                group.own_durable(*stream, *seq);
            }
        }

        let wake = positions.iter().any(|(stream, _)| *stream != self.own);
        for feed in self.feeds().values() {
            feed.durable(positions, wake);
        }
    }

    /// All shards have applied a stream up to `seq`.
    pub fn applied(&self, stream: StreamId, seq: u64) {
        for feed in self.feeds().values() {
            feed.applied(stream, seq);
        }
    }

    /// Streams have ended for this node.
    pub fn end(&self, ended: &Ended) {
        self.group.lock().end(ended);
        for feed in self.feeds().values() {
            feed.end(ended);
        }
    }
}
