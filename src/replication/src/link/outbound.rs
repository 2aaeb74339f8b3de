//! What this node serves to the peer: its subscriptions, the send budget and catch-up reads.
//!
//! Nothing waits here for a slow peer except a bounded run of fresh records per subscription; whatever does not fit is
//! dropped and read from the log again when there is credit for it.

use std::collections::{BTreeMap, VecDeque};

use trireme_base::StreamId;
use trireme_wire::frame::{EndReason, Frame, Records, StreamEnded, Subscribe};
use trireme_wire::record::Record;

use super::{BySubscription, Effect, LinkConfig, LinkStats, ReadFault};
use crate::PositionVector;

/// The outbound half of a link.
#[derive(Debug)]
pub(super) struct Outbound {
    own: StreamId,
    config: LinkConfig,
    by_number: BySubscription<Subscription>,
    /// Record bytes given out and not reported as sent.
    sending_bytes: u64,
    /// The subscription after which the next turn starts.
    last_served: u32,
}

#[derive(Debug)]
struct Subscription {
    stream: StreamId,
    next_seq: u64,
    /// May go below 0 by one record.
    credit_bytes: i64,
    /// Records read from the log, a run without gaps.
    fetched: VecDeque<Record>,
    /// Records as they were appended, a run without gaps.
    fresh: VecDeque<Record>,
    fresh_bytes: u64,
    read: Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Idle,
    /// A read from this seq is under way.
    Running(u64),
    /// A read found nothing although the log should have it; tried again at the next tick.
    Later,
}

impl Outbound {
    pub(super) fn new(own: StreamId, config: LinkConfig) -> Self {
        Self {
            own,
            config,
            by_number: BTreeMap::new(),
            sending_bytes: 0,
            last_served: 0,
        }
    }

    pub(super) fn stop(&mut self) {
        self.by_number.clear();
        self.sending_bytes = 0;
        self.last_served = 0;
    }

    pub(super) fn subscribe(&mut self, subscribe: &Subscribe, effects: &mut Vec<Effect>) {
        let number = subscribe.subscription;
        let stream = subscribe.stream();

        // A stream is served once: a second subscription takes the place of the first.
        self.by_number.retain(|_, s| s.stream != stream);
        if self.by_number.len() >= self.config.subscriptions_max {
            return effects.push(ended(number, EndReason::TooMany, 0));
        }

        self.by_number.insert(
            number,
            Subscription {
                stream,
                next_seq: subscribe.from_seq.max(1),
                credit_bytes: i64::try_from(subscribe.credit_bytes).unwrap_or(i64::MAX),
                fetched: VecDeque::new(),
                fresh: VecDeque::new(),
                fresh_bytes: 0,
                read: Read::Idle,
            },
        );
    }

    pub(super) fn unsubscribe(&mut self, number: u32) {
        self.by_number.remove(&number);
    }

    pub(super) fn credit(&mut self, number: u32, bytes: u64) {
        if let Some(subscription) = self.by_number.get_mut(&number) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            subscription.credit_bytes = subscription.credit_bytes.saturating_add(bytes);
        }
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.sending_bytes = self.sending_bytes.saturating_sub(bytes);
    }

    /// Keeps fresh records for the subscription of their stream; [`Outbound::trim`] is to follow after sending.
    pub(super) fn appended(&mut self, records: Vec<Record>) {
        let Some(stream) = records.first().map(Record::stream) else {
            return;
        };
        let Some(subscription) = self.by_number.values_mut().find(|s| s.stream == stream) else {
            return;
        };

        for record in records {
            subscription.keep_fresh(record);
        }
    }

    /// Drops the oldest fresh records over the bound.
    pub(super) fn trim(&mut self, stream: StreamId) {
        for subscription in self.by_number.values_mut().filter(|s| s.stream == stream) {
            while subscription.fresh_bytes > self.config.fresh_bytes {
                subscription.drop_first_fresh();
            }
        }
    }

    pub(super) fn log_read(
        &mut self,
        stream: StreamId,
        from_seq: u64,
        result: Result<Vec<Record>, ReadFault>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((&number, subscription)) = self
            .by_number
            .iter_mut()
            .find(|(_, s)| s.stream == stream && s.read == Read::Running(from_seq))
        else {
            return;
        };

        subscription.read = Read::Idle;
        let end = match result {
            Ok(records) if records.is_empty() => {
                subscription.read = Read::Later;
                return;
            }
            Ok(records) => {
                subscription.fetched = records.into();
                return;
            }
            Err(ReadFault::Trimmed { first_seq }) => ended(number, EndReason::Trimmed, first_seq),
            Err(ReadFault::Failed(_)) => ended(number, EndReason::ReadFailed, 0),
        };

        self.by_number.remove(&number);
        effects.push(end);
    }

    pub(super) fn retry_reads(&mut self) {
        for subscription in self
            .by_number
            .values_mut()
            .filter(|s| s.read == Read::Later)
        {
            subscription.read = Read::Idle;
        }
    }

    /// Sends as much as credit and the send budget allow: the own stream first, because writes wait for it, then one
    /// frame per subscription in turn.
    pub(super) fn pump(
        &mut self,
        tails: &PositionVector,
        stats: &mut LinkStats,
        effects: &mut Vec<Effect>,
    ) {
        let own = self
            .by_number
            .iter()
            .find(|(_, s)| s.stream == self.own)
            .map(|(number, _)| *number);

        if let Some(own) = own {
            while self.serve(own, tails, stats, effects) {}
        }

        let later = self
            .by_number
            .range(self.last_served.saturating_add(1)..)
            .map(|(number, _)| *number);
        let mut turns: VecDeque<u32> = later.collect();

        turns.extend(
            self.by_number
                .range(..=self.last_served)
                .map(|(number, _)| *number),
        );

        while let Some(number) = turns.pop_front() {
            if Some(number) != own && self.serve(number, tails, stats, effects) {
                self.last_served = number;
                turns.push_back(number);
            }
        }
    }

    /// Sends one frame of a subscription or asks for a read; true if a frame was sent.
    fn serve(
        &mut self,
        number: u32,
        tails: &PositionVector,
        stats: &mut LinkStats,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.sending_bytes >= self.config.sending_bytes {
            return false;
        }
        let Some(subscription) = self.by_number.get_mut(&number) else {
            return false;
        };
        if subscription.credit_bytes <= 0 {
            return false;
        }

        let run = subscription.take_run(self.config.frame_bytes);
        if run.is_empty() {
            let behind = subscription.next_seq <= tails.get(subscription.stream);
            if behind && subscription.read == Read::Idle {
                subscription.read = Read::Running(subscription.next_seq);
                stats.catch_up_reads += 1;
                effects.push(Effect::ReadLog {
                    stream: subscription.stream,
                    from_seq: subscription.next_seq,
                    max_bytes: self.config.read_bytes,
                });
            }
            return false;
        }

        let records = Records::new(number, run).expect("BUG: a run is gapless and of one stream");
        let bytes = records.record_bytes();
        self.sending_bytes += bytes;
        stats.records_out += records.records().len() as u64;
        stats.record_bytes_out += bytes;
        effects.push(Effect::Send(Frame::Records(records)));

        true
    }
}

impl Subscription {
    fn keep_fresh(&mut self, record: Record) {
        if record.seq() < self.next_seq {
            return;
        }

        if self
            .fresh
            .back()
            .is_some_and(|last| last.seq() + 1 != record.seq())
        {
            if self
                .fresh
                .back()
                .is_some_and(|last| record.seq() <= last.seq())
            {
                return;
            }
            self.fresh.clear();
            self.fresh_bytes = 0;
        }

        self.fresh_bytes += record.bytes().len() as u64;
        self.fresh.push_back(record);
    }

    fn drop_first_fresh(&mut self) {
        if let Some(record) = self.fresh.pop_front() {
            self.fresh_bytes -= record.bytes().len() as u64;
        }
    }

    /// Takes the next run out of what is in memory, as far as credit goes: at most `frame_bytes`, or one larger record.
    fn take_run(&mut self, frame_bytes: u64) -> Vec<Record> {
        let mut run = Vec::new();

        let mut run_bytes = 0;
        while self.credit_bytes > 0 {
            let Some(next) = self.next_in_memory() else {
                break;
            };
            let bytes = next.bytes().len() as u64;
            if !run.is_empty() && run_bytes + bytes > frame_bytes {
                break;
            }
            run_bytes += bytes;
            self.credit_bytes -= bytes as i64;
            self.next_seq = next.seq() + 1;
            run.push(next);
        }

        run
    }

    /// The record that is to be sent next, if it is in memory; what lies before it is let go.
    fn next_in_memory(&mut self) -> Option<Record> {
        while self
            .fetched
            .front()
            .is_some_and(|r| r.seq() < self.next_seq)
        {
            self.fetched.pop_front();
        }

        while self.fresh.front().is_some_and(|r| r.seq() < self.next_seq) {
            self.drop_first_fresh();
        }

        let next = [self.fetched.front(), self.fresh.front()]
            .into_iter()
            .flatten()
            .find(|r| r.seq() == self.next_seq);

        next.cloned()
    }
}

fn ended(subscription: u32, reason: EndReason, first_seq: u64) -> Effect {
    Effect::Send(Frame::StreamEnded(StreamEnded {
        subscription,
        reason: reason as i32,
        first_seq,
    }))
}
