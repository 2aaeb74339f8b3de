//! A store in memory whose fsyncs are instant.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use trireme_base::{Incarnation, NodeName, StreamId};
use trireme_replication::{
    CommitTracker, DisconnectReason, PeerIdentity, PositionVector, ReadFault,
};
use trireme_ring::Quorum;
use trireme_wire::frame::Health;
use trireme_wire::record::{Record, RecordDraft, RecordKind};

use crate::{AppendRefused, Hub, Intake, ReplicaStore};

#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    streams: BTreeMap<StreamId, Vec<Record>>,
    commits: Option<CommitTracker<()>>,
    hub: Weak<Hub>,
    refuse_every: u64,
    appends: u64,
    hold_applied: bool,
}

impl MemoryStore {
    /// The process starts: from now on records of `own` may be written.
    pub fn boot(&self, me: &PeerIdentity, quorum: Quorum, hub: &Arc<Hub>) {
        let mut inner = self.inner.lock();
        inner.commits = Some(CommitTracker::new(me.stream(), me.node.clone(), quorum, 10));
        inner.hub = Arc::downgrade(hub);

        let durable: Vec<_> = inner
            .streams
            .iter()
            .map(|(s, records)| (*s, records.len() as u64))
            .collect();

        drop(inner);
        hub.durable(&durable);
    }

    pub fn refuse_every(&self, nth: u64) {
        self.inner.lock().refuse_every = nth;
    }

    /// The shards stop, or apply everything they have.
    pub fn hold_applied(&self, hold: bool) {
        let mut inner = self.inner.lock();
        inner.hold_applied = hold;
        let tails: Vec<_> = inner
            .streams
            .iter()
            .map(|(s, records)| (*s, records.len() as u64))
            .collect();

        let hub = inner.hub.upgrade().filter(|_| !hold);
        drop(inner);

        if let Some(hub) = hub {
            tails
                .into_iter()
                .for_each(|(stream, seq)| hub.applied(stream, seq));
        }
    }

    pub fn write(&self, own: StreamId, count: usize, bytes: usize) {
        let next = self.written().get(own) + 1;
        self.take(
            (0..count)
                .map(|i| {
                    let mut draft = RecordDraft::new(0, RecordKind::Samples);
                    draft.payload_mut().resize(32 + bytes, i as u8);
                    draft.seal(own, next + i as u64)
                })
                .collect(),
        );
    }

    fn take(&self, records: Vec<Record>) {
        let hub = self.inner.lock().hub.upgrade();
        let stream = records[0].stream();
        let mut fresh = Vec::new();
        let mut inner = self.inner.lock();

        let log = inner.streams.entry(stream).or_default();
        for record in records {
            if record.seq() == log.len() as u64 + 1 {
                log.push(record.clone());
                fresh.push(record);
            } else {
                assert!(record.seq() <= log.len() as u64, "a gap in {stream}");
            }
        }

        let tail = log.len() as u64;
        if let Some(commits) = inner.commits.as_mut().filter(|c| c.stream() == stream) {
            commits.own_durable(tail);
            commits.advance();
        }

        let applies = !inner.hold_applied;
        drop(inner);

        if let Some(hub) = hub {
            fresh.iter().for_each(|record| hub.written(record));
            hub.batch_written();
            hub.durable(&[(stream, tail)]);
            if applies {
                hub.applied(stream, tail);
            }
        }
    }

    pub fn committed(&self) -> u64 {
        self.inner
            .lock()
            .commits
            .as_ref()
            .map_or(0, CommitTracker::committed)
    }

    pub fn record_count(&self) -> usize {
        self.inner.lock().streams.values().map(Vec::len).sum()
    }

    /// Everything there is, for comparison.
    pub fn content(&self) -> BTreeMap<StreamId, Vec<Record>> {
        self.inner.lock().streams.clone()
    }
}

impl ReplicaStore for MemoryStore {
    fn written(&self) -> PositionVector {
        self.inner
            .lock()
            .streams
            .iter()
            .map(|(stream, records)| (*stream, records.len() as u64))
            .collect()
    }

    fn durable(&self) -> PositionVector {
        self.written()
    }

    fn taken(&self) -> PositionVector {
        self.written()
    }

    fn intake(&self) -> Intake {
        Intake {
            is_open: true,
            refusals: 0,
        }
    }

    fn append(&self, records: Vec<Record>) -> Result<(), AppendRefused> {
        let mut inner = self.inner.lock();
        inner.appends += 1;
        if inner.refuse_every > 0 && inner.appends.is_multiple_of(inner.refuse_every) {
            return Err(AppendRefused::Busy);
        }

        drop(inner);
        self.take(records);
        Ok(())
    }

    fn read(
        &self,
        stream: StreamId,
        from: u64,
        max_bytes: u64,
    ) -> BoxFuture<'static, Result<Vec<Record>, ReadFault>> {
        let inner = self.inner.lock();
        let mut bytes = 0;
        let records = inner.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let run = records
            .iter()
            .skip(from as usize - 1)
            .take_while(|record: &&Record| {
                let before = bytes;
                bytes += record.bytes().len() as u64;
                before < max_bytes
            })
            .cloned()
            .collect();

        Box::pin(std::future::ready(Ok(run)))
    }

    fn peer_up(&self, peer: &PeerIdentity) {
        if let Some(commits) = self.inner.lock().commits.as_mut() {
            commits.trust(&peer.node, peer.incarnation);
        }
    }

    fn peer_durable(
        &self,
        peer: &NodeName,
        incarnation: Incarnation,
        positions: &PositionVector,
        epoch: u64,
    ) -> Result<(), DisconnectReason> {
        let mut inner = self.inner.lock();
        let own = inner.commits.as_ref().map(CommitTracker::stream);
        let written = own
            .and_then(|own| inner.streams.get(&own))
            .map_or(0, |records| records.len() as u64);

        if let Some(commits) = inner.commits.as_mut() {
            let (stream, claimed) = (commits.stream(), positions.get(commits.stream()));
            if claimed > written {
                return Err(DisconnectReason::SecondWriter {
                    stream,
                    written,
                    claimed,
                });
            }
            commits.peer_durable(peer, incarnation, claimed, epoch);
            commits.advance();
        }

        Ok(())
    }

    fn health(&self) -> Health {
        Health {
            ready: true,
            ..Health::default()
        }
    }
}
