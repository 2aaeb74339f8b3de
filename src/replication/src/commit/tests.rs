use trireme_base::Boot;

use super::*;

const OWN: StreamId = StreamId {
    incarnation: Incarnation(1),
    boot: Boot(1),
};
const SECOND: Duration = Duration::from_secs(1);

fn tracker(replicas: usize) -> CommitTracker<u32> {
    let names = (0..replicas).map(|i| NodeName::new(&format!("n{i}")));
    CommitTracker::new(OWN, NodeName::new("n0"), Quorum::new(names, replicas), 3)
}

fn n(index: usize) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

#[test]
fn releases_waiters_in_order_of_seq_when_a_quorum_has_them() {
    let mut t = tracker(3);
    t.trust(&n(1), Incarnation(2));

    for (seq, token) in [(9, 90), (4, 40), (5, 50)] {
        assert_eq!(t.wait(seq, SECOND, token), Ok(None));
    }

    t.own_durable(9);
    assert!(t.advance().is_empty());
    assert!(t.peer_durable(&n(1), Incarnation(2), 5, 1));

    assert_eq!(t.advance(), [40, 50]);
    assert_eq!((t.committed(), t.waiting()), (5, 1));
    assert_eq!(t.wait(5, SECOND, 51), Ok(Some(51)), "already committed");

    assert!(t.peer_durable(&n(1), Incarnation(2), 9, 1));
    assert_eq!(t.advance(), [90]);
    assert!(
        t.expire(SECOND).is_empty(),
        "released waiters have no deadline"
    );
}

#[test]
fn peers_alone_make_a_quorum() {
    let mut t = tracker(3);
    t.given_out(7);

    for peer in [1, 2] {
        t.trust(&n(peer), Incarnation(10 + peer as u64));
        t.peer_durable(&n(peer), Incarnation(10 + peer as u64), 7, 1);
    }

    t.advance();
    assert_eq!(
        t.committed(),
        7,
        "two of three have it although this disk is slower"
    );
}

#[test]
fn a_group_of_one_commits_with_its_own_disk() {
    let mut t = tracker(1);
    assert_eq!(t.wait(1, SECOND, 1), Ok(None));
    t.own_durable(1);
    assert_eq!(t.advance(), [1]);
}

#[test]
fn does_not_trust_acknowledgements_of_another_incarnation() {
    let mut t = tracker(3);
    t.own_durable(10);
    assert!(
        !t.peer_durable(&n(1), Incarnation(2), 10, 1),
        "no handshake yet"
    );

    t.trust(&n(1), Incarnation(2));
    assert!(
        !t.peer_durable(&n(1), Incarnation(3), 10, 1),
        "not the one that is connected"
    );
    assert!(t.peer_durable(&n(1), Incarnation(2), 3, 1));

    t.advance();
    assert_eq!(t.committed(), 3);
    t.trust(&n(1), Incarnation(3));

    assert!(
        !t.peer_durable(&n(1), Incarnation(2), 10, 1),
        "the wiped disk's late ack"
    );

    t.advance();
    assert_eq!(t.committed(), 3, "what was committed stays, nothing new is");
    assert!(t.peer_durable(&n(1), Incarnation(3), 10, 1));

    t.advance();
    assert_eq!(t.committed(), 10);
}

#[test]
fn strangers_do_not_count() {
    let mut t = tracker(3);
    t.own_durable(5);
    t.trust(&NodeName::new("x"), Incarnation(9));
    t.peer_durable(&NodeName::new("x"), Incarnation(9), 5, 1);
    assert!(t.advance().is_empty());
    assert_eq!(t.committed(), 0);
}

#[test]
fn expires_by_deadline_and_bounds_the_waiters() {
    let mut t = tracker(3);
    assert_eq!(t.wait(1, 3 * SECOND, 1), Ok(None));
    assert_eq!(t.wait(2, SECOND, 2), Ok(None));
    assert_eq!(t.wait(3, 2 * SECOND, 3), Ok(None));
    assert_eq!(
        t.wait(4, SECOND, 4),
        Err(TooManyWaiters { max: 3, token: 4 })
    );
    assert_eq!(t.next_deadline(), Some(SECOND));
    assert_eq!(t.expire(2 * SECOND), [2, 3]);
    assert_eq!((t.waiting(), t.next_deadline()), (1, Some(3 * SECOND)));
    assert_eq!(t.wait(4, SECOND, 4), Ok(None), "room again");
}

#[test]
fn what_is_not_committed_needs_the_quorum_of_the_present_ring() {
    let mut t = tracker(3);
    for peer in 1..=3 {
        t.trust(&n(peer), Incarnation(10 + peer as u64));
    }

    let has = |t: &mut CommitTracker<u32>, peer: usize, seq| {
        assert!(t.peer_durable(&n(peer), Incarnation(10 + peer as u64), seq, 1));
    };

    assert_eq!(t.wait(5, SECOND, 50), Ok(None));
    t.own_durable(5);
    has(&mut t, 3, 5);

    assert!(t.advance().is_empty(), "n3 is joining and does not count");
    // n3 becomes active. Two of the first three may be those whom the next ring does not count any more.
    t.set_quorum(2, Quorum::new((0..4).map(n), 3));
    assert_eq!(t.wait(7, SECOND, 70), Ok(None));
    t.own_durable(7);

    assert!(
        t.advance().is_empty(),
        "three of four are needed, n0 and n3 have it"
    );

    has(&mut t, 1, 5);
    assert_eq!(t.advance(), [50]);
    has(&mut t, 1, 7);

    assert!(t.advance().is_empty());
    has(&mut t, 3, 7);
    assert_eq!(t.advance(), [70]);
}

#[test]
fn what_is_told_under_a_later_ring_counts_when_this_node_goes_by_it() {
    let mut t = tracker(3);
    t.trust(&n(2), Incarnation(12));
    t.trust(&n(3), Incarnation(13));
    assert_eq!(t.wait(5, SECOND, 50), Ok(None));
    t.own_durable(5);

    // n3 came, n0 itself is to go: n1 to n3 count, and n2 has told so already.
    assert!(t.peer_durable(&n(2), Incarnation(12), 5, 3));
    assert!(
        t.advance().is_empty(),
        "under the old ring it would be committed by n0 and n2"
    );

    t.set_quorum(2, Quorum::new((0..4).map(n), 3));
    assert!(t.advance().is_empty());
    t.set_quorum(3, Quorum::new((1..4).map(n), 3));

    assert!(t.advance().is_empty(), "n2 alone of those who count");
    assert!(t.peer_durable(&n(3), Incarnation(13), 5, 3));
    assert_eq!(t.advance(), [50]);
}

#[test]
fn a_position_above_what_was_given_out_is_of_another_history() {
    let mut t = tracker(3);
    t.own_durable(2);

    for peer in [1, 2] {
        t.trust(&n(peer), Incarnation(10 + peer as u64));
        assert!(!t.peer_durable(&n(peer), Incarnation(10 + peer as u64), 1_000, 1));
    }

    assert_eq!(t.wait(3, SECOND, 30), Ok(None));
    t.own_durable(3);
    assert!(
        t.advance().is_empty(),
        "nobody has it, whatever was said of a stream of this name"
    );

    assert_eq!(t.committed(), 0);
}

#[test]
fn commits_nothing_while_it_knows_that_its_ring_is_old() {
    let mut t = tracker(1);
    t.suspend(true);
    assert_eq!(t.wait(1, SECOND, 10), Ok(None));
    t.own_durable(1);
    assert!(t.advance().is_empty());
    t.suspend(false);
    assert_eq!(t.advance(), [10]);
}

#[test]
fn a_later_quorum_answers_for_entries_whose_own_cannot_be_reached_any_more() {
    let mut t = tracker(3);
    for peer in 3..=4 {
        t.trust(&n(peer), Incarnation(10 + peer as u64));
    }

    assert_eq!(t.wait(5, SECOND, 50), Ok(None));
    t.own_durable(5);

    // n1 and n2 are lost; an operator has forced n3 and n4 in.
    t.set_quorum(2, Quorum::new([n(0), n(3), n(4)], 3));
    assert_eq!(t.wait(6, SECOND, 60), Ok(None));
    t.own_durable(6);
    t.peer_durable(&n(3), Incarnation(13), 6, 1);
    assert_eq!(t.advance(), [50, 60]);
}
