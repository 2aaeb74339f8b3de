//! What this node takes from the peer: subscriptions, credit, and what is not applied yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trireme_base::StreamId;
use trireme_wire::frame::{Credit, Frame, Records, Subscribe, Unsubscribe};
use trireme_wire::record::RECORD_BYTES_MAX;

use super::{BySubscription, DisconnectReason, Effect, LinkConfig, LinkStats, Taken};
use crate::PositionVector;

/// The inbound half of a link.
#[derive(Debug)]
pub(super) struct Inbound {
    window_bytes: u64,
    other_window_bytes: u64,
    /// The stream that the peer is writing.
    running: Option<StreamId>,
    next_subscription: u32,
    by_number: BySubscription<Subscription>,
    /// Record bytes handed over to be appended and not applied yet, by stream. Kept over sessions: a new connection must
    /// not get a whole new window while the old one's records are still in memory.
    unapplied: BTreeMap<StreamId, Unapplied>,
}

#[derive(Debug)]
struct Subscription {
    stream: StreamId,
    next_seq: u64,
    granted_bytes: u64,
    received_bytes: u64,
    /// Applied bytes not yet told to the peer.
    owed_bytes: u64,
}

#[derive(Debug, Default)]
struct Unapplied {
    /// Last seq and bytes of each batch.
    batches: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Unapplied {
    fn push(&mut self, last_seq: u64, bytes: u64) {
        self.batches.push_back((last_seq, bytes));
        self.bytes += bytes;
    }

    /// Takes out what is applied up to `seq`; gives its bytes.
    fn applied(&mut self, seq: u64) -> u64 {
        let mut freed = 0;
        while let Some(&(last_seq, bytes)) = self.batches.front() {
            if last_seq > seq {
                break;
            }
            freed += bytes;
            self.batches.pop_front();
        }

        self.bytes -= freed;
        freed
    }
}

impl Inbound {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            window_bytes: config.window_bytes,
            other_window_bytes: config.other_window_bytes,
            running: None,
            next_subscription: 1,
            by_number: BTreeMap::new(),
            unapplied: BTreeMap::new(),
        }
    }

    /// A session begins with a peer that writes `running`. Batches beyond the tails never reached the log and will never
    /// be applied.
    pub(super) fn start(
        &mut self,
        running: StreamId,
        tails: &PositionVector,
        applied: &PositionVector,
    ) {
        self.running = Some(running);
        self.keep(|stream, last_seq| {
            (applied.get(stream) + 1..=tails.get(stream)).contains(&last_seq)
        });
    }

    /// Keeps those batches that wait to be applied, by their stream and last seq.
    fn keep(&mut self, is_waiting: impl Fn(StreamId, u64) -> bool) {
        for (stream, unapplied) in &mut self.unapplied {
            unapplied
                .batches
                .retain(|(last_seq, _)| is_waiting(*stream, *last_seq));
            unapplied.bytes = unapplied.batches.iter().map(|(_, bytes)| bytes).sum();
        }
        self.unapplied.retain(|_, unapplied| unapplied.bytes > 0);
    }

    /// What the log has not taken will never be applied.
    pub(super) fn let_go(&mut self, taken: &PositionVector) {
        self.keep(|stream, last_seq| last_seq <= taken.get(stream));
    }

    pub(super) fn stop(&mut self) {
        self.by_number.clear();
        self.next_subscription = 1;
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.by_number.values().map(|s| s.stream)
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.by_number
            .values()
            .map(|s: &Subscription| Taken {
                stream: s.stream,
                seq: s.next_seq - 1,
                has_room: s.received_bytes < s.granted_bytes,
                has_given: s.received_bytes > 0,
            })
            .collect()
    }

    pub(super) fn has(&self, stream: StreamId) -> bool {
        self.streams().any(|s| s == stream)
    }

    pub(super) fn unapplied_bytes(&self) -> u64 {
        self.unapplied.values().map(|u| u.bytes).sum()
    }

    /// Makes the subscriptions equal to `wanted`.
    pub(super) fn assign(
        &mut self,
        wanted: &[StreamId],
        tails: &PositionVector,
        effects: &mut Vec<Effect>,
    ) {
        let wanted: BTreeSet<StreamId> = wanted.iter().copied().collect();
        self.by_number.retain(|number, subscription| {
            let keep = wanted.contains(&subscription.stream);
            if !keep {
                effects.push(Effect::Send(Frame::Unsubscribe(Unsubscribe {
                    subscription: *number,
                })));
            }
            keep
        });

        let held: BTreeSet<StreamId> = self.streams().collect();
        for stream in wanted.difference(&held) {
            self.subscribe(*stream, tails.get(*stream) + 1, effects);
        }
    }

    /// Record bytes of a stream that may be under way. All windows together are what a peer may have under way.
    fn window_of(&self, stream: StreamId) -> u64 {
        if self.running == Some(stream) {
            self.window_bytes
        } else {
            self.other_window_bytes
        }
    }

    fn subscribe(&mut self, stream: StreamId, from_seq: u64, effects: &mut Vec<Effect>) {
        let number = self.next_subscription;
        self.next_subscription = self.next_subscription.wrapping_add(1);
        let unapplied_bytes = self.unapplied.get(&stream).map_or(0, |u| u.bytes);
        let credit_bytes = self.window_of(stream).saturating_sub(unapplied_bytes);

        self.by_number.insert(
            number,
            Subscription {
                stream,
                next_seq: from_seq,
                granted_bytes: credit_bytes,
                received_bytes: 0,
                owed_bytes: 0,
            },
        );

        effects.push(Effect::Send(Frame::Subscribe(Subscribe {
            subscription: number,
            incarnation: stream.incarnation.0,
            boot: stream.boot.0,
            from_seq,
            credit_bytes,
        })));
    }

    pub(super) fn records(
        &mut self,
        records: Records,
        stats: &mut LinkStats,
        effects: &mut Vec<Effect>,
    ) -> Result<(), DisconnectReason> {
        // Frames of a subscription that was given up may still be on their way.
        let Some(subscription) = self.by_number.get_mut(&records.subscription()) else {
            return Ok(());
        };

        let stream = records.stream();
        let bytes = records.record_bytes();
        if stream != subscription.stream {
            return Err(DisconnectReason::Protocol(
                "records of another stream than subscribed",
            ));
        }

        if records.first_seq() != subscription.next_seq {
            return Err(DisconnectReason::Protocol("records out of order"));
        }

        subscription.received_bytes += bytes;
        if subscription.received_bytes > subscription.granted_bytes + RECORD_BYTES_MAX as u64 {
            return Err(DisconnectReason::Protocol("records beyond the credit"));
        }

        subscription.next_seq = records.last_seq() + 1;
        stats.records_in += records.records().len() as u64;
        stats.record_bytes_in += bytes;
        self.unapplied
            .entry(stream)
            .or_default()
            .push(records.last_seq(), bytes);
        effects.push(Effect::Append {
            stream,
            records: records.into_records(),
        });

        Ok(())
    }

    /// The peer ended a subscription; gives its stream.
    pub(super) fn ended(&mut self, number: u32) -> Option<StreamId> {
        self.by_number.remove(&number).map(|s| s.stream)
    }

    /// Frees what is applied and gives credit for it, not for each batch but for a quarter of the window at a time.
    pub(super) fn applied(
        &mut self,
        stream: StreamId,
        seq: u64,
        live: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(unapplied) = self.unapplied.get_mut(&stream) else {
            return;
        };

        let freed = unapplied.applied(seq);

        let empty = unapplied.bytes == 0;
        if empty {
            self.unapplied.remove(&stream);
        }

        if !live {
            return;
        }

        let window_bytes = self.window_of(stream);
        let Some((number, subscription)) =
            self.by_number.iter_mut().find(|(_, s)| s.stream == stream)
        else {
            return;
        };

        subscription.owed_bytes += freed;
        if subscription.owed_bytes > 0 && (empty || subscription.owed_bytes >= window_bytes / 4) {
            let bytes = std::mem::take(&mut subscription.owed_bytes);
            subscription.granted_bytes += bytes;
            effects.push(Effect::Send(Frame::Credit(Credit {
                subscription: *number,
                bytes,
            })));
        }
    }
}
