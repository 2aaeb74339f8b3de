use trireme_wire::frame::{Ack, Credit, EndReason, StreamEnded, Unsubscribe};

use super::*;

fn append(stream: StreamId, records: Vec<Record>) -> Effect {
    Effect::Append { stream, records }
}

#[test]
fn subscribes_after_its_own_log_and_appends_what_comes() {
    let mut b = Bench::up(&[(stream(1), 4)]);
    let effects = b.feed(Event::Assigned(vec![stream(1)]));
    assert_eq!(
        effects,
        [Effect::Send(Frame::Subscribe(subscribe(
            1,
            stream(1),
            5,
            1000
        )))]
    );

    assert_eq!(
        b.feed(Event::Assigned(vec![stream(1)])),
        [],
        "nothing changed"
    );

    let run = records(stream(1), 5..=6, 100);
    assert_eq!(
        b.frame(records_frame(1, run.clone())),
        [append(stream(1), run)]
    );
    assert_eq!(b.link.unapplied_bytes(), 200);

    let ack = Frame::Ack(Ack {
        incarnation: 1,
        boot: 1,
        position: 6,
        epoch: 1,
    });

    assert_eq!(
        b.feed(Event::Durable {
            stream: stream(1),
            seq: 6
        }),
        [Effect::Send(ack)]
    );

    assert_eq!(
        b.feed(Event::Durable {
            stream: stream(1),
            seq: 6
        }),
        [],
        "told once"
    );

    assert_eq!(
        b.feed(Event::Durable {
            stream: stream(7),
            seq: 6
        }),
        [],
        "of no interest to this peer"
    );
}

#[test]
fn gives_credit_only_for_what_was_applied() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1)]));

    for seq in 1..=8 {
        b.frame(records_frame(1, records(stream(1), seq..=seq, 100)));
    }

    assert!(
        !b.feed(Event::Durable {
            stream: stream(1),
            seq: 8
        })
        .iter()
        .any(is_credit)
    );

    assert_eq!(
        b.feed(Event::Applied {
            stream: stream(1),
            seq: 2
        }),
        [],
        "less than a quarter of the window"
    );

    let credit = |bytes| {
        Effect::Send(Frame::Credit(Credit {
            subscription: 1,
            bytes,
        }))
    };

    assert_eq!(
        b.feed(Event::Applied {
            stream: stream(1),
            seq: 3
        }),
        [credit(300)]
    );

    assert_eq!(
        b.feed(Event::Applied {
            stream: stream(1),
            seq: 8
        }),
        [credit(500)]
    );

    assert_eq!(b.link.unapplied_bytes(), 0);
}

fn is_credit(effect: &Effect) -> bool {
    matches!(effect, Effect::Send(Frame::Credit(_)))
}

#[test]
fn a_new_session_gets_only_what_the_old_one_left_of_the_window() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1)]));
    b.frame(records_frame(1, records(stream(1), 1..=4, 100)));
    b.frame(records_frame(1, records(stream(1), 5..=6, 100)));
    b.feed(Event::Down);

    // Only the first batch reached the log.
    let tails: PositionVector = [(stream(1), 4)].into_iter().collect();
    b.feed(up(identity(1), &tails, &PositionVector::new()));

    let effects = b.feed(Event::Assigned(vec![stream(1)]));
    assert_eq!(
        effects,
        [Effect::Send(Frame::Subscribe(subscribe(
            1,
            stream(1),
            5,
            600
        )))]
    );

    let credit = Effect::Send(Frame::Credit(Credit {
        subscription: 1,
        bytes: 400,
    }));

    assert_eq!(
        b.feed(Event::Applied {
            stream: stream(1),
            seq: 4
        }),
        [credit]
    );
}

#[test]
fn what_was_applied_without_a_session_is_room_again() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1)]));
    b.frame(records_frame(1, records(stream(1), 1..=8, 100)));
    b.frame(records_frame(1, records(stream(1), 9..=10, 100)));
    b.feed(Event::Down);

    let positions = |seq| [(stream(1), seq)].into_iter().collect();
    b.feed(up(identity(1), &positions(10), &positions(8)));
    let effects = b.feed(Event::Assigned(vec![stream(1)]));

    assert_eq!(
        effects,
        [Effect::Send(Frame::Subscribe(subscribe(
            1,
            stream(1),
            11,
            800
        )))]
    );
}

#[test]
fn gives_up_streams_that_are_not_assigned_and_ignores_their_late_frames() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1), stream(2)]));
    let effects = b.feed(Event::Assigned(vec![stream(2)]));

    assert_eq!(
        effects,
        [Effect::Send(Frame::Unsubscribe(Unsubscribe {
            subscription: 1
        }))]
    );

    assert_eq!(b.frame(records_frame(1, records(stream(1), 1..=1, 40))), []);
    let effects = b.feed(Event::Assigned(vec![stream(1), stream(2)]));
    assert_eq!(
        effects,
        [Effect::Send(Frame::Subscribe(subscribe(
            3,
            stream(1),
            1,
            1000
        )))]
    );

    assert_eq!(
        b.frame(records_frame(1, records(stream(1), 2..=2, 40))),
        [],
        "still of the old subscription"
    );
}

#[test]
fn what_the_log_has_not_taken_is_asked_for_again_from_where_it_stands() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1)]));
    b.frame(records_frame(1, records(stream(1), 1..=4, 100)));
    b.frame(records_frame(1, records(stream(1), 5..=6, 100)));
    b.feed(Event::TailMoved {
        stream: stream(1),
        seq: 4,
    });

    // Five and six were refused.
    let effects = b.feed(Event::SetBack {
        taken: [(stream(1), 4)].into_iter().collect(),
    });

    assert_eq!(
        effects,
        [Effect::Send(Frame::Unsubscribe(Unsubscribe {
            subscription: 1
        }))]
    );

    assert_eq!(
        b.link.unapplied_bytes(),
        400,
        "what was refused holds no room"
    );

    let late = b.frame(records_frame(1, records(stream(1), 7..=7, 100)));
    assert_eq!(late, [], "a frame that was under way is passed over");
    let effects = b.feed(Event::Assigned(vec![stream(1)]));

    assert_eq!(
        effects,
        [Effect::Send(Frame::Subscribe(subscribe(
            2,
            stream(1),
            5,
            600
        )))]
    );
}

#[test]
fn reports_a_stream_that_the_peer_does_not_serve() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(2)]));
    let ended = StreamEnded {
        subscription: 1,
        reason: EndReason::Trimmed as i32,
        first_seq: 77,
    };

    let unserved = Effect::Unserved {
        stream: stream(2),
        reason: EndReason::Trimmed,
        first_seq: 77,
    };

    assert_eq!(b.frame(Frame::StreamEnded(ended)), [unserved]);
    assert_eq!(b.frame(Frame::StreamEnded(ended)), [], "said twice");
    assert_eq!(b.link.subscribed().count(), 0);
}

#[test]
fn disconnects_a_peer_that_breaks_the_rules() {
    let gap = records_frame(1, records(stream(1), 2..=2, 40));
    let repeated = records_frame(1, records(stream(1), 1..=1, 40));

    let foreign = records_frame(1, records(stream(2), 1..=1, 40));
    for (what, frames) in [
        ("gap", vec![gap]),
        ("repeated", vec![repeated.clone(), repeated]),
        ("foreign", vec![foreign]),
    ] {
        let mut b = Bench::up(&[]);
        b.feed(Event::Assigned(vec![stream(1)]));
        let effects: Vec<Effect> = frames
            .into_iter()
            .flat_map(|frame| b.frame(frame))
            .collect();
        let last = effects.last();
        assert!(
            matches!(
                last,
                Some(Effect::Disconnect(DisconnectReason::Protocol(_)))
            ),
            "{what}: {effects:?}"
        );

        assert!(b.link.connected().is_none());
    }
}

#[test]
fn disconnects_a_peer_that_sends_more_than_its_credit_and_one_record() {
    let mut b = Bench::up(&[]);
    b.feed(Event::Assigned(vec![stream(1)]));
    let largest = trireme_wire::record::RECORD_BYTES_MAX;
    let first = records_frame(1, records(stream(1), 1..=1, largest));
    assert!(
        matches!(b.frame(first)[..], [Effect::Append { .. }]),
        "over the credit by one record"
    );

    let second = records_frame(1, records(stream(1), 2..=2, 1001));
    assert!(matches!(
        b.frame(second)[..],
        [Effect::Disconnect(DisconnectReason::Protocol(_))]
    ));
}
