use trireme_base::{Boot, Incarnation};
use trireme_wire::record::{RecordDraft, RecordKind};

use super::*;

fn stream(index: u64) -> StreamId {
    StreamId {
        incarnation: Incarnation(index),
        boot: Boot(1),
    }
}

/// A record of 32 bytes.
fn record(index: u64, seq: u64) -> Record {
    RecordDraft::new(0, RecordKind::Samples).seal(stream(index), seq)
}

fn text(batch: FeedBatch) -> String {
    let event = |event: Event| match event {
        Event::Appended(run) => {
            format!(
                "{}:{}-{}",
                run[0].stream().incarnation.0,
                run[0].seq(),
                run[run.len() - 1].seq()
            )
        }
        Event::TailMoved { stream, seq } => format!("tail{}:{seq}", stream.incarnation.0),
        Event::Durable { stream, seq } => format!("durable{}:{seq}", stream.incarnation.0),
        Event::Applied { stream, seq } => format!("applied{}:{seq}", stream.incarnation.0),
        other => panic!("unexpected {other:?}"),
    };
    batch
        .events
        .into_iter()
        .map(event)
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn merges_runs_and_keeps_the_last_positions() {
    let feed = Feed::new(1000);
    feed.start();

    for (index, seq) in [(1, 5), (2, 1), (1, 6), (2, 3)] {
        feed.written(&record(index, seq));
    }

    feed.durable(&[(stream(1), 5), (stream(2), 3)], true);
    feed.durable(&[(stream(1), 6)], true);
    feed.applied(stream(1), 4);
    feed.applied(stream(1), 6);
    assert_eq!(
        text(feed.next().await),
        "1:5-6 2:1-1 2:3-3 durable1:6 durable2:3 applied1:6"
    );
    assert_eq!(text(feed.take()), "");
}

#[test]
fn drops_records_at_its_bound_but_not_where_they_ended() {
    let feed = Feed::new(3 * 32);
    feed.start();

    for (index, seq) in [(1, 5), (2, 1), (1, 6), (1, 7), (1, 8)] {
        feed.written(&record(index, seq));
    }

    assert_eq!(text(feed.take()), "tail1:7 tail2:1 1:8-8");
    feed.written(&record(1, 9));
    assert_eq!(text(feed.take()), "1:9-9");
    assert_eq!(feed.dropped_records(), 4);
}

#[test]
fn collects_nothing_for_nobody() {
    let feed = Feed::new(1000);
    feed.written(&record(1, 1));
    feed.durable(&[(stream(1), 1)], true);
    assert_eq!(text(feed.take()), "");
    feed.start();
    feed.written(&record(1, 2));
    feed.stop();
    assert_eq!(text(feed.take()), "");
}

#[test]
fn remembers_how_far_streams_are_applied_even_for_nobody() {
    let feed = Feed::new(1000);
    feed.applied(stream(1), 7);
    feed.start();
    assert_eq!(text(feed.take()), "");
    feed.applied(stream(2), 3);
    assert_eq!(text(feed.take()), "applied2:3");

    let want = [(stream(1), 7), (stream(2), 3)].into_iter().collect();
    assert_eq!(feed.applied_positions(), want);
}
