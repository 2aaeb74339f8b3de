use trireme_wire::frame::{Ack, Health, Hello, Position};

use super::*;

fn position(index: u64, seq: u64) -> Position {
    Position {
        incarnation: index,
        boot: 1,
        seq,
    }
}

fn heartbeat(positions: Vec<Position>) -> Frame {
    Frame::Heartbeat(Heartbeat {
        positions,
        wall_ms: 5,
        epoch: 1,
        ..Heartbeat::default()
    })
}

fn positions_sent(effects: &[Effect]) -> Option<Vec<Position>> {
    effects.iter().find_map(|e| match e {
        Effect::Send(Frame::Heartbeat(h)) => Some(h.positions.clone()),
        _ => None,
    })
}

#[test]
fn heartbeats_at_once_and_then_at_its_interval_with_the_vector_in_parts() {
    let mut b = Bench::up(&[(stream(0), 9), (stream(1), 8), (stream(2), 7)]);
    assert_eq!(
        positions_sent(&b.tick(Duration::ZERO)),
        Some(vec![position(0, 9), position(1, 8)])
    );
    assert_eq!(positions_sent(&b.tick(SECOND / 4)), None);
    assert_eq!(
        positions_sent(&b.tick(SECOND / 4)),
        Some(vec![position(2, 7)])
    );
    assert_eq!(
        positions_sent(&b.tick(SECOND / 2)),
        Some(vec![position(0, 9), position(1, 8)])
    );
}

#[test]
fn passes_on_what_the_peer_says() {
    let mut b = Bench::up(&[(stream(0), 9)]);
    let has = |stream, seq| Effect::PeerDurable {
        incarnation: Incarnation(1),
        positions: [(stream, seq)].into_iter().collect(),
        epoch: 1,
    };

    let health = Effect::PeerHealth {
        health: Health::default(),
        wall_ms: 5,
        epoch: 1,
    };

    assert_eq!(
        b.frame(heartbeat(vec![position(2, 3)])),
        [has(stream(2), 3), health]
    );
    assert_eq!(
        b.frame(Frame::Ack(Ack {
            incarnation: 0,
            boot: 1,
            position: 4,
            epoch: 1
        })),
        [has(stream(0), 4)]
    );
}

#[test]
fn gives_up_a_silent_peer() {
    let mut b = Bench::up(&[]);
    b.tick(2 * SECOND);
    b.frame(heartbeat(vec![]));

    assert!(
        !b.tick(2 * SECOND)
            .contains(&Effect::Disconnect(DisconnectReason::Silent))
    );

    assert_eq!(
        b.tick(SECOND),
        [Effect::Disconnect(DisconnectReason::Silent)]
    );
    assert_eq!(b.tick(SECOND), [], "once");
}

#[test]
fn a_frame_that_takes_its_time_is_a_sign_of_life() {
    let mut b = Bench::up(&[]);
    for _ in 0..10 {
        assert!(
            !b.tick(2 * SECOND)
                .contains(&Effect::Disconnect(DisconnectReason::Silent))
        );
        b.feed(Event::Heard);
    }

    assert_eq!(
        b.tick(3 * SECOND),
        [Effect::Disconnect(DisconnectReason::Silent)]
    );
}

#[test]
fn positions_and_acknowledgements_say_under_which_ring() {
    let mut b = Bench::up(&[]);
    let ack = Ack {
        incarnation: 0,
        boot: 1,
        position: 4,
        epoch: 9,
    };

    assert!(matches!(
        b.frame(Frame::Ack(ack))[..],
        [Effect::PeerDurable { epoch: 9, .. }]
    ));

    let of_heartbeat = b.frame(heartbeat(vec![position(0, 4)]));
    assert!(matches!(
        of_heartbeat[..],
        [
            Effect::PeerDurable { epoch: 1, .. },
            Effect::PeerHealth { .. }
        ]
    ));

    b.link.set_epoch(6);
    let acks = b.feed(Event::Durable {
        stream: stream(1),
        seq: 3,
    });
    assert!(
        matches!(acks[..], [Effect::Send(Frame::Ack(Ack { epoch: 6, .. }))]),
        "{acks:?}"
    );
}

#[test]
fn tells_of_another_epoch_and_stays_connected() {
    let mut b = Bench::up(&[]);
    let other = Frame::Heartbeat(Heartbeat {
        epoch: 2,
        ..Heartbeat::default()
    });
    let told = b.frame(other);
    assert!(
        matches!(told[..], [Effect::PeerHealth { epoch: 2, .. }]),
        "{told:?}"
    );

    b.link.set_epoch(2);
    let sent = b.tick(SECOND);
    assert!(
        sent.iter()
            .any(|e| matches!(e, Effect::Send(Frame::Heartbeat(h)) if h.epoch == 2)),
        "{sent:?}"
    );
}

#[test]
fn disconnects_over_another_peer_and_handshake_frames() {
    let mut b = Bench::up(&[]);
    assert!(matches!(
        b.frame(Frame::Hello(Hello::default()))[..],
        [Effect::Disconnect(_)]
    ));

    for peer in [
        identity(2),
        PeerIdentity {
            incarnation: Incarnation(0),
            ..identity(1)
        },
    ] {
        let nothing = PositionVector::new();
        assert_eq!(
            b.feed(up(peer, &nothing, &nothing)),
            [Effect::Disconnect(DisconnectReason::WrongPeer)]
        );
    }
}

#[test]
fn notices_a_second_writer_of_its_own_stream() {
    let mut b = Bench::up(&[(stream(0), 5)]);
    b.frame(heartbeat(vec![position(0, 6)]));
    b.tick(SECOND);
    b.feed(Event::Appended(records(stream(0), 6..=6, 40)));

    for _ in 0..6 {
        assert_eq!(
            b.tick(SECOND)
                .iter()
                .filter(|e| matches!(e, Effect::Disconnect(_)))
                .count(),
            0,
            "it was only late"
        );
        b.frame(heartbeat(vec![position(0, 6)]));
    }

    b.frame(heartbeat(vec![position(0, 7)]));

    let mut last = Vec::new();
    for _ in 0..4 {
        last = b.tick(SECOND);
        b.frame(heartbeat(vec![]));
    }

    let second_writer = DisconnectReason::SecondWriter {
        stream: stream(0),
        written: 6,
        claimed: 7,
    };

    assert_eq!(last, [Effect::Disconnect(second_writer)]);
}

#[test]
fn does_nothing_without_a_session() {
    let mut link = PeerLink::new(identity(0), identity(1).node, config());

    let mut effects = Vec::new();
    for event in [
        Event::Assigned(vec![stream(1)]),
        Event::Frame(heartbeat(vec![])),
        Event::Appended(records(stream(0), 1..=2, 40)),
        Event::Durable {
            stream: stream(0),
            seq: 2,
        },
        Event::Tick { wall_ms: 0 },
        Event::Down,
    ] {
        link.handle(event, SECOND, &mut effects);
    }

    assert_eq!(effects, []);
}
