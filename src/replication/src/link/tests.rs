//! Two halves of the protocol are tested by hand-fed frames; whole conversations are in `tests/simulation`.

mod inbound;
mod outbound;
mod session;

use std::time::Duration;

use trireme_base::{Boot, Incarnation, NodeName, StreamId};
use trireme_wire::frame::{Frame, Heartbeat, Records, Subscribe};
use trireme_wire::record::{HEADER_BYTES, Record, RecordDraft, RecordKind};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn identity(index: u64) -> PeerIdentity {
    PeerIdentity {
        node: NodeName::new(&format!("n{index}")),
        incarnation: Incarnation(index),
        boot: Boot(1),
    }
}

fn stream(index: u64) -> StreamId {
    identity(index).stream()
}

/// Records `seqs` of a stream, each of `bytes` bytes.
fn records(stream: StreamId, seqs: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Record> {
    seqs.map(|seq| {
        let mut draft = RecordDraft::new(0, RecordKind::Samples);
        draft
            .payload_mut()
            .resize(bytes.max(HEADER_BYTES), seq as u8);
        draft.seal(stream, seq)
    })
    .collect()
}

fn config() -> LinkConfig {
    LinkConfig {
        window_bytes: 1000,
        other_window_bytes: 1000,
        frame_bytes: 300,
        read_bytes: 500,
        fresh_bytes: 600,
        sending_bytes: 1000,
        subscriptions_max: 3,
        heartbeat_positions_max: 2,
        ..LinkConfig::default()
    }
}

/// A link of n0 to n1 and what it did.
struct Bench {
    link: PeerLink,
    now: Duration,
}

impl Bench {
    /// With a session, and own log tails as given.
    fn up(tails: &[(StreamId, u64)]) -> Self {
        let mut bench = Self {
            link: PeerLink::new(identity(0), identity(1).node, config()),
            now: SECOND,
        };
        let tails: PositionVector = tails.iter().copied().collect();
        assert_eq!(bench.feed(up(identity(1), &tails, &tails)), []);
        bench
    }

    fn feed(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.link.handle(event, self.now, &mut effects);
        effects
    }

    fn frame(&mut self, frame: Frame) -> Vec<Effect> {
        self.feed(Event::Frame(frame))
    }

    fn tick(&mut self, after: Duration) -> Vec<Effect> {
        self.now += after;
        self.feed(Event::Tick { wall_ms: 0 })
    }

    /// The peer subscribes with number 1.
    fn peer_subscribes(
        &mut self,
        stream: StreamId,
        from_seq: u64,
        credit_bytes: u64,
    ) -> Vec<Effect> {
        self.frame(Frame::Subscribe(subscribe(
            1,
            stream,
            from_seq,
            credit_bytes,
        )))
    }
}

fn up(peer: PeerIdentity, tails: &PositionVector, applied: &PositionVector) -> Event {
    Event::Up {
        peer,
        tails: tails.clone(),
        durable: tails.clone(),
        applied: applied.clone(),
    }
}

fn subscribe(subscription: u32, stream: StreamId, from_seq: u64, credit_bytes: u64) -> Subscribe {
    Subscribe {
        subscription,
        incarnation: stream.incarnation.0,
        boot: stream.boot.0,
        from_seq,
        credit_bytes,
    }
}

fn records_frame(subscription: u32, run: Vec<Record>) -> Frame {
    Frame::Records(Records::new(subscription, run).expect("a run"))
}

/// First and last seq of the record frames in `effects`.
fn sent_runs(effects: &[Effect]) -> Vec<(u64, u64)> {
    effects
        .iter()
        .filter_map(|effect: &Effect| match effect {
            Effect::Send(Frame::Records(r)) => Some((r.first_seq(), r.last_seq())),
            _ => None,
        })
        .collect()
}
