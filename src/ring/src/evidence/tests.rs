use trireme_base::Boot;

use super::*;
use crate::change::tests::change;
use crate::table::ring;

/// Reads `n0 n1-7 n2~4 n3! n4?`: `-7` lacks 7 records, `~4` is at epoch 4, `!` has writes waiting, `?` is not connected.
fn evidence(line: &str) -> Evidence {
    let member = |word: &str| {
        let end = word.find(['-', '~', '!', '?']).unwrap_or(word.len());
        let (node, mark) = word.split_at(end);
        let number = mark.get(1..).and_then(|n| n.parse().ok());
        let evidence = MemberEvidence {
            connected: !mark.starts_with('?'),
            epoch: number.filter(|_| mark.starts_with('~')).unwrap_or(5),
            behind_records: number.filter(|_| mark.starts_with('-')).unwrap_or(0),
            writing: mark.starts_with('!'),
            incarnation: None,
        };
        (NodeName::new(node), evidence)
    };

    let members = line.split_whitespace().map(member).collect();
    Evidence {
        fenced_at: Some(5),
        members,
        ..Evidence::default()
    }
}

#[test]
fn guards_refuse_what_would_lose_data_or_quorum() {
    let joining = "g: n0 n1 n2 n3*joining";
    let four = "g: n0 n1 n2 n3";
    let draining = "g: n0*draining n1 n2 n3";
    let table = [
        (joining, "activate n3", "n0 n1 n2 n3", "ok"),
        (joining, "activate n3", "n0? n1 n2 n3", "ok"),
        (
            joining,
            "activate n3",
            "n0 n1 n2 n3-12",
            "n3 lacks 12 records",
        ),
        (joining, "activate n3!", "n0 n1 n2 n3-12", "ok"),
        (
            joining,
            "activate n3",
            "n0 n1 n2 n3?",
            "n3 is not connected",
        ),
        (
            joining,
            "activate n3",
            "n0 n1 n2 n3~4",
            "n3 still has the ring of epoch 4",
        ),
        (
            joining,
            "activate n3",
            "n0? n1-3 n2 n3",
            "only 2 of the 3 members that make a quorum of g",
        ),
        (four, "drain n0", "n0 n1 n2 n3", "ok"),
        (four, "drain n0", "n0? n1 n2 n3", "ok"),
        (four, "drain n0", "n0 n1? n2 n3", "n1 is not connected"),
        (four, "drain n0", "n0 n1 n2-1 n3", "n2 lacks 1 records"),
        (
            four,
            "drain n0",
            "n0 n1 n2 n3~3",
            "n3 still has the ring of epoch 3",
        ),
        (draining, "leave n0", "n0 n1 n2 n3", "ok"),
        (draining, "leave n0", "n0? n1 n2 n3", "ok"),
        (
            draining,
            "leave n0",
            "n0! n1 n2 n3",
            "n0 still has writes waiting",
        ),
        (
            draining,
            "leave n0",
            "n0~4 n1 n2 n3",
            "n0 still has the ring of epoch 4",
        ),
        (draining, "leave n0", "n0 n1-9 n2 n3", "n1 lacks 9 records"),
        (draining, "leave n0!", "n0 n1-9 n2 n3", "ok"),
        (
            four,
            "drain n0",
            "n0~4 n1 n2 n3",
            "n0 still has the ring of epoch 4",
        ),
        (
            joining,
            "activate n3",
            "n0~4 n1 n2 n3",
            "n0 still has the ring of epoch 4",
        ),
        (
            "g: n0 n1 n2 n3 n4*joining",
            "drain n0",
            "n0 n1 n2 n3 n4~2",
            "n4 still has the ring of epoch 2",
        ),
        (
            "g: n0 n1 n2 n3 n4*joining",
            "drain n0",
            "n0 n1 n2 n3 n4?",
            "ok",
        ),
        (
            "g: n0 n1 n2",
            "drain n0",
            "n0 n1 n2",
            "without n0 its group has 2 active members",
        ),
        ("g: n0 n1 n2", "join n3", "", "ok"),
    ];

    for (before, line, known, want) in table {
        let got = guard(&ring(before), &change(line), &evidence(known));
        let got = got.map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned());
        assert!(
            got.starts_with(want),
            "{before} | {line} | {known}:\n got {got}\nwant {want}"
        );
    }
}

#[test]
fn names_and_addresses_of_any_length_are_refused_also_with_force() {
    let ring = ring("g: n0 n1 n2");
    let join = |node: &str, address: &str, zone: Option<&str>| {
        let change = Change::Join {
            node: NodeName::new(node),
            address: address.to_owned(),
            zone: zone.map(str::to_owned),
            group: None,
            replaces: None,
            found: None,
        };

        let proposal = Proposal {
            epoch: 5,
            change,
            force: Some("I can".to_owned()),
        };

        guard(&ring, &proposal, &Evidence::default()).map_err(|refusal| refusal.to_string())
    };

    let long = "n".repeat(60_000);
    assert_eq!(
        join(&long, "h:1", None),
        Err("a name in the ring has at most 128 bytes, this one has 60000".to_owned())
    );

    assert!(
        join("n3", &format!("{long}:1"), None).is_err_and(|why| why.starts_with("an address in"))
    );
    assert!(join("n3", "h:1", Some(&long)).is_err_and(|why| why.starts_with("a zone in")));

    assert_eq!(join(&"n".repeat(128), "h:1", None), Ok(()));
}

#[test]
fn nothing_is_decided_on_evidence_of_nobody_or_of_another_ring() {
    let ring = ring("g: n0 n1 n2 n3");
    for fenced_at in [None, Some(4), Some(6)] {
        let known = Evidence {
            fenced_at,
            ..evidence("n0 n1 n2 n3")
        };

        for line in ["drain n0", "drain n3"] {
            let refused = guard(&ring, &change(line), &known).expect_err("unmeasured");
            assert_eq!(
                refused,
                Refusal::NoWord {
                    group: "g".to_owned()
                },
                "{line} {fenced_at:?}"
            );
        }

        assert!(
            guard(&ring, &change("drain n0!"), &known).is_ok(),
            "an operator knows better"
        );
    }

    assert!(guard(&ring, &change("drain n0"), &Evidence::default()).is_err());
}

/// Reads `n0 n1~4 n2! n3* n4+2 n5+2?`: `~4` is at epoch 4, `!` has writes waiting, `*` has open windows, `+2` has two blocks
/// that are not uploaded, `+2?` two that nobody may have seen; `i` has peers that do not know the ring.
fn holdings(line: &str) -> BTreeMap<NodeName, Holdings> {
    let member = |word: &str| {
        let end = word.find(['~', '!', '*', '+', 'i']).unwrap_or(word.len());
        let (node, mark) = word.split_at(end);
        let number = mark.trim_matches(['~', '+', '?']).parse().unwrap_or(0);
        let blocks = if mark.starts_with('+') { number } else { 0 };
        let holdings = Holdings {
            epoch: if mark.starts_with('~') { number } else { 5 },
            all_informed: mark != "i",
            writing: mark == "!",
            open_windows: mark == "*",
            unshipped: if mark.ends_with('?') { 0 } else { blocks },
            unseen: if mark.ends_with('?') { blocks } else { 0 },
        };

        (NodeName::new(node), holdings)
    };
    line.split_whitespace().map(member).collect()
}

#[test]
fn a_group_goes_only_when_the_bucket_has_everything() {
    let table = [
        ("n0 n1 n2", "ok"),
        ("n0 n1", "ok"),
        ("n0", "1 members of group g said what they have, 2 must"),
        ("n0 n1~4 n2", "n1 still has the ring of epoch 4"),
        ("n0 n1i n2", "n1 still has the ring"),
        ("n0 n1 n2!", "n2 still has writes waiting"),
        (
            "n0 n1* n2",
            "group g still has samples that are not in the bucket",
        ),
        (
            "n0 n1 n2+3",
            "group g still has samples that are not in the bucket",
        ),
        (
            "n0 n1+1? n2",
            "group g still has samples that are not in the bucket",
        ),
    ];

    let ring = ring("g*leaving: n0 n1 n2\nh: m0 m1 m2");
    for (known, want) in table {
        let known = Evidence {
            holdings: holdings(known),
            ..Evidence::default()
        };
        let got = guard(&ring, &change("dissolve g"), &known);
        assert!(guard(&ring, &change("dissolve g!"), &Evidence::default()).is_ok());
        let got = got.map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned());
        assert!(got.starts_with(want), "{known:?}:\n got {got}\nwant {want}");
    }
}

#[test]
fn a_replacement_goes_on_by_itself_one_safe_step_at_a_time() {
    let table = [
        ("g: n0 n1 n2 n3*joining", "n0 n1 n2 n3", "none"),
        ("g: n0 n1 n2 n3*joining>n0", "n0 n1 n2 n3-4", "none"),
        ("g: n0 n1 n2 n3*joining>n0", "n0? n1 n2 n3", "activate n3"),
        ("g: n0 n1 n2 n3>n0", "n0? n1 n2 n3-1", "none"),
        ("g: n0 n1 n2 n3>n0", "n0? n1 n2 n3", "drain n0"),
        ("g: n0*draining n1 n2 n3>n0", "n0! n1 n2 n3", "none"),
        ("g: n0*draining n1 n2 n3>n0", "n0 n1 n2 n3", "leave n0"),
        ("g: n0*left n1 n2 n3", "n1 n2 n3", "none"),
        (
            "g: a b c\nh*forming: n0*joining n1*joining",
            "n0 n1",
            "none",
        ),
        (
            "g: a b c\nh*forming: n0*joining n1*joining n2*joining",
            "n0? n1-3 n2",
            "activate n2",
        ),
        (
            "g: a b c\nh*forming: n0*joining n1*joining n2*joining",
            "n0~4 n1? n2?",
            "none",
        ),
        (
            "g: a b c\nh*forming: n0 n1 n2*joining",
            "n0 n1 n2",
            "activate n2",
        ),
        ("g: a b c\nh: n0 n1 n2 n3*joining", "n0 n1 n2 n3", "none"),
    ];
    for (before, known, want) in table {
        let ring = ring(before);
        let step = next_step(&ring, ring.groups.last().expect("one"), &evidence(known));
        let got = step.map_or("none".to_owned(), |p| {
            format!("{} {}", p.change.word(), p.change.subject())
        });
        assert_eq!(got, want, "{before} | {known}");
    }
}

#[test]
fn seals_streams_of_those_who_are_gone_and_of_no_one_else() {
    let ring = ring("g: n0*draining n1 n2 n3");
    let mut known = evidence("n0 n1 n2 n3");
    let stream = |incarnation, boot| StreamId {
        incarnation: Incarnation(incarnation),
        boot: Boot(boot),
    };

    known.streams = BTreeMap::from([
        (stream(10, 1), 7),
        (stream(10, 2), 8),
        (stream(11, 1), 9),
        (stream(99, 3), 4),
    ]);

    for (i, node) in ["n0", "n1", "n2", "n3"].iter().enumerate() {
        let member = known.members.get_mut(&NodeName::new(node)).expect("listed");
        member.incarnation = Some(Incarnation(10 + i as u64));
    }

    let n0 = NodeName::new("n0");
    let shown = |known: &Evidence| {
        known
            .seals(&ring, &n0)
            .iter()
            .map(|s| (s.incarnation, s.boot, s.seq))
            .collect::<Vec<_>>()
    };

    assert_eq!(
        shown(&known),
        [(10, 1, 7), (10, 2, 8), (99, 3, 4)],
        "99 is a disk that was wiped"
    );

    known
        .members
        .get_mut(&NodeName::new("n2"))
        .expect("listed")
        .incarnation = None;

    assert_eq!(shown(&known), [(10, 1, 7), (10, 2, 8)], "99 may be n2's");
}
