use trireme_wire::rebuild::SnapshotFile;

use super::*;

fn name(index: u64) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn limits() -> RebuildLimits {
    RebuildLimits {
        piece_bytes: 100,
        ..RebuildLimits::default()
    }
}

/// A peer: number, `r`ebuilding, `h`istory, `l`acks what no log gives, records behind.
fn source(index: u64, flags: &str, records_behind: u64) -> Source {
    Source {
        node: name(index),
        is_rebuilding: flags.contains('r'),
        has_history: flags.contains('h'),
        records_behind,
        has_stranded: !flags.contains('l'),
    }
}

fn look(at_s: u64, sources: &[Source]) -> Look {
    Look {
        now: seconds(at_s),
        sources: sources.to_vec(),
        quorum_connected: !sources.is_empty(),
        ..Look::default()
    }
}

fn manifest(snapshot: u64, files: &[(&str, u64)]) -> Manifest {
    let files = files.iter().map(|(path, bytes)| SnapshotFile {
        path: (*path).to_owned(),
        bytes: *bytes,
    });
    Manifest {
        snapshot,
        files: files.collect(),
        ..Manifest::default()
    }
}

fn nothing(_: &str, _: u64) -> Have {
    Have::Part(0)
}

fn both() -> Vec<Source> {
    vec![source(1, "h", 0), source(2, "h", 0)]
}

/// A machine that copies `files` from n1.
fn copying(files: &[(&str, u64)]) -> Rebuild {
    let mut rebuild = Rebuild::needed(limits(), RebuildReason::NewDisk);
    assert_eq!(rebuild.next(&look(0, &both())), Action::Begin(name(1)));
    rebuild.began(manifest(7, files), nothing);
    rebuild
}

/// Does what the machine says until it does not fetch or check any more; answers (file, offset) of each fetch.
fn run(rebuild: &mut Rebuild, look: &Look) -> (Vec<(usize, u64)>, Action) {
    let mut fetches = Vec::new();
    loop {
        match rebuild.next(look) {
            Action::Fetch {
                file,
                offset,
                bytes_max,
                ..
            } => {
                fetches.push((file, offset));
                rebuild.fetched(file, u64::from(bytes_max));
            }
            Action::Check { file, .. } => rebuild.checked(file, true, look.now),
            other => return (fetches, other),
        }
    }
}

#[test]
fn a_new_disk_is_complete_when_a_quorum_has_only_what_logs_can_give() {
    let mut rebuild = Rebuild::undecided(limits());
    assert!(!rebuild.is_complete());
    assert_eq!(
        rebuild.next(&look(0, &[])),
        Action::Wait,
        "nobody is there to ask"
    );

    assert_eq!(
        rebuild.next(&look(1, &[source(1, "r", 0)])),
        Action::Complete,
        "all are new"
    );

    assert!(rebuild.is_complete());
}

#[test]
fn a_new_disk_in_a_group_that_is_forming_waits_for_no_quorum() {
    let mut rebuild = Rebuild::undecided(limits());
    let mut forming = Look {
        quorum_connected: false,
        ..look(0, &[source(1, "r", 0)])
    };

    assert_eq!(
        rebuild.next(&forming),
        Action::Wait,
        "somebody has told nothing yet"
    );

    forming.is_new_group = true;
    assert_eq!(rebuild.next(&forming), Action::Complete);
}

#[test]
fn a_new_disk_beside_old_ones_is_rebuilt() {
    let mut rebuild = Rebuild::undecided(limits());
    assert_eq!(
        rebuild.next(&look(0, &both())),
        Action::Need(RebuildReason::NewDisk)
    );
    assert!(!rebuild.is_complete());
    assert_eq!(rebuild.next(&look(0, &both())), Action::Begin(name(1)));
}

#[test]
fn copies_from_the_most_complete_peer_that_is_whole_itself() {
    let table = [
        (vec![source(1, "h", 5), source(2, "h", 0)], Some(2)),
        (vec![source(1, "h", 5), source(2, "rh", 0)], Some(1)),
        (vec![source(1, "h", 0), source(2, "h", 0)], Some(1)),
        (vec![source(1, "r", 0), source(2, "r", 0)], None),
        (vec![], None),
    ];
    for (sources, want) in table {
        let mut rebuild = Rebuild::needed(limits(), RebuildReason::NewDisk);
        let want = want.map_or(Action::Wait, |index| Action::Begin(name(index)));
        assert_eq!(rebuild.next(&look(0, &sources)), want, "{sources:?}");
    }
}

#[test]
fn fetches_in_pieces_checks_each_file_and_installs_at_the_end() {
    let mut rebuild = copying(&[
        ("head/cut", 30),
        ("head/000/checkpoint", 250),
        ("blocks/t/b/tombstones", 0),
    ]);

    let (fetches, end) = run(&mut rebuild, &look(1, &both()));
    assert_eq!(fetches, [(0, 0), (1, 0), (1, 100), (1, 200)]);
    assert_eq!(end, Action::Install);

    assert!(
        !rebuild.is_complete(),
        "only the start that installed it is"
    );
}

#[test]
fn a_file_that_differs_is_fetched_again_and_a_bad_source_is_left() {
    let mut rebuild = copying(&[("head/cut", 100)]);

    let now = look(1, &both());
    for round in 0..limits().faults_max {
        let fetch = rebuild.next(&now);
        assert!(
            matches!(
                fetch,
                Action::Fetch {
                    file: 0,
                    offset: 0,
                    ..
                }
            ),
            "round {round}: {fetch:?}"
        );

        // The fetch itself succeeds, but what came is not what the source has.
        if let State::Copying { files, .. } = &mut rebuild.state {
            files.fetched(0, 100);
        }

        assert!(matches!(rebuild.next(&now), Action::Check { file: 0, .. }));
        rebuild.checked(0, false, now.now);
    }

    assert_eq!(rebuild.next(&now), Action::Begin(name(2)));
}

#[test]
fn goes_on_where_a_crash_left_it() {
    let files = [
        ("head/cut", 30),
        ("head/000/checkpoint", 250),
        ("blocks/t/b/index", 90),
    ];

    let mut rebuild = Rebuild::resumed(
        limits(),
        RebuildReason::NewDisk,
        name(2),
        manifest(7, &files),
        |path: &str, _: u64| match path {
            "head/cut" => Have::Whole,
            "head/000/checkpoint" => Have::Part(200),
            _ => Have::Part(1_000),
        },
    );

    assert_eq!(
        rebuild.progress(),
        Progress {
            source: Some(name(2)),
            bytes: 230,
            bytes_total: 370
        }
    );

    let (fetches, end) = run(&mut rebuild, &look(0, &both()));
    assert_eq!(
        fetches,
        [(1, 200), (2, 0)],
        "what is longer than the file starts over"
    );

    assert_eq!(end, Action::Install);
}

#[test]
fn a_snapshot_that_is_gone_is_asked_for_again_at_the_same_source() {
    let mut rebuild = copying(&[("head/cut", 30), ("blocks/t/b/index", 90)]);
    rebuild.failed(SourceFault::SnapshotGone, seconds(1));
    assert_eq!(rebuild.next(&look(1, &both())), Action::Begin(name(1)));
    rebuild.began(
        manifest(8, &[("head/cut", 30), ("blocks/t/b/index", 90)]),
        |path, _| {
            if path.starts_with("blocks/") {
                Have::Whole
            } else {
                Have::Part(0)
            }
        },
    );

    assert_eq!(
        run(&mut rebuild, &look(1, &both())).0,
        [(0, 0)],
        "blocks are what they were"
    );
}

#[test]
fn another_peer_takes_over_from_one_that_stays_away() {
    let mut rebuild = copying(&[("head/cut", 30)]);
    let without = [source(2, "h", 3)];
    assert_eq!(rebuild.next(&look(1, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(5, &without)), Action::Wait);

    assert!(
        matches!(rebuild.next(&look(6, &both())), Action::Fetch { .. }),
        "it came back"
    );

    assert_eq!(rebuild.next(&look(7, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(17, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(17, &without)), Action::Begin(name(2)));
}

#[test]
fn a_source_that_makes_no_snapshot_is_left_for_a_while() {
    let mut rebuild = Rebuild::needed(limits(), RebuildReason::NewDisk);
    assert_eq!(rebuild.next(&look(0, &both())), Action::Begin(name(1)));
    rebuild.failed(SourceFault::NoAnswer, seconds(0));
    assert_eq!(rebuild.next(&look(1, &both())), Action::Begin(name(2)));
    rebuild.failed(SourceFault::Unfit, seconds(1));
    assert_eq!(rebuild.next(&look(2, &both())), Action::Wait);
    assert_eq!(rebuild.next(&look(10, &both())), Action::Begin(name(1)));
}

#[test]
fn a_snapshot_that_cannot_be_installed_is_asked_for_ever_more_rarely() {
    let mut rebuild = copying(&[("head/cut", 0)]);
    let one = [source(1, "h", 0)];

    let mut asked = Vec::new();
    for at_s in 0..2_000 {
        let now = look(at_s, &one);
        match rebuild.next(&now) {
            Action::Begin(_) => {
                asked.push(at_s);
                rebuild.began(manifest(7, &[("head/cut", 0)]), nothing);
            }
            Action::Install => rebuild.not_installed(now.now),
            _ => {
                let (_, end) = run(&mut rebuild, &now);
                if end == Action::Install {
                    rebuild.not_installed(now.now);
                }
            }
        }
    }

    assert!(asked.len() <= 9, "{asked:?}");
    assert!(
        asked.windows(2).all(|pair| pair[1] - pair[0] <= 620),
        "but it goes on: {asked:?}"
    );
}

/// A machine that was left behind, with sources to copy from or not.
fn left_behind() -> Rebuild {
    Rebuild::needed(limits(), RebuildReason::LeftBehind)
}

#[test]
fn a_replica_that_is_served_again_is_not_rebuilt() {
    let served = |at_s, sources: &[Source]| Look {
        is_served: true,
        ..look(at_s, sources)
    };
    let mut waiting = left_behind();
    let none = [source(1, "r", 0)];

    assert_eq!(waiting.next(&served(0, &none)), Action::Wait);
    assert_eq!(waiting.next(&look(3, &none)), Action::Wait, "it stopped");
    assert_eq!(waiting.next(&served(4, &none)), Action::Wait);
    assert_eq!(
        waiting.next(&served(9, &none)),
        Action::Revoke(Revoked::Served)
    );

    assert!(waiting.is_complete() && waiting.reason().is_none());

    let mut copies = left_behind();
    assert_eq!(copies.next(&served(0, &both())), Action::Begin(name(1)));
    copies.began(manifest(7, &[("head/cut", 30)]), nothing);
    assert_eq!(
        copies.next(&served(5, &both())),
        Action::Revoke(Revoked::Served),
        "also in the middle"
    );

    for reason in [RebuildReason::NewDisk, RebuildReason::Damaged] {
        let mut lacks = Rebuild::needed(limits(), reason);
        assert_eq!(lacks.next(&served(0, &none)), Action::Wait);
        assert_eq!(
            lacks.next(&served(100, &none)),
            Action::Wait,
            "logs cannot give what a disk lost"
        );
    }
}

#[test]
fn a_group_in_which_all_wait_for_all_goes_on_with_the_longest() {
    let all_wait = [source(1, "rh", 5), source(2, "rh", 5)];
    let furthest = |at_s| Look {
        is_furthest: true,
        ..look(at_s, &all_wait)
    };
    let mut rebuild = left_behind();

    assert_eq!(rebuild.next(&furthest(0)), Action::Wait);
    assert_eq!(rebuild.next(&furthest(29)), Action::Wait);
    assert_eq!(
        rebuild.next(&furthest(30)),
        Action::Revoke(Revoked::LastResort)
    );

    let mut shorter = left_behind();
    assert_eq!(shorter.next(&look(0, &all_wait)), Action::Wait);
    assert_eq!(shorter.next(&look(100, &all_wait)), Action::Wait);

    let one_is_whole = [source(1, "h", 0), source(2, "rh", 5)];
    assert_eq!(
        shorter.next(&look(101, &one_is_whole)),
        Action::Begin(name(1)),
        "it copies from that one"
    );
}

#[test]
fn an_operator_may_cancel_what_only_trimmed_logs_made_necessary() {
    let mut rebuild = left_behind();
    assert_eq!(rebuild.cancel(), Ok(()));
    assert!(rebuild.is_complete());

    assert_eq!(rebuild.cancel(), Err(CancelError::NotNeeded));
    let mut new = Rebuild::needed(limits(), RebuildReason::NewDisk);
    assert_eq!(
        new.cancel(),
        Err(CancelError::Lacks(RebuildReason::NewDisk))
    );

    assert!(!new.is_complete());
}

#[test]
fn a_complete_replica_is_rebuilt_when_it_stays_stranded() {
    let mut rebuild = Rebuild::complete(limits());
    let stranded = |at_s| Look {
        is_stranded: true,
        ..look(at_s, &both())
    };

    assert_eq!(rebuild.next(&stranded(0)), Action::Wait);
    assert_eq!(
        rebuild.next(&look(3, &both())),
        Action::Wait,
        "somebody serves it again"
    );

    assert_eq!(rebuild.next(&stranded(4)), Action::Wait);
    assert_eq!(rebuild.next(&stranded(8)), Action::Wait);
    assert_eq!(
        rebuild.next(&stranded(9)),
        Action::Need(RebuildReason::LeftBehind)
    );

    assert!(!rebuild.is_complete());
    assert_eq!(rebuild.next(&stranded(9)), Action::Begin(name(1)));
}

#[test]
fn one_that_was_left_behind_copies_only_from_whom_has_what_it_lacks() {
    let level = source(1, "hl", 0);
    let holder = source(2, "h", 9);
    let mut behind = left_behind();

    assert_eq!(
        behind.next(&look(0, std::slice::from_ref(&level))),
        Action::Wait,
        "a copy would change nothing"
    );

    assert_eq!(
        behind.next(&look(1, &[level.clone(), holder])),
        Action::Begin(name(2))
    );

    for reason in [RebuildReason::NewDisk, RebuildReason::Damaged] {
        let mut lacks = Rebuild::needed(limits(), reason);
        assert_eq!(
            lacks.next(&look(0, std::slice::from_ref(&level))),
            Action::Begin(name(1)),
            "anybody has more"
        );
    }
}

#[test]
fn reasons_keep_their_names() {
    for reason in [
        RebuildReason::NewDisk,
        RebuildReason::LeftBehind,
        RebuildReason::Damaged,
    ] {
        assert_eq!(RebuildReason::from_text(reason.text()), Some(reason));
    }
}
