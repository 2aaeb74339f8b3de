use proptest::prelude::*;

use super::*;

fn names(count: usize) -> Vec<NodeName> {
    (0..count)
        .map(|i| NodeName::new(&format!("n{i}")))
        .collect()
}

/// Columns: replication factor, active voters, needed.
#[test]
fn needs_a_majority_of_the_factor_and_of_the_voters() {
    let table = "
        1 1 1
        2 2 2
        3 3 2
        3 2 2
        3 1 2
        3 4 3
        3 5 3
        5 5 3
        5 4 3
        7 7 4
    ";
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let n: Vec<usize> = line
            .split(' ')
            .map(|x| x.parse().expect("a number"))
            .collect();
        assert_eq!(Quorum::new(names(n[1]), n[0]).needed(), n[2], "{line}");
    }
}

/// Columns: voters, replication factor, positions as `node:position`, committed.
#[test]
fn commits_what_a_quorum_has() {
    let table = "
        3 3 -                    0
        3 3 n0:9                 0
        3 3 n0:9,n1:7            7
        3 3 n0:9,n1:7,n2:8       8
        3 3 n0:0,n1:7,n2:8       7
        3 3 n0:5,n1:5,n2:5       5
        3 3 n0:9,x:9             0
        3 3 n0:9,x:9,n2:3        3
        1 1 n0:4                 4
        2 2 n0:4,n1:3            3
        4 3 n0:9,n1:8,n2:7,n3:6  7
        5 5 n0:1,n1:2,n2:3,n3:4,n4:5 3
        1 3 n0:9                 0
    ";
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let quorum = Quorum::new(
            names(columns[0].parse().expect("voters")),
            columns[1].parse().expect("factor"),
        );
        let positions = columns[2].split(',').filter(|p| *p != "-").map(|entry| {
            let (node, position) = entry.split_once(':').expect("node:position");
            (NodeName::new(node), position.parse().expect("position"))
        });

        assert_eq!(
            quorum.committed(positions),
            columns[3].parse::<u64>().expect("committed"),
            "{line}"
        );
    }
}

#[test]
fn counts_a_node_once() {
    let quorum = Quorum::new(names(3), 3);
    let n = names(3);
    assert!(!quorum.is_met_by([&n[0], &n[0]]));
    assert!(!quorum.is_met_by([&n[0], &NodeName::new("stranger")]));
    assert!(quorum.is_met_by([&n[0], &n[2]]));
}

proptest! {
    #[test]
    fn any_two_quorums_share_a_voter(factor in 1usize..8, voters in 1usize..12) {
        let quorum = Quorum::new(names(voters), factor);
        prop_assert!(2 * quorum.needed() > voters);
    }

    #[test]
    fn committed_is_on_a_quorum_and_the_next_entry_is_not(
        positions in proptest::collection::vec(0u64..20, 1..7), factor in 1usize..8
    ) {
        let quorum = Quorum::new(names(positions.len()), factor);
        let committed = quorum.committed(names(positions.len()).into_iter().zip(positions.iter().copied()));
        let having = |seq: u64| positions.iter().filter(|p| **p >= seq).count();
        prop_assert!(committed == 0 || having(committed) >= quorum.needed());
        prop_assert!(having(committed + 1) < quorum.needed());
    }
}
