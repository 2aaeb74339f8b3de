//! A running process on a disk: what the actors and the log do, in simulated steps.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trireme_base::{Incarnation, NodeName, SeededRng, StreamId};
use trireme_replication::{
    CommitTracker, Effect, Event, GroupLimits, GroupView, LinkConfig, PeerIdentity, PeerLink,
    PositionVector,
};
use trireme_ring::Quorum;
use trireme_wire::frame::Frame;
use trireme_wire::record::{HEADER_BYTES, Record, RecordDraft, RecordKind};

use super::Bug;
use super::disk::Disk;

pub const NODES: usize = 3;
pub const RECORD_BYTES_MAX: u64 = 400;
pub const WINDOW_BYTES: u64 = 2000;
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

pub fn name(index: usize) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

/// What a step leaves to the world.
#[derive(Debug)]
pub enum Outcome {
    /// A frame for the peer.
    Send(Frame),
    /// The node gives the connection up.
    HangUp,
}

pub struct Process {
    pub identity: PeerIdentity,
    pub group: GroupView,
    pub commits: CommitTracker<Record>,
    links: BTreeMap<usize, PeerLink>,
    /// Session number in the group view of each peer.
    sessions: BTreeMap<usize, u64>,
    /// Records accepted by the log and not yet written.
    queue: VecDeque<Record>,
    tails: PositionVector,
    applied: PositionVector,
    /// How often each record was applied.
    pub head: BTreeMap<(StreamId, u64), u32>,
    reads: VecDeque<(usize, StreamId, u64, u64)>,
    /// Record bytes given out and not reported as sent, by peer.
    unsent: BTreeMap<usize, u64>,
    next_value: u8,
    bug: Bug,
}

impl Process {
    pub fn start(index: usize, disk: &mut Disk, bug: Bug, now: Duration) -> Self {
        let boot = disk.next_boot(bug == Bug::ReuseSeq);
        let identity = PeerIdentity {
            node: name(index),
            incarnation: Incarnation(index as u64 + 1),
            boot,
        };

        let names: Vec<NodeName> = (0..NODES).map(name).collect();
        let quorum = Quorum::new(names.clone(), NODES);
        let limits = GroupLimits::default();
        let mut group = GroupView::new(identity.clone(), quorum.clone(), names, limits, now);

        // The log's recovery makes what it has found durable before anybody is told.
        disk.sync();
        let written = disk.written();

        written
            .iter()
            .for_each(|(stream, seq)| group.own_durable(stream, seq));

        let counts = if bug == Bug::AckBeforeQuorum {
            Quorum::new([identity.node.clone()], 1)
        } else {
            quorum
        };

        let link = |peer| {
            let config = LinkConfig {
                window_bytes: WINDOW_BYTES,
                other_window_bytes: WINDOW_BYTES,
                frame_bytes: 600,
                read_bytes: 900,
                fresh_bytes: 1000,
                sending_bytes: 1200,
                heartbeat_positions_max: 3,
                ..LinkConfig::default()
            };
            (peer, PeerLink::new(identity.clone(), name(peer), config))
        };

        Self {
            commits: CommitTracker::new(identity.stream(), identity.node.clone(), counts, 1000),
            links: (0..NODES).filter(|peer| *peer != index).map(link).collect(),
            sessions: BTreeMap::new(),
            queue: VecDeque::new(),
            head: written
                .iter()
                .flat_map(|(s, last)| (1..=last).map(move |seq| ((s, seq), 1)))
                .collect(),
            applied: written.clone(),
            tails: written,
            reads: VecDeque::new(),
            unsent: BTreeMap::new(),
            next_value: 0,
            identity,
            group,
            bug,
        }
    }

    /// The sender writes one entry.
    pub fn accept_write(&mut self, rng: &mut SeededRng, now: Duration) {
        let stream = self.identity.stream();
        let seq = self.tails.get(stream) + 1;
        let mut draft = RecordDraft::new(0, RecordKind::Samples);

        self.next_value = self.next_value.wrapping_add(1);
        // Two boots never write the same bytes, so that a reused seq shows.
        let value = self.next_value ^ rng.next_u64() as u8;

        draft.payload_mut().resize(
            HEADER_BYTES + 1 + rng.below(RECORD_BYTES_MAX - 40) as usize,
            value,
        );

        let record = draft.seal(stream, seq);
        self.tails.advance(stream, seq);
        self.queue.push_back(record.clone());

        let waiting = self.commits.wait(seq, now + WRITE_DEADLINE, record);
        assert!(
            matches!(waiting, Ok(None)),
            "a new entry cannot be committed"
        );
    }

    /// The log's thread writes some of its queue and tells the links.
    pub fn write_log(
        &mut self,
        disk: &mut Disk,
        count: usize,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        for record in self
            .queue
            .drain(..count.min(self.queue.len()))
            .collect::<Vec<_>>()
        {
            disk.write(record.clone())?;
            self.tell_all(|| Event::Appended(vec![record.clone()]), now, &mut out)?;
        }

        Ok(out)
    }

    /// The log's thread has synced.
    pub fn sync_log(
        &mut self,
        disk: &mut Disk,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        if self.bug != Bug::SkipFsync {
            disk.sync();
        }

        let mut out = Vec::new();

        let durable: Vec<_> = disk.written().behind_of(self.group.mine());
        for (stream, seq) in durable {
            self.group.own_durable(stream, seq);
            if stream == self.identity.stream() {
                self.commits.own_durable(seq);
            }
            self.tell_all(|| Event::Durable { stream, seq }, now, &mut out)?;
        }

        Ok(out)
    }

    /// The shards apply one stream up to somewhere.
    pub fn apply(
        &mut self,
        disk: &Disk,
        rng: &mut SeededRng,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        let behind = disk.written().behind_of(&self.applied);
        if behind.is_empty() {
            return Ok(out);
        }

        let (stream, written) = behind[rng.below(behind.len() as u64) as usize];
        let applied = self.applied.get(stream);

        let seq = applied + 1 + rng.below(written - applied);
        for one in applied + 1..=seq {
            *self.head.entry((stream, one)).or_default() += 1;
        }

        self.applied.advance(stream, seq);
        self.tell_all(|| Event::Applied { stream, seq }, now, &mut out)?;
        Ok(out)
    }

    pub fn connect(
        &mut self,
        peer: usize,
        identity: &PeerIdentity,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        self.disconnect(peer, now);
        let session = self
            .group
            .admit(identity, now)
            .map_err(|e| format!("{identity:?} not admitted: {e}"))?;

        self.sessions.insert(peer, session);
        self.commits.trust(&identity.node, identity.incarnation);
        let up = Event::Up {
            peer: identity.clone(),
            tails: self.tails.clone(),
            durable: self.group.mine().clone(),
            applied: self.applied.clone(),
        };

        let mut out = Vec::new();
        self.tell(peer, up, now, &mut out)?;
        Ok(out)
    }

    pub fn disconnect(&mut self, peer: usize, now: Duration) {
        if let Some(session) = self.sessions.remove(&peer) {
            self.group.disconnected(&name(peer), session, now);
        }

        self.reads.retain(|(reader, ..)| *reader != peer);
        self.unsent.remove(&peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.handle(Event::Down, now, &mut Vec::new());
        }
    }

    pub fn is_connected(&self, peer: usize) -> bool {
        self.sessions.contains_key(&peer)
    }

    pub fn receive(
        &mut self,
        peer: usize,
        frame: Frame,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        let plan = matches!(frame, Frame::Heartbeat(_) | Frame::StreamEnded(_));
        self.tell(peer, Event::Frame(frame), now, &mut out)?;
        if plan {
            self.plan(peer, now, &mut out)?;
        }
        Ok(out)
    }

    pub fn tick(&mut self, peer: usize, now: Duration) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        self.tell(peer, Event::Tick { wall_ms: 0 }, now, &mut out)?;
        self.plan(peer, now, &mut out)?;
        Ok(out)
    }

    fn plan(
        &mut self,
        peer: usize,
        now: Duration,
        out: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), String> {
        let taken = self
            .links
            .get(&peer)
            .map(|link| link.taken())
            .unwrap_or_default();

        self.group.taken(&name(peer), taken);
        self.group.plan(now);
        let assigned = self.group.assigned(&name(peer));

        self.tell(peer, Event::Assigned(assigned), now, out)
    }

    /// One log read is answered, now and then without success.
    pub fn read_log(
        &mut self,
        disk: &Disk,
        rng: &mut SeededRng,
        now: Duration,
    ) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        let Some((peer, stream, from_seq, max_bytes)) = self.reads.pop_front() else {
            return Ok(out);
        };

        let result = match rng.below(20) {
            0 => Ok(Vec::new()),
            1 => Err(trireme_replication::ReadFault::Failed("simulated".into())),
            _ => disk.read(stream, from_seq, max_bytes),
        };

        self.tell(
            peer,
            Event::LogRead {
                stream,
                from_seq,
                result,
            },
            now,
            &mut out,
        )?;

        Ok(out)
    }

    /// What was given out has left the sender.
    pub fn sent(&mut self, peer: usize, now: Duration) -> Result<Vec<(usize, Outcome)>, String> {
        let mut out = Vec::new();
        if let Some(bytes) = self.unsent.remove(&peer) {
            self.tell(peer, Event::Sent { bytes }, now, &mut out)?;
        }
        Ok(out)
    }

    /// Trims a stream as far as allowed.
    pub fn trim(&mut self, disk: &mut Disk, rng: &mut SeededRng) -> u64 {
        let streams: Vec<(StreamId, u64)> = self.group.mine().iter().collect();
        if streams.is_empty() {
            return 0;
        }

        let (stream, mine) = streams[rng.below(streams.len() as u64) as usize];
        let upto = if self.bug == Bug::TrimTooEarly {
            mine
        } else {
            self.group.everybody_has(stream)
        };

        disk.trim(stream, upto)
    }

    pub fn catch_up_reads(&self) -> u64 {
        self.links
            .values()
            .map(|link| link.stats().catch_up_reads)
            .sum()
    }

    fn tell_all(
        &mut self,
        event: impl Fn() -> Event,
        now: Duration,
        out: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), String> {
        // As with the real feeds, a link without a session hears nothing.
        let peers: Vec<usize> = self.sessions.keys().copied().collect();
        peers
            .into_iter()
            .try_for_each(|peer| self.tell(peer, event(), now, out))
    }

    fn tell(
        &mut self,
        peer: usize,
        event: Event,
        now: Duration,
        out: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), String> {
        let link = self.links.get_mut(&peer).expect("a link per peer");
        let mut effects = Vec::new();
        link.handle(event, now, &mut effects);

        let bound =
            (WINDOW_BYTES + RECORD_BYTES_MAX) * (1 + self.tails.len() as u64 + NODES as u64);
        if link.unapplied_bytes() > bound {
            return Err(format!(
                "{} bytes are waiting to be applied",
                link.unapplied_bytes()
            ));
        }

        for effect in effects {
            match effect {
                Effect::Send(frame) => {
                    if let Frame::Records(records) = &frame {
                        *self.unsent.entry(peer).or_default() += records.record_bytes();
                    }
                    out.push((peer, Outcome::Send(frame)));
                }
                Effect::Append { stream, records } => self.append(stream, records)?,
                Effect::ReadLog {
                    stream,
                    from_seq,
                    max_bytes,
                } => {
                    self.reads.push_back((peer, stream, from_seq, max_bytes));
                }
                Effect::PeerDurable {
                    incarnation,
                    positions,
                    epoch,
                } => {
                    self.group.observed(&name(peer), incarnation, &positions);
                    self.commits.peer_durable(
                        &name(peer),
                        incarnation,
                        positions.get(self.identity.stream()),
                        epoch,
                    );
                }
                Effect::PeerHealth { .. } | Effect::PeerEnds(_) => {}
                Effect::Unserved {
                    stream,
                    reason,
                    first_seq,
                } => self
                    .group
                    .refused(&name(peer), stream, reason, first_seq, now),
                Effect::Disconnect(_) => out.push((peer, Outcome::HangUp)),
            }
        }

        Ok(())
    }

    /// As the real log does it: known records are skipped, a gap is an error.
    fn append(&mut self, stream: StreamId, records: Vec<Record>) -> Result<(), String> {
        for record in records {
            let tail = self.tails.get(stream);
            if record.seq() <= tail {
                continue;
            }
            if record.seq() > tail + 1 {
                return Err(format!("{record:?} leaves a gap after {tail}"));
            }
            self.tails.advance(stream, record.seq());
            self.queue.push_back(record);
        }
        Ok(())
    }
}

trait BehindOf {
    /// Streams in which `self` has more than `other`, with the position here.
    fn behind_of(&self, other: &PositionVector) -> Vec<(StreamId, u64)>;
}

impl BehindOf for PositionVector {
    fn behind_of(&self, other: &PositionVector) -> Vec<(StreamId, u64)> {
        other
            .behind(self)
            .map(|(stream, _, here)| (stream, here))
            .collect()
    }
}
