//! What the starts of a group cost once they are over: `cargo run --release --example many_starts -p trireme-replication`.
//!
//! Three nodes that have started so often, before and after their streams have ended: a look at the group as a cut takes
//! it, the frames of a session's first positions, and the ticks of a link.

#![allow(clippy::print_stdout)] // Figures, for whoever runs it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use trireme_base::{Boot, Clock, Ended, Incarnation, NodeName, StreamId, SystemClock};
use trireme_replication::{
    Effect, Ends, Event, GroupLimits, GroupView, LinkConfig, PeerIdentity, PeerLink, PositionVector,
};
use trireme_ring::Quorum;
use trireme_wire::frame::{Frame, Health};

const NODES: u64 = 3;
const RUNS: u32 = 20;
const SEQ: u64 = 1_000;

fn name(node: u64) -> NodeName {
    NodeName::new(&format!("n{node}"))
}

fn identity(node: u64, starts: u32) -> PeerIdentity {
    PeerIdentity {
        node: name(node),
        incarnation: Incarnation(node),
        boot: Boot(starts),
    }
}

/// What everybody has after so many starts of each.
fn vector(starts: u32) -> PositionVector {
    (0..NODES)
        .flat_map(|node| {
            (1..=starts).map(move |boot| {
                (
                    StreamId {
                        incarnation: Incarnation(node),
                        boot: Boot(boot),
                    },
                    SEQ,
                )
            })
        })
        .collect()
}

fn view(starts: u32) -> GroupView {
    let names = (0..NODES).map(name);
    let quorum = Quorum::new(names.clone(), 1);
    let mut view = GroupView::new(
        identity(0, starts),
        quorum,
        names,
        GroupLimits::default(),
        Duration::ZERO,
    );

    let all = vector(starts);
    all.iter()
        .for_each(|(stream, seq)| view.own_durable(stream, seq));

    for node in 1..NODES {
        view.admit(&identity(node, starts), Duration::ZERO)
            .expect("a member");
        view.heard(&name(node), Health::default(), 0, 0, Duration::ZERO);
        view.observed(&name(node), Incarnation(node), &all);
    }

    view
}

/// All members have settled all that is over.
fn end(view: &mut GroupView, starts: u32) -> Ended {
    let settled: Ended = (0..NODES)
        .map(|node| (Incarnation(node), Boot(starts)))
        .collect();

    for node in 1..NODES {
        view.heard_ends(
            &name(node),
            &Ends {
                settled: settled.clone(),
                ended: Ended::default(),
            },
        );
    }

    let ended = view.may_end(&settled);
    assert_eq!(ended, settled);
    view.end(&ended);

    ended
}

fn shortest(mut run: impl FnMut()) -> Duration {
    let clock = SystemClock::new();
    let timed = (0..RUNS).map(|_| {
        let began = clock.monotonic();
        run();
        clock.monotonic() - began
    });
    timed.min().unwrap_or_default()
}

/// What a cut asks for, with the copy of the view that it works on.
fn cut(view: &GroupView) -> Duration {
    shortest(|| {
        let copy = view.clone();
        let input = copy.cut_input(
            Duration::from_secs(9),
            Duration::from_secs(60),
            |_| Some(1),
            |_| SEQ,
        );
        black_box(input);
    })
}

/// Heartbeats until the peer knows all positions, and the time of a tick after that.
fn heartbeats(starts: u32, ended: Option<&Ended>) -> (usize, Duration) {
    // The peer never says anything.
    let config = LinkConfig {
        peer_timeout: Duration::MAX,
        ..LinkConfig::default()
    };
    let mut link = PeerLink::new(identity(0, starts), name(1), config);
    let mut now = Duration::ZERO;

    let mut durable = vector(starts);
    if let Some(ended) = ended {
        durable.end(ended);
        link.set_ends(Arc::new(Ends {
            settled: ended.clone(),
            ended: ended.clone(),
        }));
    }

    let mut effects = Vec::new();
    let left = durable.len();
    let tails = durable.clone();
    let applied = durable.clone();

    link.handle(
        Event::Up {
            peer: identity(1, starts),
            tails,
            durable,
            applied,
        },
        now,
        &mut effects,
    );

    let mut tick = || {
        now += Duration::from_secs(1);
        link.handle(Event::Tick { wall_ms: 0 }, now, &mut effects);
        let told = effects.drain(..).map(|effect| match effect {
            Effect::Send(Frame::Heartbeat(heartbeat)) => heartbeat.positions.len(),
            _ => 0,
        });
        told.sum::<usize>()
    };

    let mut told = 0;

    let mut beats = 0;
    while told < left {
        told += tick();
        beats += 1;
    }

    (
        beats,
        shortest(|| {
            black_box(tick());
        }),
    )
}

fn main() {
    println!(
        "starts of each of {NODES} nodes, over?, streams, a cut's look, first heartbeats, a tick then"
    );
    for starts in [10, 20_000] {
        let mut view = view(starts);
        for is_over in [false, true] {
            let ended = is_over.then(|| end(&mut view, starts));
            let (beats, tick) = heartbeats(starts, ended.as_ref());
            let streams = view.mine().len();
            println!(
                "{starts}, {is_over}, {streams}, {:?}, {beats}, {tick:?}",
                cut(&view)
            );
        }
    }
}
