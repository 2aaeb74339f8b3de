use trireme_wire::frame::{Credit, EndReason, StreamEnded, Unsubscribe};

use super::*;

fn appended(b: &mut Bench, stream: StreamId, seqs: std::ops::RangeInclusive<u64>) -> Vec<Effect> {
    b.feed(Event::Appended(records(stream, seqs, 100)))
}

fn read(stream: StreamId, from_seq: u64) -> Effect {
    Effect::ReadLog {
        stream,
        from_seq,
        max_bytes: 500,
    }
}

fn log_read(
    b: &mut Bench,
    stream: StreamId,
    from_seq: u64,
    result: Result<Vec<Record>, ReadFault>,
) -> Vec<Effect> {
    b.feed(Event::LogRead {
        stream,
        from_seq,
        result,
    })
}

fn credit(b: &mut Bench, bytes: u64) -> Vec<Effect> {
    b.frame(Frame::Credit(Credit {
        subscription: 1,
        bytes,
    }))
}

#[test]
fn pushes_fresh_records_without_a_read() {
    let mut b = Bench::up(&[(stream(0), 3)]);
    assert_eq!(b.peer_subscribes(stream(0), 4, 10_000), []);
    assert_eq!(sent_runs(&appended(&mut b, stream(0), 4..=4)), [(4, 4)]);
    assert_eq!(
        sent_runs(&appended(&mut b, stream(0), 5..=12)),
        [(5, 7), (8, 10), (11, 12)],
        "frames of 300 bytes"
    );

    assert_eq!(b.link.stats().catch_up_reads, 0);
    assert_eq!(appended(&mut b, stream(1), 1..=1), [], "not subscribed");
}

#[test]
fn catches_up_from_the_log_and_goes_over_to_fresh_records() {
    let mut b = Bench::up(&[(stream(0), 6)]);
    assert_eq!(
        b.peer_subscribes(stream(0), 1, 10_000),
        [read(stream(0), 1)]
    );
    assert_eq!(
        appended(&mut b, stream(0), 7..=7),
        [],
        "kept while the read runs"
    );

    let effects = log_read(&mut b, stream(0), 1, Ok(records(stream(0), 1..=5, 100)));
    assert_eq!(sent_runs(&effects), [(1, 3), (4, 5)]);
    assert_eq!(effects.last(), Some(&read(stream(0), 6)));

    let effects = log_read(&mut b, stream(0), 6, Ok(records(stream(0), 6..=7, 100)));
    assert_eq!(
        sent_runs(&effects),
        [(6, 7)],
        "the record that was both read and fresh goes out once"
    );

    b.feed(Event::Sent { bytes: 700 });
    assert_eq!(sent_runs(&appended(&mut b, stream(0), 8..=8)), [(8, 8)]);
}

#[test]
fn stops_at_the_credit_and_keeps_a_bounded_run_of_fresh_records() {
    let mut b = Bench::up(&[]);
    b.peer_subscribes(stream(0), 1, 150);
    assert_eq!(
        sent_runs(&appended(&mut b, stream(0), 1..=4)),
        [(1, 2)],
        "the last one may go over"
    );

    assert_eq!(credit(&mut b, 50), [], "the debt is paid first");
    assert_eq!(appended(&mut b, stream(0), 5..=9), []);

    // 3..=9 are waiting, which is over 600 bytes: 3 was dropped and is read when there is credit.
    assert_eq!(credit(&mut b, 10_000), [read(stream(0), 3)]);
    let effects = log_read(&mut b, stream(0), 3, Ok(records(stream(0), 3..=3, 100)));

    assert_eq!(sent_runs(&effects), [(3, 5), (6, 8), (9, 9)]);
}

#[test]
fn sends_no_more_than_the_send_budget_until_it_is_sent() {
    let mut b = Bench::up(&[]);
    b.peer_subscribes(stream(0), 1, 100_000);
    let sent = sent_runs(&appended(&mut b, stream(0), 1..=6));

    assert_eq!(sent, [(1, 3), (4, 6)]);
    assert_eq!(
        sent_runs(&appended(&mut b, stream(0), 7..=12)),
        [(7, 9), (10, 12)],
        "1000 is reached inside a frame"
    );

    assert_eq!(appended(&mut b, stream(0), 13..=13), []);
    assert_eq!(sent_runs(&b.feed(Event::Sent { bytes: 900 })), [(13, 13)]);
}

#[test]
fn a_record_larger_than_a_frame_goes_alone() {
    let mut b = Bench::up(&[]);
    b.peer_subscribes(stream(0), 1, 100_000);
    let mut run = records(stream(0), 1..=1, 100);

    run.extend(records(stream(0), 2..=2, 450));
    run.extend(records(stream(0), 3..=3, 100));
    assert_eq!(
        sent_runs(&b.feed(Event::Appended(run))),
        [(1, 1), (2, 2), (3, 3)]
    );
}

#[test]
fn says_why_it_does_not_serve() {
    let mut b = Bench::up(&[(stream(0), 9)]);
    let ended = |reason: EndReason, first_seq| {
        vec![Effect::Send(Frame::StreamEnded(StreamEnded {
            subscription: 1,
            reason: reason as i32,
            first_seq,
        }))]
    };

    b.peer_subscribes(stream(0), 1, 1000);
    let trimmed = log_read(
        &mut b,
        stream(0),
        1,
        Err(ReadFault::Trimmed { first_seq: 5 }),
    );

    assert_eq!(trimmed, ended(EndReason::Trimmed, 5));
    b.peer_subscribes(stream(0), 1, 1000);
    let failed = log_read(&mut b, stream(0), 1, Err(ReadFault::Failed("disk".into())));

    assert_eq!(failed, ended(EndReason::ReadFailed, 0));
    for (number, other) in [(2, 5), (3, 6), (4, 7)] {
        assert_eq!(
            b.frame(Frame::Subscribe(subscribe(number, stream(other), 1, 1000))),
            []
        );
    }

    assert_eq!(
        b.peer_subscribes(stream(0), 1, 1000),
        ended(EndReason::TooMany, 0)
    );
}

#[test]
fn reads_again_at_the_next_tick_when_the_log_had_nothing_yet() {
    let mut b = Bench::up(&[(stream(0), 2)]);
    b.peer_subscribes(stream(0), 1, 1000);
    assert_eq!(log_read(&mut b, stream(0), 1, Ok(vec![])), []);
    assert!(b.tick(SECOND / 100).contains(&read(stream(0), 1)));
}

#[test]
fn news_of_a_tail_it_did_not_see_is_read_from_the_log() {
    let mut b = Bench::up(&[]);
    b.peer_subscribes(stream(2), 1, 1000);
    assert_eq!(
        b.feed(Event::TailMoved {
            stream: stream(2),
            seq: 3
        }),
        [read(stream(2), 1)]
    );
}

#[test]
fn the_own_stream_goes_first_and_the_others_in_turn() {
    let mut b = Bench::up(&[]);
    for (number, index) in [(1, 5), (2, 0), (3, 6)] {
        b.frame(Frame::Subscribe(subscribe(
            number,
            stream(index),
            1,
            100_000,
        )));
    }

    // Fill the budget, then let all three have something to send.
    let first = b.feed(Event::Appended(records(stream(0), 1..=1, 1000)));
    assert_eq!(sent_runs(&first), [(1, 1)]);

    for index in [5, 6] {
        assert_eq!(appended(&mut b, stream(index), 1..=6), []);
    }

    assert_eq!(appended(&mut b, stream(0), 2..=2), []);
    let order: Vec<u64> = b
        .feed(Event::Sent { bytes: 1000 })
        .iter()
        .filter_map(|e| {
            if let Effect::Send(Frame::Records(r)) = e {
                Some(r.stream().incarnation.0)
            } else {
                None
            }
        })
        .collect();

    assert_eq!(order, [0, 5, 6, 5]);
}

#[test]
fn forgets_a_subscription_when_told_and_serves_a_stream_once() {
    let mut b = Bench::up(&[]);
    b.peer_subscribes(stream(0), 1, 1000);
    b.frame(Frame::Unsubscribe(Unsubscribe { subscription: 1 }));
    assert_eq!(appended(&mut b, stream(0), 1..=1), []);
    b.peer_subscribes(stream(0), 2, 1000);
    b.frame(Frame::Subscribe(subscribe(2, stream(0), 2, 1000)));

    let effects = appended(&mut b, stream(0), 2..=2);
    assert!(
        matches!(&effects[..], [Effect::Send(Frame::Records(r))] if r.subscription() == 2),
        "{effects:?}"
    );
}
