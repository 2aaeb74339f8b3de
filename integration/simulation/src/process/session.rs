//! What `trireme-transport`'s driver does for one peer, step by step.

use std::sync::Arc;
use std::time::Duration;

use trireme_base::{Clock, StreamId};
use trireme_log::LogError;
use trireme_replication::{
    AdmitError, DisconnectReason, Effect, Event, PeerIdentity, PositionVector, ReadFault,
};
use trireme_transport::{AppendRefused, Lineage, Refusal, ReplicaStore};
use trireme_wire::frame::{EndReason, Frame, Records};
use trireme_wire::record::Record;

use super::{Out, Process};
use crate::mutation::Mutation;

/// How long one of the bugs waits for what peers have more.
const BLAMED_AFTER: Duration = Duration::from_secs(10);

/// A session with a peer.
pub(super) struct Session {
    /// The connection.
    pub conn: u64,
    /// Its number in the group view.
    number: u64,
    /// The log takes no records now.
    is_paused: bool,
    /// How often the log had let go of what it had taken.
    refusals: u64,
    /// A look at the news is planned.
    is_told: bool,
}

impl Process {
    /// The link to a peer has to be told something, and that is not planned yet.
    pub fn has_news(&self, peer: usize) -> bool {
        let is_told = self
            .sessions
            .get(&peer)
            .is_none_or(|session| session.is_told);
        !is_told
            && self
                .hub
                .feed(&self.names[peer])
                .is_some_and(|feed| feed.has_news())
    }

    /// A look at the news for a peer is planned, or was taken.
    pub fn set_told(&mut self, peer: usize, is_told: bool) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.is_told = is_told;
        }
    }

    /// The connection that the session with a peer runs on.
    pub fn connection(&self, peer: usize) -> Option<u64> {
        self.sessions.get(&peer).map(|session| session.conn)
    }

    /// Peers with a session.
    pub fn connected(&self) -> Vec<usize> {
        self.sessions.keys().copied().collect()
    }

    /// Whether a handshake with this peer would succeed here.
    pub fn admits(&self, peer: &PeerIdentity, lineage: &Lineage) -> Result<(), Refusal> {
        match self.hub.group().lock().check(peer) {
            Err(AdmitError::DuplicateName { .. })
                if self.mutation == Some(Mutation::LetTwinsIn) => {}
            checked => checked?,
        }

        if self.mutation == Some(Mutation::TrustSetBack) {
            return Ok(());
        }

        self.processes.check(peer, lineage)
    }

    /// A peer has refused this process. Answers why it must not run, once enough say so.
    pub fn refused_by(&mut self, peer: usize, refusal: &Refusal) -> Option<String> {
        let members = {
            let group = self.hub.group().lock();
            let is_let_in = group.peers().any(|(_, view)| view.connected);
            if !refusal.is_of_a_copy() || is_let_in {
                return None;
            }
            group.peers().count()
        };

        let agreed = self.witnesses.heard(&self.names[peer], refusal, members);
        agreed.map(|agreed| agreed.detail)
    }

    /// A connection has passed the handshake; an older one to the peer is over.
    pub fn connect(
        &mut self,
        peer: usize,
        identity: PeerIdentity,
        lineage: &Lineage,
        conn: u64,
    ) -> Vec<Out> {
        self.disconnect(peer);
        self.witnesses.forget_all();

        if let Ok(Some(news)) = self.processes.enter(&identity, lineage) {
            // Until the next start memory is as good as a file that cannot be written.
            let _ = news.write();
        }

        let now = self.clock.monotonic();
        let admitted = self.hub.group().lock().admit(&identity, now);
        let number = match admitted {
            Ok(number) => number,
            Err(error) => return vec![Out::HangUp(peer, error.to_string(), false)],
        };

        let first_seen = *self.first_seen.entry(peer).or_insert(identity.incarnation);
        if self.mutation == Some(Mutation::TrustWiped) {
            self.commits.trust(&identity.node, first_seen);
        } else {
            self.store.peer_up(&identity);
        }

        let feed = self.hub.feed(&self.names[peer]);
        if let Some(feed) = &feed {
            feed.start();
        }

        let refusals = self.store.intake().refusals;
        self.sessions.insert(
            peer,
            Session {
                conn,
                number,
                is_paused: false,
                refusals,
                is_told: false,
            },
        );

        let tails = self.store.written();
        let durable = self.told_durable();
        let applied = feed
            .map(|feed| feed.applied_positions())
            .unwrap_or_default();
        let mut out = Vec::new();

        self.feed(
            peer,
            Event::Up {
                peer: identity,
                tails,
                durable,
                applied,
            },
            &mut out,
        );

        out
    }

    fn told_durable(&self) -> PositionVector {
        match self.mutation {
            Some(Mutation::PositionBeforeFsync) => self.store.written(),
            _ => self.store.durable(),
        }
    }

    /// The connection to a peer is gone.
    pub fn disconnect(&mut self, peer: usize) {
        let Some(session) = self.sessions.remove(&peer) else {
            return;
        };

        let now = self.clock.monotonic();
        if let Some(link) = self.links.get_mut(&peer) {
            link.handle(Event::Down, now, &mut Vec::new());
        }

        if let Some(feed) = self.hub.feed(&self.names[peer]) {
            feed.stop();
        }

        self.hub
            .group()
            .lock()
            .disconnected(&self.names[peer], session.number, now);
    }

    /// A frame came in.
    pub fn receive(&mut self, peer: usize, frame: Frame) -> Vec<Out> {
        let mut out = Vec::new();
        let plans = matches!(frame, Frame::Heartbeat(_) | Frame::StreamEnded(_));
        self.feed(peer, Event::Frame(frame), &mut out);
        if plans {
            self.plan(peer, &mut out);
        }
        out
    }

    /// News of the own log for the link to a peer.
    pub fn news(&mut self, peer: usize) -> Vec<Out> {
        let mut out = Vec::new();
        let Some(feed) = self.hub.feed(&self.names[peer]) else {
            return out;
        };

        for event in feed.take().events {
            match &event {
                Event::Applied { .. } if self.mutation == Some(Mutation::KeepCredit) => continue,
                Event::Appended(records)
                    if self.mutation == Some(Mutation::PositionBeforeFsync) =>
                {
                    let last = records.last().map(|last| (last.stream(), last.seq()));
                    self.feed(peer, event, &mut out);
                    if let Some((stream, seq)) = last {
                        self.feed(peer, Event::Durable { stream, seq }, &mut out);
                    }
                }
                _ => self.feed(peer, event, &mut out),
            }
        }

        out
    }

    /// The answer to a read of the log.
    pub fn read(
        &mut self,
        peer: usize,
        stream: StreamId,
        from_seq: u64,
        max_bytes: u64,
    ) -> Vec<Out> {
        let records = self.log.read(
            stream,
            from_seq,
            usize::try_from(max_bytes).unwrap_or(usize::MAX),
        );

        let result = records.map_err(|error| match error {
            LogError::Gone { .. } => ReadFault::Trimmed {
                first_seq: self.log.first_seq(stream).unwrap_or(u64::MAX),
            },
            other => ReadFault::Failed(other.to_string()),
        });

        let mut out = Vec::new();
        self.feed(
            peer,
            Event::LogRead {
                stream,
                from_seq,
                result,
            },
            &mut out,
        );

        out
    }

    /// Time passes for the link to a peer.
    pub fn tick_link(&mut self, peer: usize) -> Vec<Out> {
        let mut out = Vec::new();
        self.look_at_intake(peer, &mut out);

        let health = self.store.health();
        if let Some(link) = self.links.get_mut(&peer) {
            link.set_health(health);
            link.set_ends(self.store.ends());
        }

        self.feed(
            peer,
            Event::Tick {
                wall_ms: self.clock.now_ms(),
            },
            &mut out,
        );

        self.plan(peer, &mut out);
        out
    }

    /// Decides anew what to take from whom.
    fn plan(&mut self, peer: usize, out: &mut Vec<Out>) {
        let name = &self.names[peer];
        let taken = self
            .links
            .get(&peer)
            .map(|link| link.taken())
            .unwrap_or_default();

        let (mut assigned, running) = {
            let mut group = self.hub.group().lock();
            group.taken(name, taken);
            group.plan(self.clock.monotonic());
            let running = group.peers().find(|(node, _)| *node == name);
            let running = running
                .and_then(|(_, view)| view.identity.as_ref())
                .map(PeerIdentity::stream);
            (group.assigned(name), running)
        };

        if self.mutation == Some(Mutation::TakeStallForLoss) {
            self.blame_peers();
        }

        if self.mutation == Some(Mutation::SkipStreams) {
            assigned.retain(|stream| Some(*stream) == running);
        }

        if self
            .sessions
            .get(&peer)
            .is_some_and(|session| session.is_paused)
        {
            assigned.clear();
        }

        self.feed(peer, Event::Assigned(assigned), out);
    }

    /// The known bug: what does not come is taken to be trimmed.
    fn blame_peers(&mut self) {
        let now = self.clock.monotonic();
        let group = Arc::clone(self.hub.group());
        let mut group = group.lock();

        let mut lacking = Vec::new();
        for (name, view) in group.peers().filter(|(_, view)| view.connected) {
            let behind = group.mine().behind(&view.positions);
            lacking.extend(behind.map(|(stream, _, _)| (name.clone(), stream)));
        }

        if lacking.is_empty() || *group.mine() != self.moved.0 {
            self.moved = (group.mine().clone(), now);
        }

        if now.saturating_sub(self.moved.1) < BLAMED_AFTER {
            return;
        }

        for (name, stream) in lacking {
            group.refused(&name, stream, EndReason::Trimmed, u64::MAX, now);
        }
    }

    fn feed(&mut self, peer: usize, event: Event, out: &mut Vec<Out>) {
        self.follow_ring(peer, out);
        self.hand_over(peer, event, out);
    }

    /// What a peer hears under a ring follows everything that was durable here before this node went by it.
    fn follow_ring(&mut self, peer: usize, out: &mut Vec<Out>) {
        let epoch = self.hub.epoch();
        if self
            .links
            .get(&peer)
            .is_none_or(|link| link.epoch() == epoch)
        {
            return;
        }

        let durable = self.told_durable();
        for (stream, seq) in durable.iter() {
            self.hand_over(peer, Event::Durable { stream, seq }, out);
        }

        if let Some(link) = self.links.get_mut(&peer) {
            link.set_epoch(epoch);
        }
    }

    fn hand_over(&mut self, peer: usize, event: Event, out: &mut Vec<Out>) {
        // The session may have ended with an event before this one.
        if !self.sessions.contains_key(&peer) {
            return;
        }

        let now = self.clock.monotonic();
        let mut effects = Vec::new();
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };

        link.handle(event, now, &mut effects);
        for effect in effects {
            self.execute(peer, effect, out);
        }
    }

    fn execute(&mut self, peer: usize, effect: Effect, out: &mut Vec<Out>) {
        let name = &self.names[peer];
        match effect {
            Effect::Send(frame) => {
                let bytes = match &frame {
                    Frame::Records(records) => Records::record_bytes(records),
                    _ => 0,
                };
                out.push(Out::Send(peer, Box::new(frame)));
                if bytes > 0 {
                    self.feed(peer, Event::Sent { bytes }, out);
                }
            }
            Effect::Append { records, .. } => self.append(peer, records, out),
            Effect::ReadLog {
                stream,
                from_seq,
                max_bytes,
            } => {
                out.push(Out::Read(peer, stream, from_seq, max_bytes));
            }
            Effect::PeerDurable {
                incarnation,
                positions,
                epoch,
            } => {
                let trusted = match self.mutation {
                    Some(Mutation::TrustWiped) => self.first_seen.get(&peer).copied(),
                    _ => None,
                };
                let trusted = trusted.unwrap_or(incarnation);
                let epoch = if self.mutation == Some(Mutation::CountUnderAnyRing) {
                    0
                } else {
                    epoch
                };

                if let Err(proof) = self.store.peer_durable(name, trusted, &positions, epoch) {
                    return self.second_writer(peer, proof.to_string(), out);
                }

                self.hub
                    .group()
                    .lock()
                    .observed(name, incarnation, &positions);
            }
            Effect::PeerHealth {
                health,
                wall_ms,
                epoch,
            } => {
                let mut group = self.hub.group().lock();
                group.heard(
                    name,
                    health,
                    wall_ms,
                    self.clock.now_ms(),
                    self.clock.monotonic(),
                );
                group.heard_epoch(name, epoch);
            }
            Effect::PeerEnds(ends) => self.hub.group().lock().heard_ends(name, &ends),
            Effect::Unserved {
                stream,
                reason,
                first_seq,
            } => {
                let now = self.clock.monotonic();
                self.hub
                    .group()
                    .lock()
                    .refused(name, stream, reason, first_seq, now);
            }
            Effect::Disconnect(proof @ DisconnectReason::SecondWriter { .. }) => {
                self.second_writer(peer, proof.to_string(), out);
            }
            Effect::Disconnect(reason) => out.push(Out::HangUp(peer, reason.to_string(), false)),
        }
    }

    /// Somebody else writes this node's stream, or wrote it: the node has to stop.
    fn second_writer(&self, peer: usize, proof: String, out: &mut Vec<Out>) {
        out.push(match self.mutation {
            Some(Mutation::TrustSetBack) => Out::HangUp(peer, proof, false),
            _ => Out::Refused(proof),
        });
    }

    fn append(&mut self, peer: usize, records: Vec<Record>, out: &mut Vec<Out>) {
        match self.store.append(records.clone()) {
            Ok(()) => {}
            Err(AppendRefused::Busy) => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.is_paused = true;
                }
                self.set_back(peer, out);
            }
            Err(AppendRefused::Failed(reason)) => out.push(Out::HangUp(peer, reason, true)),
        }
    }

    fn look_at_intake(&mut self, peer: usize, out: &mut Vec<Out>) {
        let intake = self.store.intake();
        let stays = self.mutation == Some(Mutation::StayPaused);
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };

        session.is_paused &= stays || !intake.is_open;
        if std::mem::replace(&mut session.refusals, intake.refusals) != intake.refusals {
            self.set_back(peer, out);
        }
    }

    fn set_back(&mut self, peer: usize, out: &mut Vec<Out>) {
        let taken = self.store.taken();
        self.feed(peer, Event::SetBack { taken }, out);
    }
}
