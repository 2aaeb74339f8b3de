use trireme_base::{Boot, Incarnation};

use super::*;

/// Columns: cut window, marker, applied, position here, positions of connected peers, later boot known, seconds the
/// origin is unreachable, quorum connected, somebody may come back, outcome. `seal_after` is 60 s.
#[test]
fn a_cut_waits_for_markers_or_for_agreement_on_the_end() {
    let table = "
        5 5    9 9 9,9  no  -  yes no  ok
        5 6    9 9 9,9  no  -  yes no  ok
        5 4    9 9 9,9  no  -  yes no  open
        5 none 0 0 -    no  -  yes no  open
        5 5    7 9 8,9  no  -  yes no  ok
        5 5    9 9 -    no  -  no  yes ok
        5 4    9 9 9    no  30 yes no  away
        5 4    9 9 9    no  60 yes no  away
        5 4    9 9 9    no  61 yes no  ok
        5 4    9 9 9    no  61 yes yes unsettled
        5 4    9 9 9    no  61 no  no  noquorum
        5 4    9 9 8    no  61 yes no  notlevel
        5 4    9 9 10   no  61 yes no  notlevel
        5 4    8 9 9    no  61 yes no  notapplied
        5 4    9 9 9,9  yes -  yes no  ok
        5 4    9 9 9,9  yes -  yes yes unsettled
        5 none 9 9 9,9  yes -  yes no  ok
        5 4    9 9 9,8  yes -  yes no  notlevel
        5 4    9 9 9,9  yes -  no  no  noquorum
        5 4    9 9 9    yes 1  yes no  away
        5 4    9 9 9    yes 61 yes no  ok
        5 none 0 0 0,0  yes -  yes no  ok
        -3 -3  9 9 9,9  no  -  yes no  ok
        -3 -4  9 9 9,9  no  -  yes no  open
    ";

    let stream = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };

    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let c: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let peer_positions = c[4].split(',').filter(|p| *p != "-").map(number).collect();
        let state = StreamCut {
            stream,
            marker: c[1].parse().ok(),
            applied: number(c[2]),
            position: number(c[3]),
            peer_positions,
            sealed_at: None,
            later_boot: c[5] == "yes",
            unreachable_for: c[6].parse().ok().map(Duration::from_secs),
        };

        let input = CutInput {
            quorum_connected: c[7] == "yes",
            is_unsettled: c[8] == "yes",
            seal_after: Duration::from_secs(60),
            streams: vec![state],
        };

        let want = match c[9] {
            "ok" => vec![],
            "open" => vec![CutBlocker::Open(stream)],
            "away" => vec![CutBlocker::Away(stream)],
            "noquorum" => vec![CutBlocker::NoQuorum(stream)],
            "unsettled" => vec![CutBlocker::Unsettled(stream)],
            "notlevel" => vec![CutBlocker::NotLevel(stream)],
            "notapplied" => vec![CutBlocker::NotApplied(stream)],
            other => panic!("unknown outcome {other}"),
        };

        assert_eq!(
            cut_blockers(c[0].parse().expect("window"), &input),
            want,
            "{line}"
        );
    }
}

#[test]
fn a_stream_sealed_by_the_ring_needs_no_agreement_only_its_end() {
    let stream = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };
    for (applied, want) in [(9, vec![]), (8, vec![CutBlocker::NotApplied(stream)])] {
        let state = StreamCut {
            stream,
            marker: None,
            applied,
            position: 9,
            peer_positions: vec![7],
            sealed_at: Some(9),
            later_boot: false,
            unreachable_for: Some(Duration::ZERO),
        };

        let seal_after = Duration::from_secs(60);
        let input = CutInput {
            quorum_connected: false,
            is_unsettled: true,
            seal_after,
            streams: vec![state],
        };

        assert_eq!(cut_blockers(5, &input), want);
    }
}
