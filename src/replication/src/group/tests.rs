use trireme_base::End;
use trireme_wire::frame::EndReason;

use super::*;

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

fn stream(index: u64, boot: u32) -> StreamId {
    identity(index, boot).stream()
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A view of n0 at boot 5 with n1 and n2 as peers.
fn view() -> GroupView {
    let names = [0, 1, 2].map(name);
    GroupView::new(
        identity(0, 5),
        Quorum::new(names.clone(), 3),
        names,
        GroupLimits::default(),
        seconds(0),
    )
}

fn has(view: &mut GroupView, node: u64, stream: StreamId, seq: u64) {
    view.observed(
        &name(node),
        Incarnation(node),
        &[(stream, seq)].into_iter().collect(),
    );
}

fn plan_at(view: &mut GroupView, at_s: u64) -> [Vec<StreamId>; 2] {
    view.plan(seconds(at_s));
    [view.assigned(&name(1)), view.assigned(&name(2))]
}

#[test]
fn takes_a_running_stream_from_its_origin_even_when_level() {
    let mut v = view();
    v.admit(&identity(1, 1), seconds(0)).expect("a member");
    assert_eq!(plan_at(&mut v, 0), [vec![stream(1, 1)], vec![]]);
    v.admit(&identity(2, 1), seconds(0)).expect("a member");
    has(&mut v, 2, stream(1, 1), 100);
    assert_eq!(plan_at(&mut v, 0), [vec![stream(1, 1)], vec![stream(2, 1)]]);
}

#[test]
fn takes_the_tail_of_a_dead_origin_from_the_furthest_and_stays_with_it() {
    let mut v = view();
    for peer in [1, 2] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
    }

    let dead = stream(9, 3);
    has(&mut v, 1, dead, 5);
    has(&mut v, 2, dead, 8);
    assert_eq!(
        plan_at(&mut v, 0),
        [vec![stream(1, 1)], vec![stream(2, 1), dead]]
    );
    v.own_durable(dead, 8);
    has(&mut v, 1, dead, 9);
    assert_eq!(
        plan_at(&mut v, 1)[1],
        [stream(2, 1), dead],
        "still served, n2 will get the rest as well"
    );

    v.disconnected(&name(2), 1, seconds(2));
    assert_eq!(plan_at(&mut v, 2), [vec![stream(1, 1), dead], vec![]]);
}

#[test]
fn takes_its_own_earlier_stream_back_but_never_the_running_one() {
    let mut v = view();
    v.admit(&identity(1, 1), seconds(0)).expect("a member");
    has(&mut v, 1, stream(0, 4), 7);
    has(&mut v, 1, stream(0, 5), 7);
    assert_eq!(plan_at(&mut v, 0)[0], [stream(1, 1), stream(0, 4)]);
    v.own_durable(stream(0, 4), 7);
    assert_eq!(
        plan_at(&mut v, 0)[0],
        [stream(1, 1)],
        "an ended stream that is level is let go"
    );
}

#[test]
fn follows_the_origin_through_a_third_node_while_it_is_cut_off() {
    let mut v = view();
    for peer in [1, 2] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
    }

    plan_at(&mut v, 0);
    v.disconnected(&name(1), 1, seconds(1));
    assert_eq!(plan_at(&mut v, 1)[1], [stream(2, 1)]);
    has(&mut v, 2, stream(1, 1), 3);
    assert_eq!(plan_at(&mut v, 2)[1], [stream(2, 1), stream(1, 1)]);
    v.own_durable(stream(1, 1), 3);
    assert_eq!(
        plan_at(&mut v, 3)[1],
        [stream(2, 1), stream(1, 1)],
        "more may come"
    );

    v.admit(&identity(1, 1), seconds(4)).expect("a member");
    assert_eq!(
        plan_at(&mut v, 4),
        [vec![stream(1, 1)], vec![stream(2, 1)]],
        "back to the origin"
    );
}

/// What comes of n1's stream from a peer: received up to `seq`, with room for more or without.
fn taken(view: &mut GroupView, node: u64, seq: u64, has_room: bool) {
    let taken = Taken {
        stream: stream(1, 1),
        seq,
        has_room,
        has_given: seq > 0,
    };
    view.taken(&name(node), vec![taken]);
}

/// n0 lacks records of n1's stream that both peers have.
fn view_behind() -> GroupView {
    let mut v = view();
    for peer in [1, 2] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
        has(&mut v, peer, stream(1, 1), 9);
    }
    v
}

#[test]
fn asks_somebody_else_when_a_server_sends_nothing_that_it_owes() {
    let mut v = view_behind();
    assert_eq!(plan_at(&mut v, 0)[0], [stream(1, 1)]);
    taken(&mut v, 1, 2, true);
    assert_eq!(plan_at(&mut v, 9)[0], [stream(1, 1)], "it sends");
    assert_eq!(
        plan_at(&mut v, 18)[0],
        [stream(1, 1)],
        "nine seconds are not ten"
    );

    assert_eq!(
        plan_at(&mut v, 19),
        [vec![], vec![stream(2, 1), stream(1, 1)]],
        "it sent nothing for ten"
    );

    assert_eq!(plan_at(&mut v, 49)[0], [stream(1, 1)], "asked again");
}

#[test]
fn a_disk_that_stands_still_leaves_nobody_behind() {
    let mut v = view_behind();
    for at_s in 0..3_600 {
        // All of the window is received and cannot be written: nobody may send more.
        for peer in [1, 2] {
            taken(&mut v, peer, 5, false);
        }
        v.plan(seconds(at_s));
        assert!(!v.rebuild_look(seconds(at_s)).is_stranded, "second {at_s}");
    }
}

#[test]
fn what_was_received_and_never_stored_is_asked_for_again() {
    let mut v = view_behind();
    assert_eq!(plan_at(&mut v, 0)[0], [stream(1, 1)]);
    taken(&mut v, 1, 9, true);
    assert_eq!(plan_at(&mut v, 1)[0], [stream(1, 1)]);
    assert_eq!(plan_at(&mut v, 30)[0], [stream(1, 1)], "a disk may be slow");
    assert_eq!(
        plan_at(&mut v, 31),
        [vec![], vec![stream(2, 1), stream(1, 1)]],
        "the log has lost it"
    );

    let mut stored = view_behind();
    plan_at(&mut stored, 0);
    taken(&mut stored, 1, 9, true);
    stored.own_durable(stream(1, 1), 9);
    assert_eq!(plan_at(&mut stored, 7_200)[0], [stream(1, 1)], "level");
}

#[test]
fn is_stranded_only_by_the_word_of_everybody_who_has_more() {
    let mut v = view_behind();
    v.own_durable(stream(1, 1), 2);

    for peer in [1, 2] {
        v.unserved(&name(peer), stream(1, 1), seconds(1));
    }

    assert_eq!(
        plan_at(&mut v, 20),
        [vec![], vec![stream(2, 1)]],
        "nobody left to ask"
    );

    assert_eq!(v.stranded(), [], "but nobody said that it is gone");

    v.refused(&name(1), stream(1, 1), EndReason::Trimmed, 7, seconds(20));
    assert_eq!(v.stranded(), [], "n2 may have it");
    v.refused(
        &name(2),
        stream(1, 1),
        EndReason::ReadFailed,
        0,
        seconds(20),
    );

    assert_eq!(
        v.stranded(),
        [],
        "a disk that cannot be read now may be read later"
    );

    v.refused(&name(2), stream(1, 1), EndReason::Trimmed, 1, seconds(20));
    assert_eq!(
        v.stranded(),
        [stream(1, 1)],
        "a hole in the middle is a gap as well"
    );

    assert!(!v.is_served());

    taken(&mut v, 2, 3, true);
    assert!(
        v.stranded().is_empty() && v.is_served(),
        "it comes after all"
    );

    v.admit(&identity(1, 2), seconds(21)).expect("a member");
    assert_eq!(v.stranded(), [], "what it said is of another session");
}

#[test]
fn of_those_that_were_all_left_behind_one_has_the_most() {
    let mut v = view();
    for peer in [1, 2] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
        let health = Health {
            rebuilding: true,
            left_behind: true,
            ..Health::default()
        };
        v.heard(&name(peer), health, 0, 0, seconds(0));
    }

    has(&mut v, 1, stream(1, 1), 4);
    v.own_durable(stream(0, 4), 5);
    assert!(v.rebuild_look(seconds(1)).is_furthest);

    has(&mut v, 2, stream(2, 1), 6);
    assert!(!v.rebuild_look(seconds(1)).is_furthest, "n2 has more");
    v.own_durable(stream(0, 4), 6);

    assert!(
        v.rebuild_look(seconds(1)).is_furthest,
        "as much, and the first by name"
    );

    v.heard(
        &name(2),
        Health {
            rebuilding: true,
            ..Health::default()
        },
        0,
        0,
        seconds(0),
    );

    assert!(
        !v.rebuild_look(seconds(1)).is_furthest,
        "a new disk is not left behind"
    );

    v.heard(&name(2), Health::default(), 0, 0, seconds(0));
    assert!(!v.rebuild_look(seconds(1)).is_furthest, "n2 is whole");
}

#[test]
fn bounds_the_streams_taken_from_one_peer_and_prefers_those_that_lag() {
    let mut v = view();
    v.admit(&identity(1, 20), seconds(0)).expect("a member");

    for boot in 1..20 {
        has(&mut v, 1, stream(1, boot), 5);
    }

    let first = plan_at(&mut v, 0)[0].clone();
    assert_eq!(first.len(), 1 + GroupLimits::default().streams_per_peer_max);
    assert_eq!(first[0], stream(1, 20));

    for done in &first[1..] {
        v.own_durable(*done, 5);
    }

    let second = plan_at(&mut v, 1)[0].clone();
    assert!(second[1..].iter().all(|s| !first.contains(s)), "{second:?}");
}

#[test]
fn does_not_let_in_strangers_copies_and_older_starts() {
    let mut v = view();
    assert_eq!(
        v.admit(&identity(7, 1), seconds(0)),
        Err(AdmitError::Stranger(name(7)))
    );

    let copy_of_me = PeerIdentity {
        incarnation: Incarnation(0),
        ..identity(1, 1)
    };
    assert!(matches!(
        v.admit(&copy_of_me, seconds(0)),
        Err(AdmitError::DuplicateIncarnation { .. })
    ));

    v.admit(&identity(1, 3), seconds(0)).expect("a member");
    let copy_of_n1 = PeerIdentity {
        incarnation: Incarnation(1),
        ..identity(2, 3)
    };

    assert_eq!(
        v.admit(&copy_of_n1, seconds(0)).map_err(|e| e.to_string()),
        Err("incarnation 0000000000000001 of n2 is already running as n1: one data directory is a copy of the other"
            .to_owned())
    );

    assert!(matches!(
        v.admit(&identity(1, 2), seconds(0)),
        Err(AdmitError::StaleBoot { .. })
    ));

    v.admit(&identity(1, 3), seconds(0))
        .expect("reconnecting is fine");
    v.admit(&identity(1, 4), seconds(0))
        .expect("so is restarting");
    v.disconnected(&name(1), 1, seconds(1));

    assert!(
        v.admit(
            &PeerIdentity {
                boot: Boot(9),
                ..copy_of_n1.clone()
            },
            seconds(1)
        )
        .is_err(),
        "session 1 is not the last"
    );

    v.disconnected(&name(1), 3, seconds(1));
    v.admit(
        &PeerIdentity {
            boot: Boot(9),
            ..copy_of_n1
        },
        seconds(1),
    )
    .expect("n1 is gone, its disk may have moved");
}

#[test]
fn forgets_what_a_wiped_disk_had() {
    let mut v = view();
    v.admit(&identity(1, 1), seconds(0)).expect("a member");
    has(&mut v, 1, stream(0, 5), 7);

    let wiped = PeerIdentity {
        incarnation: Incarnation(99),
        ..identity(1, 1)
    };

    v.disconnected(&name(1), 1, seconds(1));
    v.admit(&wiped, seconds(1)).expect("a member");
    has(&mut v, 1, stream(0, 5), 9);

    let (_, peer) = v
        .peers()
        .find(|(node, _)| **node == name(1))
        .expect("known");
    assert!(
        peer.positions.is_empty(),
        "neither its old positions nor late acks of the old incarnation"
    );
}

#[test]
fn a_cut_sees_running_streams_without_entries_and_how_long_origins_are_away() {
    let mut v = view();
    v.admit(&identity(1, 2), seconds(0)).expect("a member");
    has(&mut v, 1, stream(1, 1), 4);
    v.own_durable(stream(1, 1), 4);
    v.own_durable(stream(2, 1), 6);

    let input = v.cut_input(seconds(50), seconds(60), |_| None, |_| 0);
    assert!(input.quorum_connected);
    let got: Vec<_> = input
        .streams
        .iter()
        .map(|s| {
            (
                s.stream,
                s.position,
                s.peer_positions.clone(),
                s.later_boot,
                s.unreachable_for,
            )
        })
        .collect();

    assert_eq!(
        got,
        [
            (stream(0, 5), 0, vec![0], false, None),
            (stream(1, 1), 4, vec![4], true, None),
            (stream(1, 2), 0, vec![0], false, None),
            (stream(2, 1), 6, vec![0], false, Some(seconds(50))),
        ]
    );

    v.disconnected(&name(1), 1, seconds(70));
    let input = v.cut_input(seconds(75), seconds(60), |_| None, |_| 0);
    assert!(!input.quorum_connected);

    assert_eq!(input.streams[2].unreachable_for, Some(seconds(5)));
}

#[test]
fn a_quorum_has_what_its_second_member_has() {
    let mut v = view();
    assert_eq!(v.quorum_has(stream(0, 4)), 0);
    v.own_durable(stream(0, 4), 9);
    assert_eq!(v.quorum_has(stream(0, 4)), 0, "nobody else has anything");

    for peer in [1, 2] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
    }

    has(&mut v, 1, stream(0, 4), 5);
    assert_eq!(v.quorum_has(stream(0, 4)), 5);
    v.disconnected(&name(1), 1, seconds(1));
    has(&mut v, 2, stream(0, 4), 3);
    assert_eq!(
        v.quorum_has(stream(0, 4)),
        5,
        "what n1 told stays true while it is away"
    );
}

#[test]
fn everybody_has_only_what_each_has_told_since_it_connected() {
    let mut v = view();
    v.own_durable(stream(0, 5), 9);
    assert_eq!(v.everybody_has(stream(0, 5)), 0, "nobody was ever here");

    for (peer, seq) in [(1, 7), (2, 8)] {
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
        has(&mut v, peer, stream(0, 5), seq);
    }

    assert_eq!(v.everybody_has(stream(0, 5)), 7);
    v.disconnected(&name(1), 1, seconds(1));
    assert_eq!(v.everybody_has(stream(0, 5)), 7, "what it had it still has");
    v.admit(&identity(1, 2), seconds(2)).expect("a member");
    assert_eq!(
        v.everybody_has(stream(0, 5)),
        0,
        "its disk may be another one"
    );
}

#[test]
fn of_neighbours_nothing_is_taken_and_copies_are_told_apart() {
    let mut v = GroupView::of_neighbours(identity(0, 5), [name(1), name(2)], seconds(0));
    v.admit(&identity(1, 3), seconds(1)).expect("known");
    has(&mut v, 1, stream(1, 3), 9);
    assert_eq!(plan_at(&mut v, 2), [Vec::new(), Vec::new()]);

    let copy = PeerIdentity {
        node: name(7),
        incarnation: Incarnation(1),
        boot: Boot(3),
    };

    assert!(matches!(v.check(&copy), Err(AdmitError::Stranger(_))));
    assert!(matches!(
        v.check_incarnation(&copy),
        Err(AdmitError::DuplicateIncarnation { .. })
    ));
}

#[test]
fn another_data_directory_of_a_name_waits_until_the_one_that_runs_is_gone() {
    let mut v = view();
    v.admit(&identity(1, 1), seconds(0)).expect("a member");
    let other = PeerIdentity {
        incarnation: Incarnation(77),
        ..identity(1, 1)
    };
    let refused = AdmitError::DuplicateName {
        node: name(1),
        running: Incarnation(1),
        incarnation: Incarnation(77),
    };

    assert_eq!(v.check(&other), Err(refused.clone()));
    assert_eq!(v.admit(&other, seconds(1)), Err(refused));
    assert_eq!(
        v.admit(&identity(1, 2), seconds(1)),
        Ok(2),
        "a new start of the same one"
    );

    v.disconnected(&name(1), 2, seconds(2));
    assert_eq!(v.admit(&other, seconds(3)), Ok(3));
}

#[test]
fn what_ring_a_peer_goes_by_is_not_known_before_it_says_so_again() {
    let mut v = view();
    v.admit(&identity(1, 1), seconds(0)).expect("a member");
    v.heard_epoch(&name(1), 7);
    v.disconnected(&name(1), 1, seconds(1));
    v.admit(&identity(1, 2), seconds(2)).expect("a member");
    assert_eq!(v.peers().map(|(_, peer)| peer.epoch).max(), Some(0));
}

#[test]
fn a_group_that_is_forming_is_new_once_all_have_told_what_they_have() {
    let is_new = |v: &GroupView| v.rebuild_look(seconds(0)).is_new_group;
    let mut v = view();
    let voters = Quorum::new([], 3);
    let ring = GroupRing {
        epoch: 2,
        is_forming: true,
        quorum: voters,
        peers: vec![name(1), name(2)],
        seals: BTreeMap::new(),
    };

    v.set_ring(ring.clone(), seconds(0));
    for peer in [1, 2] {
        assert!(!is_new(&v), "n{peer} has told nothing");
        v.admit(&identity(peer, 1), seconds(0)).expect("a member");
        v.heard(&name(peer), Health::default(), 0, 0, seconds(0));
    }

    assert!(is_new(&v));
    v.set_ring(
        GroupRing {
            is_forming: false,
            ..ring
        },
        seconds(0),
    );

    assert!(!is_new(&v), "it serves");
}

fn before(index: u64, boot: u32) -> Ended {
    [(Incarnation(index), Boot(boot))].into_iter().collect()
}

/// A view whose peers are connected and have the first three starts of n1, which is at its fourth, as this node has.
fn view_of_starts() -> GroupView {
    let mut v = view();
    for (peer, boot) in [(1, 4), (2, 1)] {
        v.admit(&identity(peer, boot), seconds(0))
            .expect("a member");
        v.heard(&name(peer), Health::default(), 0, 0, seconds(0));
        for boot in 1..=3 {
            has(&mut v, peer, stream(1, boot), 10);
        }
    }

    (1..=3).for_each(|boot| v.own_durable(stream(1, boot), 10));
    v
}

fn settles(view: &mut GroupView, peer: u64, settled: Ended) {
    view.heard_ends(
        &name(peer),
        &Ends {
            settled,
            ended: Ended::default(),
        },
    );
}

#[test]
fn a_stream_ends_when_all_have_settled_it_and_have_it_equally_far() {
    let mut v = view_of_starts();
    assert!(
        v.may_end(&before(1, 4)).is_empty(),
        "nobody else has said so"
    );

    settles(&mut v, 1, before(1, 9));
    assert!(v.may_end(&before(1, 4)).is_empty(), "n2 has not");
    settles(&mut v, 2, before(1, 3));
    assert_eq!(
        v.may_end(&before(1, 4)),
        before(1, 3),
        "as many as all have settled"
    );

    assert_eq!(
        v.may_end(&before(1, 2)),
        before(1, 2),
        "this node among them"
    );

    settles(&mut v, 2, before(1, 9));
    assert_eq!(
        v.may_end(&before(1, 9)),
        before(1, 4),
        "the fourth is running"
    );

    has(&mut v, 2, stream(1, 2), 11);
    assert_eq!(
        v.may_end(&before(1, 4)),
        before(1, 2),
        "n2 has more of the second"
    );

    v.own_durable(stream(1, 2), 11);
    has(&mut v, 1, stream(1, 2), 11);
    assert_eq!(v.may_end(&before(1, 4)), before(1, 4));
    v.disconnected(&name(2), 1, seconds(1));

    assert!(
        v.may_end(&before(1, 4)).is_empty(),
        "n2 is away, and may come back with less"
    );

    v.admit(&identity(2, 2), seconds(2)).expect("a member");
    assert!(
        v.may_end(&before(1, 4)).is_empty(),
        "and has said nothing yet"
    );
}

/// What somebody tells for whom the starts of n1 before this one have ended at 10.
fn at_ten(boot: u32) -> Ends {
    let digest = (1..boot).fold(0, |digest, boot| End::with(digest, Boot(boot), 10));
    let end = End {
        before: Boot(boot),
        digest,
    };

    Ends {
        settled: Ended::default(),
        ended: [(Incarnation(1), end)].into_iter().collect(),
    }
}

#[test]
fn a_stream_does_not_end_without_the_node_that_wrote_it() {
    let mut v = view();
    for peer in [1, 2] {
        v.admit(&identity(peer, 4), seconds(0)).expect("a member");
        v.heard(&name(peer), Health::default(), 0, 0, seconds(0));
        has(&mut v, peer, stream(9, 1), 10);
        settles(&mut v, peer, before(9, 2));
    }

    v.own_durable(stream(9, 1), 10);
    assert!(
        v.may_end(&before(9, 2)).is_empty(),
        "its disk may come back with more"
    );
}

#[test]
fn a_replica_that_is_rebuilt_is_evidence_of_nothing() {
    let mut v = view_of_starts();
    settles(&mut v, 1, before(1, 4));
    settles(&mut v, 2, before(1, 4));
    assert_eq!(v.may_end(&before(1, 4)), before(1, 4));

    let rebuilding = Health {
        rebuilding: true,
        ..Health::default()
    };

    v.heard(&name(2), rebuilding, 0, 0, seconds(1));
    assert!(v.may_end(&before(1, 4)).is_empty());
}

#[test]
fn what_has_ended_for_one_ends_for_all_that_have_settled_it() {
    let mut v = view_of_starts();
    v.disconnected(&name(2), 1, seconds(1));
    v.heard_ends(&name(1), &at_ten(3));

    assert!(
        v.may_end(&Ended::default()).is_empty(),
        "this node still needs it"
    );

    let ended = v.may_end(&before(1, 4));
    assert_eq!(ended, before(1, 3), "n2 has agreed before");

    // n2 has not let go of it yet: nothing is taken from there, and no cut waits for it.
    v.end(&at_ten(3).ended);
    v.admit(&identity(2, 1), seconds(2)).expect("a member");
    has(&mut v, 2, stream(1, 1), 10);

    let [_, from_n2] = plan_at(&mut v, 3);
    assert_eq!(from_n2, [stream(2, 1)]);
    assert!(v.stranded().is_empty() && v.is_served());

    let input = v.cut_input(seconds(3), seconds(9), |_| None, |_| 0);
    assert!(
        input
            .streams
            .iter()
            .all(|s| s.stream != stream(1, 1) && s.stream != stream(1, 2))
    );

    assert_eq!(v.everybody_has(stream(1, 2)), crate::ALL);
}

#[test]
fn who_lacks_something_of_what_has_ended_ends_nothing() {
    let all_have_ended = |mut v: GroupView| {
        for peer in [1, 2] {
            v.admit(&identity(peer, 4), seconds(0)).expect("a member");
            v.heard(&name(peer), Health::default(), 0, 0, seconds(0));
            has(&mut v, peer, stream(1, 4), 5);
            v.heard_ends(
                &name(peer),
                &Ends {
                    settled: before(1, 4),
                    ..at_ten(4)
                },
            );
        }
        v
    };

    let mut level = view();
    (1..=3).for_each(|boot| level.own_durable(stream(1, boot), 10));
    assert_eq!(all_have_ended(level).may_end(&before(1, 4)), before(1, 4));

    let empty = all_have_ended(view());
    assert!(
        empty.has_missed_ends() && empty.may_end(&before(1, 4)).is_empty(),
        "a new disk"
    );

    let mut older = view();
    for (boot, seq) in [(1, 10), (2, 9)] {
        older.own_durable(stream(1, boot), seq);
    }

    let older = all_have_ended(older);
    assert!(
        older.has_missed_ends() && older.may_end(&before(1, 4)).is_empty(),
        "one that was set back"
    );
}

#[test]
fn who_lacks_something_of_what_has_ended_is_stranded() {
    let v = view_of_starts();
    let missed = |mut v: GroupView| {
        v.heard_ends(&name(1), &at_ten(3));
        assert_eq!(v.has_missed_ends(), v.standing_look(seconds(0)).is_stranded);
        assert_eq!(v.has_missed_ends(), v.may_end(&before(1, 4)).is_empty());

        let holders: Vec<bool> = v
            .rebuild_look(seconds(0))
            .sources
            .iter()
            .map(|source| source.has_stranded)
            .collect();

        assert_eq!(
            holders,
            [v.has_missed_ends(), false],
            "n1 has it, as it says"
        );

        let input = v.cut_input(seconds(90), seconds(9), |_| None, |_| 0);
        assert_eq!(
            input.is_unsettled,
            v.has_missed_ends(),
            "no block is written without it"
        );

        v.has_missed_ends()
    };

    assert!(!missed(v.clone()), "it has all");

    // A directory that was set back before the ends, and one before the streams.
    let set_back = |seqs: &[u64]| {
        let starts = seqs
            .iter()
            .zip(1..)
            .map(|(seq, boot)| (stream(1, boot), *seq));
        GroupView {
            mine: starts.collect(),
            ..v.clone()
        }
    };

    for seqs in [&[10, 9][..], &[9, 10], &[10], &[], &[10, 11]] {
        assert!(missed(set_back(seqs)), "{seqs:?}");
    }

    assert!(
        !missed(set_back(&[10, 10, 3])),
        "what has not ended comes from the logs"
    );
}
