use proptest::prelude::*;

use super::*;

fn stream(incarnation: u64, boot: u32) -> StreamId {
    StreamId {
        incarnation: Incarnation(incarnation),
        boot: Boot(boot),
    }
}

fn vectors() -> impl Strategy<Value = PositionVector> {
    proptest::collection::vec((0u64..4, 0u32..3, 0u64..9), 0..12).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(i, b, seq)| (stream(i, b), seq))
            .collect()
    })
}

#[test]
fn a_position_never_goes_back() {
    let mut vector = PositionVector::new();
    assert!(vector.advance(stream(1, 1), 5));
    assert!(!vector.advance(stream(1, 1), 4));
    assert!(!vector.advance(stream(2, 1), 0), "nothing is not an entry");
    assert_eq!((vector.get(stream(1, 1)), vector.len()), (5, 1));
}

#[test]
fn finds_the_latest_boot_of_an_incarnation() {
    let vector: PositionVector = [(stream(1, 1), 5), (stream(1, 7), 1), (stream(2, 9), 1)]
        .into_iter()
        .collect();
    assert_eq!(vector.latest_boot(Incarnation(1)), Some(Boot(7)));
    assert_eq!(vector.latest_boot(Incarnation(3)), None);
}

proptest! {
    #[test]
    fn merging_covers_both_in_either_order(a in vectors(), b in vectors()) {
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b);
        ba.merge(&a);
        prop_assert_eq!(&ab, &ba);
        prop_assert!(ab.covers(&a) && ab.covers(&b));
        prop_assert_eq!(a.covers(&b) && b.covers(&a), a == b);
    }

    #[test]
    fn parts_on_the_wire_make_the_whole(a in vectors(), part in 1usize..5) {
        let (mut got, mut after) = (PositionVector::new(), None);
        loop {
            let entries = a.part(after, part);
            let Some(last) = entries.last() else { break };
            after = Some(last.stream());
            got.merge(&PositionVector::from(&entries[..]));
        }
        prop_assert_eq!(got, a);
    }
}

#[test]
fn of_a_stream_that_has_ended_nothing_is_missing_and_nothing_is_kept() {
    let entries = [(stream(1, 1), 5), (stream(1, 2), 6), (stream(1, 3), 7)];
    let mut ended: PositionVector = entries.into_iter().collect();
    let whole = ended.clone();
    let before = [(Incarnation(1), Boot(3))].into_iter().collect::<Ended>();
    assert!(ended.end(&before) && !ended.end(&before));

    assert_eq!(
        (
            ended.len(),
            ended.get(stream(1, 2)),
            ended.get(stream(1, 3))
        ),
        (1, ALL, 7)
    );

    assert!(ended.covers(&whole) && whole.covers(&ended));
    assert!(!ended.advance(stream(1, 1), 9), "it is over");
    assert_eq!(ended.latest_boot(Incarnation(1)), Some(Boot(3)));

    let mut other = whole.clone();
    other.merge(&ended);
    assert_eq!(other, ended);
}
