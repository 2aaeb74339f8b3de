use super::*;

const WINDOW: i64 = 100;
const KEEP: Keep = Keep {
    window_ms: WINDOW,
    from_ms: 0,
    bytes_max: 0,
};

/// A block of window `window` with content `content`.
fn block(window: i64, content: u128) -> Listed {
    let end_ms = (window + 1) * WINDOW;
    let ulid = Ulid::from_parts(end_ms as u64, content);
    Listed {
        tenant: Tenant::default(),
        ulid,
        start_ms: window * WINDOW,
        end_ms,
        bytes: 10,
    }
}

fn own(blocks: &[Listed], cut: Option<i64>) -> Own {
    Own {
        blocks: blocks.to_vec(),
        cut,
        ..Own::default()
    }
}

fn peers(lists: &[&[Listed]]) -> Vec<(NodeName, Vec<Listed>)> {
    lists
        .iter()
        .enumerate()
        .map(|(i, list): (usize, &&[Listed])| {
            (NodeName::new(&format!("n{}", i + 1)), list.to_vec())
        })
        .collect()
}

/// Names, how they are missing, and how many have them.
fn found(own: &Own, lists: &[&[Listed]], keep: Keep) -> Vec<(Ulid, Lack, usize)> {
    wanted(own, &peers(lists), keep)
        .into_iter()
        .map(|w| (w.ulid, w.lack, w.peers.len()))
        .collect()
}

#[test]
fn equal_replicas_want_nothing() {
    let all = [block(1, 1), block(2, 2)];
    assert_eq!(found(&own(&all, Some(2)), &[&all, &all], KEEP), []);
    assert_eq!(
        found(&own(&all, Some(2)), &[&all[..1], &[]], KEEP),
        [],
        "a peer that has less is its own matter"
    );
}

#[test]
fn what_a_peer_has_is_wanted_the_newest_first_and_from_all_who_have_it() {
    let a = block(1, 1);
    let b = block(2, 2);
    let c = block(3, 3);
    let list = [a.clone(), b.clone(), c.clone()];
    let want = [(c.ulid, Lack::Missing, 2), (a.ulid, Lack::Missing, 1)];
    assert_eq!(found(&own(&[b], Some(3)), &[&list, &[c]], KEEP), want);
}

#[test]
fn other_content_of_a_window_is_wanted_beside_the_own() {
    let ours = block(1, 1);
    let theirs = block(1, 9);
    let want = [(theirs.ulid, Lack::Differs, 1)];

    assert_eq!(
        found(
            &own(std::slice::from_ref(&ours), Some(1)),
            &[std::slice::from_ref(&theirs)],
            KEEP
        ),
        want
    );

    // With both on each side there is nothing left to do.
    let both = [ours, theirs];
    assert_eq!(found(&own(&both, Some(1)), &[&both], KEEP), []);
}

#[test]
fn a_window_of_another_tenant_is_another_window() {
    let ours = block(1, 1);
    let other = Listed {
        tenant: Tenant::new("other").expect("valid"),
        ..block(1, 1)
    };

    assert_eq!(
        found(&own(&[ours], Some(1)), &[&[other]], KEEP),
        [(block(1, 1).ulid, Lack::Missing, 1)]
    );
}

#[test]
fn windows_that_are_not_cut_here_are_not_missing() {
    let list = [block(1, 1), block(2, 2)];
    assert_eq!(
        found(&own(&[], Some(1)), &[&list], KEEP),
        [(list[0].ulid, Lack::Missing, 1)]
    );
    assert_eq!(found(&own(&[], None), &[&list], KEEP), []);
}

#[test]
fn what_retention_would_drop_is_not_fetched() {
    let old = block(1, 1);
    let new = block(5, 5);
    let by_time = Keep {
        from_ms: old.end_ms,
        ..KEEP
    };

    assert_eq!(found(&own(&[new], Some(5)), &[&[old]], by_time), []);

    let here = [block(3, 3), block(4, 4)];
    let list = [block(2, 2), block(5, 5)];
    let full = Keep {
        bytes_max: 25,
        ..KEEP
    };

    assert_eq!(
        found(&own(&here, Some(5)), &[&list], full),
        [(list[1].ulid, Lack::Missing, 1)]
    );

    let room = Keep {
        bytes_max: 30,
        ..KEEP
    };

    assert_eq!(found(&own(&here, Some(5)), &[&list], room).len(), 2);
}

#[test]
fn damaged_and_lost_blocks_are_wanted_even_if_no_peer_has_them() {
    let bad = block(2, 2);
    let gone = block(3, 3);
    let old = block(0, 7);
    let mut own = own(std::slice::from_ref(&bad), Some(3));

    own.damaged = [bad.key()].into();
    own.lost = vec![gone.key(), old.key()];
    let keep = Keep {
        from_ms: old.end_ms,
        ..KEEP
    };
    let want = [(gone.ulid, Lack::Missing, 0), (bad.ulid, Lack::Damaged, 0)];

    assert_eq!(found(&own, &[&[]], keep), want);
    let want = [(gone.ulid, Lack::Missing, 1), (bad.ulid, Lack::Damaged, 1)];
    assert_eq!(found(&own, &[&[bad.clone(), gone]], keep), want);

    // What is damaged is still here, and cannot be shipped as it is.
    let keep = Keep {
        from_ms: bad.end_ms,
        ..KEEP
    };

    own.lost.clear();
    assert_eq!(found(&own, &[&[bad]], keep), [want[1]]);
}
