//! The loop of one session.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use slog::{debug, warn};
use tokio::time::{Interval, MissedTickBehavior};
use trireme_base::{ErrorKind, Incarnation, StreamId};
use trireme_replication::{
    DisconnectReason, Effect, Event, PeerIdentity, PeerLink, PositionVector,
};
use trireme_wire::frame::{Frame, Records, RequestHead};
use trireme_wire::record::Record;

use super::lanes::Lanes;
use super::requests::{Arrived, Requests};
use super::{AppendRefused, LinkEnd, LinkParts, ReplicaStore};
use crate::calls::{answer_frames, request_frames};
use crate::{CallError, Connection, LinkStatus, TransportError};

/// Bytes encoded and not written; more stays in the lanes, where fresh acknowledgements can still overtake calls.
const WRITE_AHEAD_BYTES: usize = 256 << 10;
/// Link frames that may wait. Records are bounded by the link's budget; acknowledgements and heartbeats pile up only if
/// the peer has stopped reading for a very long time.
const LINK_FRAMES_MAX: usize = 16 << 10;
/// Bytes of calls and answers that may wait to be written.
const CALL_BYTES_MAX: usize = 16 << 20;
/// Frames and news handled before what they caused is written.
const TURN_MAX: usize = 32;
/// Time between ticks of the link.
const TICK: Duration = Duration::from_millis(50);

type Reading = BoxFuture<'static, Event>;
type Answering = BoxFuture<'static, (u64, Option<Result<bytes::Bytes, CallError>>)>;

pub(super) struct Session<'a, S: ReplicaStore + ?Sized> {
    link: &'a mut PeerLink,
    parts: &'a LinkParts<S>,
    peer: PeerIdentity,
    connection: Connection,
    lanes: Lanes,
    /// The log takes no records now: none are asked for. Everything else goes on, or a node with a full disk would hear
    /// neither acknowledgements nor answers, and nobody would take its writes.
    is_paused: bool,
    /// [`Intake::refusals`](super::Intake::refusals) that the subscriptions know of.
    refusals: u64,
    reads: FuturesUnordered<Reading>,
    answers: FuturesUnordered<Answering>,
    requests: Requests,
    /// Bytes that had come from the peer at the last tick.
    received_bytes: u64,
    cancel: BTreeMap<u64, AbortHandle>,
    tick: Interval,
    /// Last, so that the group hears of the end after the connection is closed.
    _presence: Presence<'a, S>,
}

/// The peer's presence in the group view and the feeds, for as long as the session lives, however it ends.
struct Presence<'a, S: ?Sized> {
    parts: &'a LinkParts<S>,
    session: u64,
}

impl<S: ?Sized> Drop for Presence<'_, S> {
    fn drop(&mut self) {
        let (parts, node) = (self.parts, self.parts.slot.node());
        if let Some(feed) = parts.hub.feed(node) {
            feed.stop();
        }

        parts.calls.stop();
        parts
            .hub
            .group()
            .lock()
            .disconnected(node, self.session, parts.clock.monotonic());
    }
}

/// What woke the loop.
enum Woken {
    Superseded,
    Removed,
    Frame(Result<Frame, TransportError>),
    Written(std::io::Result<()>),
    News(crate::FeedBatch),
    Read(Event),
    Answer(u64, Option<Result<bytes::Bytes, CallError>>),
    Request(RequestHead, bytes::Bytes),
    Tick,
}

impl<'a, S: ReplicaStore + ?Sized> Session<'a, S> {
    pub(super) fn begin(
        link: &'a mut PeerLink,
        parts: &'a LinkParts<S>,
        connection: Connection,
    ) -> Result<Self, LinkEnd> {
        let peer = connection.peer.clone();
        let now = parts.clock.monotonic();
        let session = parts.hub.group().lock().admit(&peer, now)?;
        let presence = Presence { parts, session };

        parts.store.peer_up(&peer);
        // First the feed, then the positions: what happens in between is heard twice rather than not at all.
        if let Some(feed) = parts.hub.feed(&peer.node) {
            feed.start();
        }

        parts.calls.start();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);

        let mut session = Self {
            link,
            parts,
            peer: peer.clone(),
            connection,
            lanes: Lanes::default(),
            is_paused: false,
            refusals: parts.store.intake().refusals,
            reads: FuturesUnordered::new(),
            answers: FuturesUnordered::new(),
            requests: Requests::default(),
            received_bytes: 0,
            cancel: BTreeMap::new(),
            tick,
            _presence: presence,
        };

        let tails = parts.store.written();
        let durable = parts.store.durable();
        let applied = parts
            .hub
            .feed(&peer.node)
            .map(|feed| feed.applied_positions())
            .unwrap_or_default();

        session.feed(Event::Up {
            peer,
            tails,
            durable,
            applied,
        })?;

        Ok(session)
    }

    /// Runs until the session ends.
    pub(super) async fn run(&mut self) -> LinkEnd {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };

        let mut nothing = Vec::new();
        self.link
            .handle(Event::Down, self.parts.clock.monotonic(), &mut nothing);
        self.report();

        end
    }

    async fn turn(&mut self) -> Result<(), LinkEnd> {
        self.fill()?;
        let woken = self.wait().await;
        self.handle(woken)?;

        for _ in 1..TURN_MAX {
            let Some(woken) = self.arrived().now_or_never() else {
                break;
            };
            self.handle(woken)?;
        }

        Ok(())
    }

    async fn wait(&mut self) -> Woken {
        let parts = self.parts;
        let writing = self.connection.writer.queued_bytes() > 0;
        let news = async {
            match parts.hub.feed(&self.peer.node) {
                Some(feed) => feed.next().await,
                None => std::future::pending().await,
            }
        };

        let room_for_calls = self.lanes.call_bytes() < CALL_BYTES_MAX;
        tokio::select! {
            () = parts.slot.superseded() => Woken::Superseded,
            () = parts.slot.closed() => Woken::Removed,
            frame = self.connection.reader.next() => Woken::Frame(frame),
            written = self.connection.writer.write_some(), if writing => Woken::Written(written),
            batch = news => Woken::News(batch),
            Some(event) = self.reads.next() => Woken::Read(event),
            // A peer that does not take its answers gets no more of them made.
            Some((id, answer)) = self.answers.next(), if room_for_calls => Woken::Answer(id, answer),
            (head, body) = parts.calls.next_request(), if room_for_calls => Woken::Request(head, body),
            _ = self.tick.tick() => Woken::Tick,
        }
    }

    /// What else is there already: it belongs to the same turn, so that one write answers all of it.
    async fn arrived(&mut self) -> Woken {
        let Some(feed) = self.parts.hub.feed(&self.peer.node) else {
            return std::future::pending().await;
        };
        tokio::select! {
            frame = self.connection.reader.next() => Woken::Frame(frame),
            batch = feed.next() => Woken::News(batch),
        }
    }

    fn handle(&mut self, woken: Woken) -> Result<(), LinkEnd> {
        match woken {
            Woken::Superseded => return Err(LinkEnd::Superseded),
            Woken::Removed => return Err(LinkEnd::Removed),
            Woken::Frame(frame) => return self.frame(frame?),
            Woken::Written(written) => written.map_err(TransportError::from)?,
            Woken::News(batch) => {
                for event in batch.events {
                    self.feed(event)?;
                }
            }
            Woken::Read(event) => return self.feed(event),
            Woken::Answer(id, answer) => {
                self.cancel.remove(&id);
                self.requests.forget(id);
                self.push_calls(
                    answer
                        .map(|answer| answer_frames(id, answer))
                        .unwrap_or_default(),
                );
            }
            Woken::Request(head, body) => {
                self.push_calls(request_frames(head, body, self.connection.version));
            }
            Woken::Tick => self.tick()?,
        }
        Ok(())
    }

    fn push_calls(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.lanes.push_call(frame);
        }
    }

    /// What has to be done now and then.
    fn tick(&mut self) -> Result<(), LinkEnd> {
        self.look_at_intake()?;
        self.link.set_health(self.parts.store.health());
        self.link.set_ends(self.parts.store.ends());
        self.note_signs_of_life()?;
        self.feed(Event::Tick {
            wall_ms: self.parts.clock.now_ms(),
        })?;
        self.plan()?;
        self.report();
        Ok(())
    }

    fn report(&self) {
        self.parts.slot.set_status(LinkStatus {
            stats: self.link.stats(),
            unapplied_bytes: self.link.unapplied_bytes(),
            waiting_frames: self.lanes.link_frames(),
            paused: self.is_paused,
            subscribed: self.link.subscribed().collect(),
        });
    }

    fn frame(&mut self, frame: Frame) -> Result<(), LinkEnd> {
        match frame {
            Frame::Request(head, body) => self.called(head, body)?,
            Frame::Response(head, part) => self.parts.calls.answered(&head, part),
            frame => {
                let news_of_group = matches!(frame, Frame::Heartbeat(_) | Frame::StreamEnded(_));
                self.feed(Event::Frame(frame))?;
                if news_of_group {
                    self.plan()?;
                }
            }
        }
        Ok(())
    }

    fn called(&mut self, head: RequestHead, body: bytes::Bytes) -> Result<(), LinkEnd> {
        let id = head.id;
        if head.deadline_ms == 0 {
            self.requests.forget(id);
            if let Some(running) = self.cancel.remove(&id) {
                running.abort();
            }
            return Ok(());
        }

        let has_room = head.part > 0 || self.lanes.call_bytes() < CALL_BYTES_MAX;
        let arrived = if has_room {
            self.requests.arrived(head, body)
        } else {
            Arrived::NoRoom
        };

        let Arrived::Whole(head, body) = arrived else {
            if arrived == Arrived::Part {
                return Ok(());
            }
            if self.lanes.call_bytes() >= 2 * CALL_BYTES_MAX {
                // It goes on asking and does not read that it asks too much.
                return Err(TransportError::Timeout("sending answers").into());
            }
            let busy = CallError::new(ErrorKind::Limited, "too many calls at a time");
            self.push_calls(answer_frames(id, Err(busy)));
            return Ok(());
        };

        self.answer(id, head, body);
        Ok(())
    }

    /// Has a call answered as long as the caller waits.
    fn answer(&mut self, id: u64, head: RequestHead, body: bytes::Bytes) {
        let limit = Duration::from_millis(head.deadline_ms);
        let (handle, registration) = AbortHandle::new_pair();
        let answering = Abortable::new(
            self.parts.handler.call(&self.peer, head, body),
            registration,
        );

        self.cancel.insert(id, handle);
        self.answers.push(Box::pin(async move {
            // A caller that has stopped waiting needs no answer; nor does one that said so.
            (
                id,
                tokio::time::timeout(limit, answering)
                    .await
                    .ok()
                    .and_then(Result::ok),
            )
        }));
    }

    /// Decides anew what to take from whom.
    fn plan(&mut self) -> Result<(), LinkEnd> {
        let taken = self.link.taken();
        let assigned = {
            let mut group = self.parts.hub.group().lock();
            group.taken(&self.peer.node, taken);
            group.plan(self.parts.clock.monotonic());
            group.assigned(&self.peer.node)
        };

        self.feed(Event::Assigned(if self.is_paused {
            Vec::new()
        } else {
            assigned
        }))
    }

    /// A large frame takes its time on a slow line; its bytes show that the peer lives.
    fn note_signs_of_life(&mut self) -> Result<(), LinkEnd> {
        let received_bytes = self.connection.reader.received_bytes();
        if received_bytes == self.received_bytes {
            return Ok(());
        }
        self.received_bytes = received_bytes;
        self.feed(Event::Heard)
    }

    fn feed(&mut self, event: Event) -> Result<(), LinkEnd> {
        self.follow_ring()?;
        self.hand_over(event)
    }

    /// Tells the link by which ring this node goes, from the moment it does. Whoever hears of it has then heard of
    /// everything that this node had acknowledged before: a change of the ring counts on that.
    fn follow_ring(&mut self) -> Result<(), LinkEnd> {
        if self.parts.hub.epoch() == self.link.epoch() {
            return Ok(());
        }

        let (epoch, durable) = {
            let group = self.parts.hub.group().lock();
            (group.epoch(), group.mine().clone())
        };

        for (stream, seq) in durable.iter() {
            self.hand_over(Event::Durable { stream, seq })?;
        }

        self.link.set_epoch(epoch);
        Ok(())
    }

    fn hand_over(&mut self, event: Event) -> Result<(), LinkEnd> {
        let mut effects = Vec::new();
        self.link
            .handle(event, self.parts.clock.monotonic(), &mut effects);
        effects
            .into_iter()
            .try_for_each(|effect| self.execute(effect))
    }

    fn execute(&mut self, effect: Effect) -> Result<(), LinkEnd> {
        let parts = self.parts;

        let node = &self.peer.node;
        match effect {
            Effect::Send(frame) => {
                self.lanes.push_link(frame);
                if self.lanes.link_frames() > LINK_FRAMES_MAX {
                    return Err(TransportError::Timeout("sending").into());
                }
            }
            Effect::Append { records, .. } => return self.append(records),
            Effect::ReadLog {
                stream,
                from_seq,
                max_bytes,
            } => self.read_log(stream, from_seq, max_bytes),
            Effect::PeerDurable {
                incarnation,
                positions,
                epoch,
            } => return self.peer_durable(incarnation, &positions, epoch),
            Effect::PeerHealth {
                health,
                wall_ms,
                epoch,
            } => {
                let ours = parts.clock.now_ms();
                let now = parts.clock.monotonic();
                let mut group = parts.hub.group().lock();
                group.heard(node, health, wall_ms, ours, now);
                group.heard_epoch(node, epoch);
            }
            Effect::PeerEnds(ends) => parts.hub.group().lock().heard_ends(node, &ends),
            Effect::Unserved {
                stream,
                reason,
                first_seq,
            } => {
                warn!(parts.log, "peer does not serve a stream"; "peer" => %node, "stream" => %stream,
                    "reason" => ?reason, "first_seq" => first_seq);
                let now = parts.clock.monotonic();
                parts
                    .hub
                    .group()
                    .lock()
                    .refused(node, stream, reason, first_seq, now);
            }
            Effect::Disconnect(proof @ DisconnectReason::SecondWriter { .. }) => {
                return Err(self.second_writer(proof));
            }
            Effect::Disconnect(reason) => return Err(reason.into()),
        }

        Ok(())
    }

    fn read_log(&mut self, stream: StreamId, from_seq: u64, max_bytes: u64) {
        let read = self.parts.store.read(stream, from_seq, max_bytes);
        self.reads.push(Box::pin(async move {
            Event::LogRead {
                stream,
                from_seq,
                result: read.await,
            }
        }));
    }

    /// The peer has these positions durably.
    fn peer_durable(
        &self,
        incarnation: Incarnation,
        positions: &PositionVector,
        epoch: u64,
    ) -> Result<(), LinkEnd> {
        let parts = self.parts;
        let node = &self.peer.node;
        parts
            .store
            .peer_durable(node, incarnation, positions, epoch)
            .map_err(|proof| self.second_writer(proof))?;

        parts
            .hub
            .group()
            .lock()
            .observed(node, incarnation, positions);
        Ok(())
    }

    /// Somebody else writes this node's stream, or wrote it: the node has to stop.
    fn second_writer(&self, proof: DisconnectReason) -> LinkEnd {
        self.parts.hub.note_second_writer(&proof);
        proof.into()
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), LinkEnd> {
        match self.parts.store.append(records) {
            Ok(()) => Ok(()),
            Err(AppendRefused::Busy) => {
                debug!(self.parts.log, "the log takes no records, the peer's streams are given up for now"; "peer" => %self.peer.node);
                self.is_paused = true;
                self.set_back()
            }
            Err(AppendRefused::Failed(reason)) => Err(LinkEnd::Store(reason)),
        }
    }

    /// Notices that the log has room again, or has let go of what it had taken.
    fn look_at_intake(&mut self) -> Result<(), LinkEnd> {
        let intake = self.parts.store.intake();
        self.is_paused &= !intake.is_open;
        if std::mem::replace(&mut self.refusals, intake.refusals) == intake.refusals {
            return Ok(());
        }
        self.set_back()
    }

    /// Streams go on from where the log stands, with the next plan.
    fn set_back(&mut self) -> Result<(), LinkEnd> {
        self.feed(Event::SetBack {
            taken: self.parts.store.taken(),
        })
    }

    /// Moves frames from the lanes to the writer, as long as it is not ahead.
    fn fill(&mut self) -> Result<(), LinkEnd> {
        let writer = &mut self.connection.writer;

        let mut record_bytes = 0;
        while writer.queued_bytes() < WRITE_AHEAD_BYTES {
            let Some(frame) = self.lanes.pop() else { break };
            if let Frame::Records(records) = &frame {
                record_bytes += Records::record_bytes(records);
            }
            writer.queue(&frame);
        }

        if record_bytes == 0 {
            return Ok(());
        }

        // The link may put more into the lanes; it is written in a later turn.
        self.feed(Event::Sent {
            bytes: record_bytes,
        })
    }
}
