use super::*;
use crate::table::{ring, text};

/// Reads `join n3 [@zone] [in group] [for n0] [found weight]`, `activate n3`, `drain n0`, `leave n0`, `weigh g 2`,
/// `resume g`, `retire g`, `dissolve g`; `!` at the end forces it.
pub(crate) fn change(line: &str) -> Proposal {
    let (line, force) = match line.strip_suffix('!') {
        Some(line) => (line, Some("the test says so".to_owned())),
        None => (line, None),
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let node = NodeName::new(words[1]);
    let after = |word: &str| {
        words
            .iter()
            .position(|w| *w == word)
            .map(|i| words[i + 1].to_owned())
    };

    let change = match words[0] {
        "join" => Change::Join {
            address: after("at").unwrap_or_else(|| format!("{node}:1")),
            zone: words
                .iter()
                .find_map(|w| w.strip_prefix('@'))
                .map(str::to_owned),
            group: after("in"),
            replaces: after("for").map(|old| NodeName::new(&old)),
            found: after("found").map(|weight| weight.parse().expect("a number")),
            node,
        },
        "describe" => Change::Describe {
            node,
            zone: Some(words[2].to_owned()),
        },
        "move" => Change::Move {
            node,
            address: words[2].to_owned(),
        },
        "activate" => Change::Activate { node },
        "drain" => Change::Drain { node },
        "leave" => Change::Leave {
            node,
            seals: Vec::new(),
        },
        "weigh" => Change::Weigh {
            group: node.to_string(),
            weight: words[2].parse().expect("a number"),
        },
        "resume" => Change::Resume {
            group: node.to_string(),
        },
        "retire" => Change::Retire {
            group: node.to_string(),
        },
        "dissolve" => Change::Dissolve {
            group: node.to_string(),
        },
        other => panic!("no such change: {other}"),
    };

    Proposal {
        epoch: 5,
        change,
        force,
    }
}

#[test]
fn changes_a_ring_or_says_what_to_do_instead() {
    let table = [
        ("g: n0 n1 n2", "join n3", "g: n0 n1 n2 n3*joining"),
        ("g: n0 n1 n2", "join n3 @b", "g: n0 n1 n2 n3@b*joining"),
        ("g: n0 n1 n2", "join n3 for n0", "g: n0 n1 n2 n3*joining>n0"),
        (
            "g: n0 n1 n2",
            "join n1",
            "n1 is in the ring already, as active: names are unique",
        ),
        (
            "g: n0 n1 n2",
            "join n3 at nowhere",
            "\"nowhere\" is no address of the form host:port",
        ),
        (
            "g: n0 n1 n2",
            "join n3 at n0:1",
            "address n0:1 belongs to n0 and n3",
        ),
        (
            "g: n0 n1 n2 n3*left",
            "join n4 at n3:1",
            "g: n0 n1 n2 n3*left n4*joining",
        ),
        ("g: n0 n1 n2 n3*left", "join n3", "g: n0 n1 n2 n3*joining"),
        ("g: n0 n1 n2", "join n3 for n9", "n9 is not in the ring"),
        (
            "g: n0 n1 n2 n3*joining>n0",
            "join n4 for n0",
            "n0 is being replaced by n3 already",
        ),
        (
            "g: n0 n1 n2 n3*joining",
            "join n4 for n3",
            "n3 is joining and cannot be replaced",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "join n3",
            "name the group to join, one of g, h",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "join n3 in h",
            "g: n0 n1 n2\nh: m0 m1 m2 n3*joining",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "join n3 for m1",
            "g: n0 n1 n2\nh: m0 m1 m2 n3*joining>m1",
        ),
        ("g: n0 n1 n2", "join n3 in x", "there is no group \"x\""),
        ("g: n0 n1 n2", "describe n1 a", "g: n0 n1@a n2"),
        ("g: n0 n1 n2", "move n1 elsewhere:9", "g: n0 n1 n2"),
        (
            "g: n0 n1 n2",
            "move n1 n2:1",
            "address n2:1 belongs to n1 and n2",
        ),
        (
            "g: n0 n1 n2 n3*left",
            "move n3 elsewhere:9",
            "n3 is not in the ring",
        ),
        ("g: n0 n1 n2 n3*joining", "activate n3", "g: n0 n1 n2 n3"),
        ("g: n0 n1 n2 n3*draining", "activate n3", "g: n0 n1 n2 n3"),
        (
            "g: n0 n1 n2",
            "activate n2",
            "n2 is active and cannot be activated",
        ),
        ("g: n0 n1 n2", "activate n9", "n9 is not in the ring"),
        ("g: n0 n1 n2 n3", "drain n0", "g: n0*draining n1 n2 n3"),
        (
            "g: n0 n1 n2",
            "drain n0",
            "without n0 its group has 2 active members for a replication factor of 3",
        ),
        ("g: n0 n1 n2", "drain n0!", "g: n0*draining n1 n2"),
        (
            "g: n0 n1 n2*draining",
            "drain n0!",
            "group g has 1 active members, a write needs 2",
        ),
        (
            "g: n0 n1 n2 n3*joining",
            "drain n3",
            "n3 is joining and cannot be drained",
        ),
        (
            "g: n0 n1 n2",
            "leave n0",
            "n0 is active and counts for the quorum: drain it first",
        ),
        (
            "g: n0 n1 n2",
            "leave n0!",
            "n0 is active and counts for the quorum: drain it first",
        ),
        (
            "g: n0*draining n1 n2 n3>n0",
            "leave n0",
            "g: n0*left n1 n2 n3",
        ),
        ("g: n0 n1 n2 n3*joining", "leave n3", "g: n0 n1 n2 n3*left"),
        ("g: n0 n1 n2 n3*left", "leave n3", "n3 is not in the ring"),
        (
            "g: n0 n1 n2",
            "join m0 in h found 1",
            "g: n0 n1 n2\nh*forming: m0*joining",
        ),
        (
            "g: n0 n1 n2",
            "join m0 in h found 3",
            "g: n0 n1 n2\nh*forming=3: m0*joining",
        ),
        (
            "g: n0 n1 n2",
            "join m0 in a/b found 1",
            "\"a/b\" is no name of a group",
        ),
        (
            "g: n0 n1 n2\nh*forming: m0*joining",
            "join m1 in h found 9",
            "g: n0 n1 n2\nh*forming: m0*joining m1*joining",
        ),
        (
            "g: n0 n1 n2\nh*forming: m0*joining",
            "leave m0",
            "g: n0 n1 n2\nh*forming: m0*left",
        ),
        (
            "g: n0 n1 n2\nh*forming: m0 m1*joining",
            "activate m1",
            "g: n0 n1 n2\nh*forming: m0 m1",
        ),
        (
            "g: n0 n1 n2\nh*forming: m0 m1 m2*joining",
            "activate m2",
            "g: n0 n1 n2\nh: m0 m1 m2",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "weigh h 2",
            "g: n0 n1 n2\nh=2: m0 m1 m2",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "weigh h 65",
            "group h has weight 65",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "weigh x 2",
            "there is no group \"x\"",
        ),
        (
            "g: n0 n1 n2",
            "retire g",
            "no other group takes series, so g cannot leave",
        ),
        (
            "g: n0 n1 n2\nh*forming: m0",
            "retire g",
            "no other group takes series, so g cannot leave",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "retire g",
            "g*leaving: n0 n1 n2\nh: m0 m1 m2",
        ),
        (
            "g*leaving: n0 n1 n2\nh: m0 m1 m2",
            "retire h",
            "no other group takes series, so h cannot leave",
        ),
        (
            "g*leaving: n0 n1 n2\nh: m0 m1 m2",
            "resume g",
            "g: n0 n1 n2\nh: m0 m1 m2",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "resume g",
            "group g is serving and cannot be resumed",
        ),
        (
            "g: n0 n1 n2\nh: m0 m1 m2",
            "dissolve g",
            "group g takes series: drain it first",
        ),
        (
            "g*leaving: n0 n1 n2\nh: m0 m1 m2",
            "dissolve g",
            "g*gone: n0*left n1*left n2*left\nh: m0 m1 m2",
        ),
        (
            "g*gone: n0*left\nh: m0 m1 m2",
            "dissolve g",
            "group g is gone and cannot be removed",
        ),
        (
            "g*gone: n0*left\nh: m0 m1 m2",
            "join n0",
            "g*gone: \nh: m0 m1 m2 n0*joining",
        ),
        (
            "g*gone: n0*left\nh: m0 m1 m2",
            "join k0 in g",
            "there is no group \"g\"",
        ),
        (
            "g*gone: n0*left\nh: m0 m1 m2",
            "join k0 in g found 1",
            "h: m0 m1 m2\ng*forming: k0*joining",
        ),
    ];
    for (before, line, want) in table {
        let got = match ring(before).apply(&change(line)) {
            Ok(next) => {
                assert_eq!(next.epoch, 6, "{before} | {line}");
                text(&next)
            }
            Err(refusal) => refusal.to_string(),
        };
        assert!(
            got.starts_with(want),
            "{before} | {line}:\n got {got}\nwant {want}"
        );
    }
}

#[test]
fn a_proposal_for_another_epoch_is_refused() {
    let proposal = Proposal {
        epoch: 4,
        ..change("join n3")
    };
    let refused = ring("g: n0 n1 n2")
        .apply(&proposal)
        .map(|r| text(&r))
        .map_err(|e| e.to_string());

    assert_eq!(
        refused,
        Err("the ring has moved on from epoch 4 to 5: look at it and ask again".to_owned())
    );
}

#[test]
fn what_is_kept_of_those_who_left_is_bounded() {
    let mut now = ring("g: n0 n1 n2");
    for i in 0..40_u32 {
        let node = NodeName::new(&format!("x{i}"));
        let join = Change::Join {
            node: node.clone(),
            address: format!("x{i}:1"),
            zone: None,
            group: None,
            replaces: None,
            found: None,
        };

        let seals = vec![
            Seal {
                incarnation: u64::from(i),
                boot: 1,
                seq: 9
            };
            2
        ];

        for change in [join, Change::Leave { node, seals }] {
            now = now
                .apply(&Proposal {
                    epoch: now.epoch,
                    change,
                    force: None,
                })
                .expect("allowed");
        }
    }

    let mut left = now.groups[0]
        .members
        .iter()
        .filter(|m| m.state == MemberState::Left);

    assert_eq!(left.clone().count(), LEFT_SHOWN_MAX);
    assert_eq!(
        left.next_back().expect("some").node.as_str(),
        "x39",
        "the oldest are forgotten first"
    );

    assert_eq!(now.seals.len(), 40, "one seal a stream");
}
