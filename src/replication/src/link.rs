//! The protocol with one peer: both directions of one connection as one state machine.
//!
//! Inbound (what this node takes from the peer) lives in `inbound`, outbound (what it serves to the peer) in `outbound`;
//! this file routes events to them and keeps the session alive.

mod config;
mod event;
mod inbound;
mod outbound;

pub use config::LinkConfig;
pub use event::{DisconnectReason, Effect, Event, ReadFault, Taken};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use trireme_base::{Ended, NodeName, StreamId};
use trireme_wire::frame::{Ack, EndReason, Frame, Health, Heartbeat, Position, StartsBefore};

use crate::{Ends, PeerIdentity, PositionVector};
use inbound::Inbound;
use outbound::Outbound;

/// Positions that stand still in one heartbeat, once the peer was told all of them.
const HEARTBEAT_REPEATED_MAX: usize = 64;
/// Incarnations of which one heartbeat says what has ended.
const HEARTBEAT_ENDS_MAX: usize = 256;

/// Counts since the link was made, for metrics and the status page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Sessions begun.
    pub sessions: u64,
    /// Records taken from the peer.
    pub records_in: u64,
    /// Their bytes.
    pub record_bytes_in: u64,
    /// Records sent to the peer.
    pub records_out: u64,
    /// Their bytes.
    pub record_bytes_out: u64,
    /// Reads of the own log because the peer was behind.
    pub catch_up_reads: u64,
    /// Subscriptions that the peer ended.
    pub refused_by_peer: u64,
}

/// State of the protocol with one peer. It outlives connections: each [`Event::Up`] starts a new session.
#[derive(Debug)]
pub struct PeerLink {
    me: PeerIdentity,
    peer: NodeName,
    config: LinkConfig,
    session: Option<Session>,
    /// Highest seq of each stream in this node's log, fsynced or not.
    tails: PositionVector,
    /// Highest seq of each stream fsynced in this node's log.
    durable: PositionVector,
    inbound: Inbound,
    outbound: Outbound,
    health: Health,
    ends: Arc<Ends>,
    stats: LinkStats,
}

#[derive(Debug)]
struct Session {
    peer: PeerIdentity,
    last_heard: Duration,
    next_heartbeat: Duration,
    /// Where the next heartbeat's part of the position vector starts.
    sent_up_to: Option<StreamId>,
    /// The peer was told the whole vector once.
    has_told_all: bool,
    /// Heartbeats sent.
    heartbeats: usize,
    /// Streams that have moved since the last heartbeat.
    moved: BTreeSet<StreamId>,
    /// What the peer has said it has durably of the stream this node is writing now.
    claimed_own: u64,
    /// Since when it claims more of it than was ever written.
    overclaimed_since: Option<Duration>,
}

impl PeerLink {
    /// A link from `me` to `peer` without a session.
    pub fn new(me: PeerIdentity, peer: NodeName, config: LinkConfig) -> Self {
        Self {
            inbound: Inbound::new(&config),
            outbound: Outbound::new(me.stream(), config.clone()),
            me,
            peer,
            config,
            session: None,
            tails: PositionVector::new(),
            durable: PositionVector::new(),
            health: Health::default(),
            ends: Arc::default(),
            stats: LinkStats::default(),
        }
    }

    /// The peer's name.
    pub fn peer(&self) -> &NodeName {
        &self.peer
    }

    /// Who is connected now.
    pub fn connected(&self) -> Option<&PeerIdentity> {
        self.session.as_ref().map(|s| &s.peer)
    }

    /// Counts since the link was made.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// What the next heartbeats say about this node.
    pub fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    /// Which streams have ended, as the next heartbeats say.
    pub fn set_ends(&mut self, ends: Arc<Ends>) {
        if Arc::ptr_eq(&ends, &self.ends) {
            return;
        }

        self.tails.end(&ends.ended);
        self.durable.end(&ends.ended);

        if let Some(session) = &mut self.session {
            session.moved.retain(|stream| !ends.ended.has(*stream));
        }

        self.ends = ends;
    }

    /// Epoch of the ring that the next heartbeats tell. Two nodes that go by different rings go on exchanging records;
    /// whoever has the older ring is told the newer one.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.config.epoch = epoch;
    }

    /// Epoch of the ring that is told now.
    pub fn epoch(&self) -> u64 {
        self.config.epoch
    }

    /// Record bytes taken from the peer that are not applied yet; bounded by the windows.
    pub fn unapplied_bytes(&self) -> u64 {
        self.inbound.unapplied_bytes()
    }

    /// Streams that this node takes from the peer now.
    pub fn subscribed(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.inbound.streams()
    }

    /// How far these streams have come, for [`crate::GroupView::taken`].
    pub fn taken(&self) -> Vec<Taken> {
        self.inbound.taken()
    }

    /// Feeds one event; what has to be done is appended to `effects`, to be done in order.
    pub fn handle(&mut self, event: Event, now: Duration, effects: &mut Vec<Effect>) {
        match event {
            Event::Up {
                peer,
                tails,
                durable,
                applied,
            } => {
                if peer.node != self.peer || peer.incarnation == self.me.incarnation {
                    return effects.push(Effect::Disconnect(DisconnectReason::WrongPeer));
                }
                self.down();
                self.inbound.start(peer.stream(), &tails, &applied);
                self.tails = tails;
                self.durable = durable;
                self.up(peer, now);
            }
            Event::Down => self.down(),
            Event::Frame(frame) => self.frame(frame, now, effects),
            Event::Assigned(streams) => {
                if self.session.is_some() {
                    self.inbound.assign(&streams, &self.tails, effects);
                }
            }
            Event::Appended(records) => {
                if let Some(last) = records.last() {
                    let stream = last.stream();
                    self.tails.advance(stream, last.seq());
                    self.outbound.appended(records);
                    self.pump(effects);
                    self.outbound.trim(stream);
                }
            }
            Event::TailMoved { stream, seq } => {
                self.tails.advance(stream, seq);
                self.pump(effects);
            }
            Event::Durable { stream, seq } => self.now_durable(stream, seq, effects),
            Event::Applied { stream, seq } => {
                let live = self.session.is_some();
                self.inbound.applied(stream, seq, live, effects);
            }
            Event::LogRead {
                stream,
                from_seq,
                result,
            } => {
                self.outbound.log_read(stream, from_seq, result, effects);
                self.pump(effects);
            }
            Event::Sent { bytes } => {
                self.outbound.sent(bytes);
                self.pump(effects);
            }
            Event::Heard => {
                if let Some(session) = self.session.as_mut() {
                    session.last_heard = now;
                }
            }
            Event::Tick { wall_ms } => self.tick(wall_ms, now, effects),
            Event::SetBack { taken } => {
                self.inbound.assign(&[], &self.tails, effects);
                self.inbound.let_go(&taken);
            }
        }
    }

    fn up(&mut self, peer: PeerIdentity, now: Duration) {
        self.stats.sessions += 1;
        self.session = Some(Session {
            peer,
            last_heard: now,
            next_heartbeat: now,
            sent_up_to: None,
            has_told_all: false,
            heartbeats: 0,
            moved: BTreeSet::new(),
            claimed_own: 0,
            overclaimed_since: None,
        });
    }

    fn down(&mut self) {
        self.session = None;
        self.inbound.stop();
        self.outbound.stop();
    }

    fn disconnect(&mut self, reason: DisconnectReason, effects: &mut Vec<Effect>) {
        self.down();
        effects.push(Effect::Disconnect(reason));
    }

    fn frame(&mut self, frame: Frame, now: Duration, effects: &mut Vec<Effect>) {
        let Some(session) = self.session.as_mut() else {
            return;
        };

        session.last_heard = now;
        match frame {
            Frame::Heartbeat(heartbeat) => self.heartbeat(heartbeat, effects),
            Frame::Ack(ack) => {
                let positions = PositionVector::from_iter([(ack.stream(), ack.position)]);
                self.peer_has(positions, ack.epoch, effects);
            }
            Frame::Records(records) => {
                match self.inbound.records(records, &mut self.stats, effects) {
                    Ok(()) => {}
                    Err(reason) => self.disconnect(reason, effects),
                }
            }
            Frame::StreamEnded(ended) => {
                if let Some(stream) = self.inbound.ended(ended.subscription) {
                    self.stats.refused_by_peer += 1;
                    let reason =
                        EndReason::try_from(ended.reason).unwrap_or(EndReason::Unspecified);
                    effects.push(Effect::Unserved {
                        stream,
                        reason,
                        first_seq: ended.first_seq,
                    });
                }
            }
            Frame::Subscribe(subscribe) => {
                self.outbound.subscribe(&subscribe, effects);
                self.pump(effects);
            }
            Frame::Unsubscribe(unsubscribe) => self.outbound.unsubscribe(unsubscribe.subscription),
            Frame::Credit(credit) => {
                self.outbound.credit(credit.subscription, credit.bytes);
                self.pump(effects);
            }
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Refuse(_) => {
                self.disconnect(
                    DisconnectReason::Protocol("handshake frame in a session"),
                    effects,
                );
            }
            Frame::Request(..) | Frame::Response(..) => {
                self.disconnect(
                    DisconnectReason::Protocol("calls are not the link's business"),
                    effects,
                );
            }
        }
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat, effects: &mut Vec<Effect>) {
        // Before the epoch: whoever hears that a peer goes by a ring has heard what it had acknowledged until then.
        self.peer_has(
            PositionVector::from(&heartbeat.positions[..]),
            heartbeat.epoch,
            effects,
        );

        effects.push(Effect::PeerHealth {
            health: heartbeat.health.unwrap_or_default(),
            wall_ms: heartbeat.wall_ms,
            epoch: heartbeat.epoch,
        });

        let ends = Ends {
            settled: heartbeat.settled.iter().map(StartsBefore::parts).collect(),
            ended: heartbeat.ended.iter().map(StartsBefore::parts).collect(),
        };

        if ends != Ends::default() {
            effects.push(Effect::PeerEnds(ends));
        }
    }

    /// The peer has these positions durably, and said so under this ring.
    fn peer_has(&mut self, positions: PositionVector, epoch: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.session.as_mut() else {
            return;
        };

        session.claimed_own = session.claimed_own.max(positions.get(self.me.stream()));
        if !positions.is_empty() {
            effects.push(Effect::PeerDurable {
                incarnation: session.peer.incarnation,
                positions,
                epoch,
            });
        }
    }

    fn now_durable(&mut self, stream: StreamId, seq: u64, effects: &mut Vec<Effect>) {
        self.tails.advance(stream, seq);
        if !self.durable.advance(stream, seq) {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };

        session.moved.insert(stream);
        // The origin needs it to commit, a server to see that it is of use. Others learn it from the heartbeat.
        if stream == session.peer.stream() || self.inbound.has(stream) {
            effects.push(Effect::Send(Frame::Ack(Ack {
                incarnation: stream.incarnation.0,
                boot: stream.boot.0,
                position: seq,
                epoch: self.config.epoch,
            })));
        }
    }

    fn tick(&mut self, wall_ms: i64, now: Duration, effects: &mut Vec<Effect>) {
        let written = self.tails.get(self.me.stream());
        let Some(session) = self.session.as_mut() else {
            return;
        };
        if now.saturating_sub(session.last_heard) >= self.config.peer_timeout {
            return self.disconnect(DisconnectReason::Silent, effects);
        }

        // A moment of "more than was written" is normal: the news of an append may reach this link after a peer that got
        // the entry by another way has answered. If it lasts, somebody else writes this stream.
        if session.claimed_own > written {
            let since = *session.overclaimed_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.config.peer_timeout {
                let claimed = session.claimed_own;
                let stream = self.me.stream();
                return self.disconnect(
                    DisconnectReason::SecondWriter {
                        stream,
                        written,
                        claimed,
                    },
                    effects,
                );
            }
        } else {
            session.overclaimed_since = None;
        }

        self.tell(wall_ms, now, effects);

        self.outbound.retry_reads();
        self.pump(effects);
    }

    /// Sends a heartbeat, if it is time.
    fn tell(&mut self, wall_ms: i64, now: Duration, effects: &mut Vec<Effect>) {
        let Some(session) = self.session.as_mut().filter(|s| now >= s.next_heartbeat) else {
            return;
        };

        session.next_heartbeat = now + self.config.heartbeat_every;
        let positions =
            session.positions_to_tell(&self.durable, self.config.heartbeat_positions_max);
        let health = Some(self.health);
        let told = [&self.ends.settled, &self.ends.ended];
        let [settled, ended] = told.map(|all| session.ends_to_tell(all));

        session.heartbeats += 1;
        effects.push(Effect::Send(Frame::Heartbeat(Heartbeat {
            positions,
            health,
            wall_ms,
            epoch: self.config.epoch,
            settled,
            ended,
        })));
    }

    fn pump(&mut self, effects: &mut Vec<Effect>) {
        if self.session.is_some() {
            self.outbound.pump(&self.tails, &mut self.stats, effects);
        }
    }
}

impl Session {
    /// A part of what has ended, in turn; as a rule there is no more than an incarnation a member. Before all positions
    /// were told, a stream that was not named yet would pass for one that nobody has.
    fn ends_to_tell(&self, all: &Ended) -> Vec<StartsBefore> {
        if !self.has_told_all {
            return Vec::new();
        }

        let parts = all.len().div_ceil(HEARTBEAT_ENDS_MAX).max(1);
        let from = self.heartbeats % parts * HEARTBEAT_ENDS_MAX;
        all.iter()
            .skip(from)
            .take(HEARTBEAT_ENDS_MAX)
            .map(StartsBefore::of)
            .collect()
    }

    /// The next part of the vector, and what has moved.
    ///
    /// There is a stream for every start of every node, and nearly all of them stand still for ever. Once they are told, a
    /// small part of them comes with each heartbeat, in turn.
    fn positions_to_tell(&mut self, durable: &PositionVector, max: usize) -> Vec<Position> {
        let max = if self.has_told_all {
            max.min(HEARTBEAT_REPEATED_MAX)
        } else {
            max
        };

        let mut positions = durable.part(self.sent_up_to, max);
        let is_full = positions.len() == max;
        self.sent_up_to = positions.last().filter(|_| is_full).map(|p| p.stream());
        self.has_told_all |= !is_full;

        let told: BTreeSet<StreamId> = positions.iter().map(|p| p.stream()).collect();
        let moved = std::mem::take(&mut self.moved);
        positions.extend(moved.difference(&told).map(|stream| Position {
            incarnation: stream.incarnation.0,
            boot: stream.boot.0,
            seq: durable.get(*stream),
        }));

        positions
    }
}

/// Streams by their subscription number.
type BySubscription<T> = BTreeMap<u32, T>;

#[cfg(test)]
mod tests;
