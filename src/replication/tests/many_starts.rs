//! A stream for every start of every node adds up over the years; what is done often must not grow with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use trireme_base::{Boot, Incarnation, NodeName, StreamId};
use trireme_replication::{
    Effect, Event, GroupLimits, GroupView, LinkConfig, PeerIdentity, PeerLink, PositionVector,
    cut_blockers,
};
use trireme_ring::Quorum;
use trireme_wire::frame::{Frame, Health, Heartbeat};

const STARTS: u32 = 20_000;

fn name(index: u64) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

fn identity(index: u64, boot: u32) -> PeerIdentity {
    PeerIdentity {
        node: name(index),
        incarnation: Incarnation(index),
        boot: Boot(boot),
    }
}

/// Streams of n1's starts, all but the running one.
fn positions(starts: u32) -> PositionVector {
    let stream = |boot| StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    };
    (1..starts).map(|boot| (stream(boot), 7)).collect()
}

/// n0 in a group of three whose n1 has started so often; all are level.
fn view(starts: u32) -> GroupView {
    let names = [0, 1, 2].map(name);
    let quorum = Quorum::new(names.clone(), 3);
    let mut view = GroupView::new(
        identity(0, 1),
        quorum,
        names,
        GroupLimits::default(),
        Duration::ZERO,
    );

    for (stream, seq) in positions(starts).iter() {
        view.own_durable(stream, seq);
    }

    for (peer, boot) in [(1, starts), (2, 1)] {
        view.admit(&identity(peer, boot), Duration::ZERO)
            .expect("a member");
        view.observed(&name(peer), Incarnation(peer), &positions(starts));
        view.heard(&name(peer), Health::default(), 0, 0, Duration::ZERO);
    }

    view
}

/// The shortest of some runs of `work`, which a busy machine cannot make shorter.
#[allow(clippy::disallowed_methods)]
fn least(mut work: impl FnMut()) -> Duration {
    let run = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    (0..20).map(|_| run(&mut work)).min().unwrap_or_default()
}

#[test]
fn a_look_at_who_serves_what_does_not_grow_with_the_starts() {
    let plan = |starts: u32| {
        let mut view = view(starts);
        let mut now = Duration::from_secs(10);
        least(|| {
            for _ in 0..100 {
                now += Duration::from_millis(50);
                view.plan(now);
                assert_eq!(view.assigned(&name(1)).len(), 1);
                assert!(view.stranded().is_empty() && view.is_served());
            }
        })
    };

    let few = plan(10);
    let many = plan(STARTS);
    println!("100 plans: {few:?} after 10 starts, {many:?} after {STARTS}");

    assert!(
        many < few * 10 + Duration::from_millis(1),
        "{few:?} became {many:?}"
    );
}

#[test]
fn a_new_lag_is_seen_among_many_level_streams() {
    let mut view = view(STARTS);
    view.plan(Duration::from_secs(10));
    let late = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(STARTS / 2),
    };

    view.observed(&name(2), Incarnation(2), &[(late, 9)].into_iter().collect());
    view.plan(Duration::from_secs(11));
    assert!(view.assigned(&name(2)).contains(&late));

    view.own_durable(late, 9);
    view.plan(Duration::from_secs(12));
    assert!(!view.assigned(&name(2)).contains(&late));
}

#[test]
fn what_a_cut_asks_is_a_matter_of_milliseconds() {
    let view = view(STARTS);
    let applied: BTreeMap<StreamId, u64> = positions(STARTS).iter().collect();
    let cut = |view: &GroupView| {
        let input = view.clone().cut_input(
            Duration::from_secs(10),
            Duration::from_secs(60),
            |_| None,
            |stream| applied.get(&stream).copied().unwrap_or(0),
        );
        cut_blockers(5, &input).len()
    };

    assert!(cut(&view) > 0);
    let took = least(|| {
        cut(&view);
    });
    let copied = least(|| drop(view.clone()));

    println!("{STARTS} starts: {took:?} for a cut, of which {copied:?} with the view locked");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Positions in the last heartbeat that a link sends in the first ten seconds of a session.
fn positions_told(starts: u32) -> usize {
    let mut link = PeerLink::new(identity(0, 1), name(1), LinkConfig::default());
    let mut effects = Vec::new();
    let up = Event::Up {
        peer: identity(1, 1),
        tails: positions(starts),
        durable: positions(starts),
        applied: PositionVector::new(),
    };

    link.handle(up, Duration::ZERO, &mut effects);
    for at_ms in (0..10_000).step_by(500) {
        effects.clear();
        link.handle(
            Event::Frame(Frame::Heartbeat(Heartbeat::default())),
            Duration::from_millis(at_ms),
            &mut effects,
        );
        link.handle(
            Event::Tick { wall_ms: 0 },
            Duration::from_millis(at_ms),
            &mut effects,
        );
    }

    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(Frame::Heartbeat(heartbeat)) => Some(heartbeat.positions.len()),
        _ => None,
    });

    sent.sum()
}

#[test]
fn a_heartbeat_does_not_grow_with_the_starts() {
    let few = positions_told(60);
    let many = positions_told(STARTS);
    println!("a heartbeat: {few} positions after 60 starts, {many} after {STARTS}");
    assert!(few > 0 && many < few * 2, "{few} became {many}");
}
