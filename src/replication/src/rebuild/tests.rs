use trireme_wire::rebuild::SnapshotFile;

use super::*;

fn name(index: u64) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn limits() -> RebuildLimits {
    RebuildLimits { piece_bytes: 100, ..RebuildLimits::default() }
}

/// A peer: number, `r`ebuilding, `h`istory, records behind.
fn source(index: u64, flags: &str, records_behind: u64) -> Source {
    Source {
        node: name(index),
        is_rebuilding: flags.contains('r'),
        has_history: flags.contains('h'),
        records_behind,
    }
}

fn look(at_s: u64, sources: &[Source]) -> Look {
    Look {
        now: seconds(at_s),
        sources: sources.to_vec(),
        quorum_connected: !sources.is_empty(),
        is_stranded: false,
    }
}

fn manifest(snapshot: u64, files: &[(&str, u64)]) -> Manifest {
    let files = files.iter().map(|(path, bytes)| SnapshotFile { path: (*path).to_owned(), bytes: *bytes });
    Manifest { snapshot, files: files.collect(), ..Manifest::default() }
}

fn nothing(_: &str, _: u64) -> Have {
    Have::Part(0)
}

fn both() -> Vec<Source> {
    vec![source(1, "h", 0), source(2, "h", 0)]
}

/// A machine that copies `files` from n1.
fn copying(files: &[(&str, u64)]) -> Rebuild {
    let mut rebuild = Rebuild::needed(limits());
    assert_eq!(rebuild.next(&look(0, &both())), Action::Begin(name(1)));
    rebuild.began(manifest(7, files), nothing);
    rebuild
}

/// Does what the machine says until it does not fetch or check any more; answers (file, offset) of each fetch.
fn run(rebuild: &mut Rebuild, look: &Look) -> (Vec<(usize, u64)>, Action) {
    let mut fetches = Vec::new();
    loop {
        match rebuild.next(look) {
            Action::Fetch { file, offset, bytes_max, .. } => {
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
    assert!(!rebuild.is_complete() && rebuild.may_answer());
    assert_eq!(rebuild.next(&look(0, &[])), Action::Wait, "nobody is there to ask");
    assert_eq!(rebuild.next(&look(1, &[source(1, "r", 0)])), Action::Complete, "all are new");
    assert!(rebuild.is_complete());
}

#[test]
fn a_new_disk_beside_old_ones_is_rebuilt() {
    let mut rebuild = Rebuild::undecided(limits());
    assert_eq!(rebuild.next(&look(0, &both())), Action::Need(RebuildReason::NewDisk));
    assert!(!rebuild.may_answer());
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
        let mut rebuild = Rebuild::needed(limits());
        let want = want.map_or(Action::Wait, |index| Action::Begin(name(index)));
        assert_eq!(rebuild.next(&look(0, &sources)), want, "{sources:?}");
    }
}

#[test]
fn fetches_in_pieces_checks_each_file_and_installs_at_the_end() {
    let mut rebuild =
        copying(&[("head/cut", 30), ("head/000/checkpoint", 250), ("blocks/t/b/tombstones", 0)]);
    let (fetches, end) = run(&mut rebuild, &look(1, &both()));
    assert_eq!(fetches, [(0, 0), (1, 0), (1, 100), (1, 200)]);
    assert_eq!(end, Action::Install);
    assert!(!rebuild.is_complete(), "only the start that installed it is");
}

#[test]
fn a_file_that_differs_is_fetched_again_and_a_bad_source_is_left() {
    let mut rebuild = copying(&[("head/cut", 100)]);
    let now = look(1, &both());
    for round in 0..limits().faults_max {
        let fetch = rebuild.next(&now);
        assert!(matches!(fetch, Action::Fetch { file: 0, offset: 0, .. }), "round {round}: {fetch:?}");
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
    let files = [("head/cut", 30), ("head/000/checkpoint", 250), ("blocks/t/b/index", 90)];
    let have = |path: &str, _: u64| match path {
        "head/cut" => Have::Whole,
        "head/000/checkpoint" => Have::Part(200),
        _ => Have::Part(1_000),
    };
    let mut rebuild = Rebuild::resumed(limits(), name(2), manifest(7, &files), have);
    assert_eq!(rebuild.progress(), Progress { source: Some(name(2)), bytes: 230, bytes_total: 370 });
    let (fetches, end) = run(&mut rebuild, &look(0, &both()));
    assert_eq!(fetches, [(1, 200), (2, 0)], "what is longer than the file starts over");
    assert_eq!(end, Action::Install);
}

#[test]
fn a_snapshot_that_is_gone_is_asked_for_again_at_the_same_source() {
    let mut rebuild = copying(&[("head/cut", 30), ("blocks/t/b/index", 90)]);
    rebuild.failed(SourceFault::SnapshotGone, seconds(1));
    assert_eq!(rebuild.next(&look(1, &both())), Action::Begin(name(1)));
    rebuild.began(manifest(8, &[("head/cut", 30), ("blocks/t/b/index", 90)]), |path, _| {
        if path.starts_with("blocks/") { Have::Whole } else { Have::Part(0) }
    });
    assert_eq!(run(&mut rebuild, &look(1, &both())).0, [(0, 0)], "blocks are what they were");
}

#[test]
fn another_peer_takes_over_from_one_that_stays_away() {
    let mut rebuild = copying(&[("head/cut", 30)]);
    let without = [source(2, "h", 3)];
    assert_eq!(rebuild.next(&look(1, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(5, &without)), Action::Wait);
    assert!(matches!(rebuild.next(&look(6, &both())), Action::Fetch { .. }), "it came back");
    assert_eq!(rebuild.next(&look(7, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(17, &without)), Action::Wait);
    assert_eq!(rebuild.next(&look(17, &without)), Action::Begin(name(2)));
}

#[test]
fn a_source_that_makes_no_snapshot_is_left_for_a_while() {
    let mut rebuild = Rebuild::needed(limits());
    assert_eq!(rebuild.next(&look(0, &both())), Action::Begin(name(1)));
    rebuild.failed(SourceFault::NoAnswer, seconds(0));
    assert_eq!(rebuild.next(&look(1, &both())), Action::Begin(name(2)));
    rebuild.failed(SourceFault::Unfit, seconds(1));
    assert_eq!(rebuild.next(&look(2, &both())), Action::Wait);
    assert_eq!(rebuild.next(&look(10, &both())), Action::Begin(name(1)));
}

#[test]
fn a_complete_replica_is_rebuilt_when_it_stays_stranded() {
    let mut rebuild = Rebuild::complete(limits());
    let stranded = |at_s| Look { is_stranded: true, ..look(at_s, &both()) };
    assert_eq!(rebuild.next(&stranded(0)), Action::Wait);
    assert_eq!(rebuild.next(&look(3, &both())), Action::Wait, "somebody serves it again");
    assert_eq!(rebuild.next(&stranded(4)), Action::Wait);
    assert_eq!(rebuild.next(&stranded(8)), Action::Wait);
    assert_eq!(rebuild.next(&stranded(9)), Action::Need(RebuildReason::LeftBehind));
    assert!(!rebuild.is_complete());
    assert_eq!(rebuild.next(&stranded(9)), Action::Begin(name(1)));
}

#[test]
fn reasons_keep_their_names() {
    for reason in [RebuildReason::NewDisk, RebuildReason::LeftBehind, RebuildReason::Damaged] {
        assert_eq!(RebuildReason::from_text(reason.text()), Some(reason));
    }
}
