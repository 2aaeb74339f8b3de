use super::*;
use crate::table::groups;

#[test]
fn says_what_is_wrong_with_a_ring() {
    let table = [
        (3, "g: n0 n1 n2", "ok"),
        (3, "g: n0@a n1@b n2@c", "ok"),
        (3, "g: n0@a n1@b n2", "ok"),
        (3, "g: n0 n1", "ok"),
        (1, "g: n0", "ok"),
        (3, "g: n0 n1 n2 n3*joining", "ok"),
        (3, "g: n0@a n1@b n2@c n3@c*joining", "ok"),
        (0, "g: n0", "replication factor 0 is not between 1 and 7"),
        (8, "g: n0", "replication factor 8 is not between 1 and 7"),
        (3, "", "the ring has no group"),
        (3, ": n0 n1", "a group or node without a name"),
        (3, "g: n0 n1\ng: n2 n3", "group g is listed twice"),
        (3, "g: n0 n1\nh: n1 n2", "node n1 is listed twice"),
        (3, "g: n0@a n1@b n2@a", "ok"),
        (3, "g: n0", "group g has 1 active members, a write needs 2"),
        (
            3,
            "g: n0 n1*joining n2*left",
            "group g has 1 active members, a write needs 2",
        ),
        (3, "g: n0 n1 n2\nh*forming: m0*joining", "ok"),
        (3, "g*leaving: n0 n1 n2\nh: m0 m1 m2", "ok"),
        (
            3,
            "g*leaving: n0\nh: m0 m1 m2",
            "group g has 1 active members, a write needs 2",
        ),
        (3, "g*gone: n0*left\nh: m0 m1 m2", "ok"),
        (
            3,
            "g*leaving: n0 n1 n2",
            "no group of the ring takes series",
        ),
        (
            3,
            "g=0: n0 n1 n2",
            "group g has weight 0, which is not between 1 and 64",
        ),
    ];

    for (factor, text, want) in table {
        let got =
            Ring::new(1, factor, groups(text)).map_or_else(|e| e.to_string(), |_| "ok".to_owned());
        assert_eq!(got, want, "{text}");
    }

    let warned = Ring::new(1, 3, groups("g: n0@a n1@b n2@a n3@b*draining"))
        .expect("valid")
        .warnings();

    assert_eq!(warned, ["group g: n0 and n2 are both in zone a"]);
    let mut two = groups("g: n0 n1 n2");
    two[0].members[2].address = "n0:1".into();

    let got = Ring::new(1, 3, two).map_err(|e| e.to_string());
    assert_eq!(got, Err("address n0:1 belongs to n0 and n2".into()));
}

#[test]
fn a_member_that_left_is_in_no_group_and_nobodys_peer() {
    let ring = Ring::new(1, 3, groups("g: n0 n1 n2*left\nh: m0 m1 m2*draining")).expect("valid");
    assert!(ring.group_of(&NodeName::new("n2")).is_none());
    let names = |node: &str| {
        let node = NodeName::new(node);
        let group = ring.group_of(&node).expect("a member");
        group
            .peers_of(&node)
            .map(|m| m.node.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };

    assert_eq!(names("n0"), "n1");
    assert_eq!(names("m0"), "m1 m2");
}

#[test]
fn the_fingerprint_follows_what_must_be_agreed_on() {
    let of = |epoch, factor, text| {
        Ring::new(epoch, factor, groups(text))
            .expect("valid")
            .fingerprint()
    };

    let base = of(1, 3, "g: n0 n1 n2");
    assert_eq!(base, of(1, 3, "g: n2 n0 n1"), "order does not matter");
    assert_eq!(base, of(1, 3, "g: n0@a n1 n2"), "zones do not matter");

    for (epoch, factor, text) in [
        (2, 3, "g: n0 n1 n2"),
        (1, 2, "g: n0 n1 n2"),
        (1, 3, "h: n0 n1 n2"),
        (1, 3, "g: n0 n1 n2 n3"),
        (1, 3, "g: n0 n1 n2*draining"),
        (1, 3, "g=2: n0 n1 n2"),
    ] {
        assert_ne!(base, of(epoch, factor, text), "{epoch} {factor} {text}");
    }
}

#[test]
fn reads_back_the_json_of_the_admin_api() {
    let ring = Ring::new(7, 3, groups("g: n0@a n1 n2*joining")).expect("valid");
    let json = serde_json::to_value(&ring).expect("serializes");
    assert_eq!(
        json,
        serde_json::json!({"epoch": 7, "replication_factor": 3, "groups": [{"name": "g", "members": [
            {"node": "n0", "address": "n0:1", "zone": "a", "state": "active"},
            {"node": "n1", "address": "n1:1", "state": "active"},
            {"node": "n2", "address": "n2:1", "state": "joining"},
        ]}]})
    );

    assert_eq!(
        serde_json::from_value::<Ring>(json).expect("deserializes"),
        ring
    );
}
