use super::*;

fn local(name: &str) -> LocalNode {
    let incarnation = Incarnation(name.bytes().map(u64::from).sum());
    LocalNode {
        cluster: "c".into(),
        identity: PeerIdentity {
            node: NodeName::new(name),
            incarnation,
            boot: Boot(3),
        },
        epoch: 1,
        ring_hash: 9,
        shards: 4,
        lineage: Lineage::from(1),
    }
}

fn anybody(_: &PeerIdentity, _: &Lineage) -> Result<(), Refusal> {
    Ok(())
}

type Outcome = Result<Met, TransportError>;

async fn shake(
    dialler: &LocalNode,
    expected: &str,
    listener: &LocalNode,
    admission: Admission<'_>,
) -> [Outcome; 2] {
    let (left, right) = tokio::io::duplex(10_000);
    let ((left_read, left_write), (right_read, right_write)) =
        (tokio::io::split(left), tokio::io::split(right));
    let dial = async {
        let mut reader = FrameReader::new(left_read);
        let mut writer = FrameWriter::new(left_write);
        let shaking = Shaking {
            local: dialler,
            reader: &mut reader,
            writer: &mut writer,
            admission: &anybody,
        };
        shaking.dial(&NodeName::new(expected)).await
    };

    let listen = async {
        let mut reader = FrameReader::new(right_read);
        let mut writer = FrameWriter::new(right_write);
        Shaking {
            local: listener,
            reader: &mut reader,
            writer: &mut writer,
            admission,
        }
        .listen()
        .await
    };

    let (dialled, listened) = futures::join!(dial, listen);
    [dialled, listened]
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let n0 = local("n0");
    let n1 = local("n1");
    let [dialled, listened] = shake(&n0, "n1", &n1, &anybody).await;
    assert_eq!(dialled.expect("welcome").peer, n1.identity);
    assert_eq!(listened.expect("welcome").peer, n0.identity);
}

#[tokio::test]
async fn both_sides_learn_why_it_was_refused() {
    let n0 = local("n0");
    let mut same_disk = local("n1");
    same_disk.identity.incarnation = n0.identity.incarnation;

    let cases = [
        (
            LocalNode {
                cluster: "d".into(),
                ..local("n1")
            },
            RefuseReason::Cluster,
            "n0 is of cluster 'c', n1 of 'd'",
        ),
        (
            local("n2"),
            RefuseReason::Node,
            "n0 looks for n1, this is n2",
        ),
        (
            LocalNode {
                shards: 8,
                ..local("n1")
            },
            RefuseReason::Shards,
            "n0 has 4 shards, n1 has 8",
        ),
        (
            LocalNode {
                ring_hash: 8,
                ..local("n1")
            },
            RefuseReason::Ring,
            "n0 and n1 have different rings for epoch 1",
        ),
        (
            same_disk,
            RefuseReason::DuplicateIncarnation,
            "n0 and n1 have the same incarnation 000000000000009e: one data directory is a copy of the other",
        ),
    ];

    for (listener, reason, detail) in cases {
        let want = Refusal::new(reason, detail.to_owned());
        let [dialled, listened] = shake(&n0, "n1", &listener, &anybody).await;
        assert!(
            matches!(dialled, Err(TransportError::RefusedByPeer(got)) if got == want),
            "{detail}"
        );
        assert!(
            matches!(listened, Err(TransportError::Refused { node, refusal }) if refusal == want && node == "n0"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn the_dialler_may_refuse_too() {
    // The listener would talk to anybody who looks for it; the dialler knows better.
    let [dialled, listened] = shake(&local("n0"), "n0", &local("n0"), &anybody).await;
    assert!(
        matches!(listened, Err(TransportError::Refused { .. })),
        "a node that reached itself"
    );
    assert!(matches!(dialled, Err(TransportError::RefusedByPeer(_))));
}

#[tokio::test]
async fn the_rest_of_the_node_has_a_say() {
    let no = |peer: &PeerIdentity, _: &Lineage| {
        let error = AdmitError::Stranger(peer.node.clone());
        Err(Refusal::from(error))
    };
    let [dialled, listened] = shake(&local("n0"), "n1", &local("n1"), &no).await;
    assert!(matches!(listened, Err(TransportError::Refused { .. })));
    let Err(TransportError::RefusedByPeer(refusal)) = dialled else {
        panic!("let in")
    };

    assert_eq!(
        (refusal.reason, refusal.to_string().as_str()),
        (RefuseReason::Node, "n0 is not a member of this group")
    );
}

#[test]
fn finds_the_newest_common_version() {
    let n0 = local("n0");
    let n1 = local("n1");
    let versions = |version_min, version| Hello {
        version,
        version_min,
        ..n1.hello(None)
    };

    assert_eq!(n0.judge(&versions(1, 5), None).map(|(_, v)| v), Ok(3));
    assert_eq!(n0.judge(&versions(1, 2), None).map(|(_, v)| v), Ok(2));
    assert_eq!(n0.judge(&versions(1, 1), None).map(|(_, v)| v), Ok(1));

    let refused = n0
        .judge(&versions(4, 5), None)
        .expect_err("no common version");

    assert_eq!(refused.reason, RefuseReason::Version);
    assert_eq!(
        refused.detail,
        "n1 speaks protocol versions 4-5, n0 speaks 1-3"
    );

    assert!(n0.judge(&versions(0, 0), None).is_err());
}

#[tokio::test]
async fn rings_of_different_epochs_talk_to_each_other() {
    let old = local("n0");
    let new = LocalNode {
        epoch: 2,
        ring_hash: 7,
        ..local("n1")
    };

    let [dialled, listened] = shake(&old, "n1", &new, &anybody).await;
    assert!(dialled.is_ok() && listened.is_ok());
}

#[test]
fn both_use_the_highest_version_that_both_speak() {
    let me = local("n0");
    let hello = |min, max| Hello {
        version_min: min,
        version: max,
        ..local("n1").hello(None)
    };

    let used = |min, max| {
        me.judge(&hello(min, max), None)
            .map(|(_, v)| v)
            .map_err(|r| r.reason)
    };

    assert_eq!(used(1, PROTOCOL_VERSION), Ok(PROTOCOL_VERSION));
    assert_eq!(
        used(1, PROTOCOL_VERSION + 5),
        Ok(PROTOCOL_VERSION),
        "a later release"
    );

    assert_eq!(used(1, 1), Ok(1), "an earlier release");
    assert_eq!(
        used(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 5),
        Err(RefuseReason::Version)
    );

    let of_another_epoch = Hello {
        epoch: 2,
        ..hello(1, 1)
    };

    assert_eq!(
        me.judge(&of_another_epoch, None).map_err(|r| r.reason),
        Err(RefuseReason::Epoch)
    );
}

#[tokio::test]
async fn a_refusal_from_somebody_who_has_not_said_who_it_is_is_no_refusal() {
    let n0 = local("n0");
    let (left, right) = tokio::io::duplex(10_000);
    let (right_read, right_write) = tokio::io::split(right);
    let mut reader = FrameReader::new(right_read);
    let mut writer = FrameWriter::new(right_write);
    let shaking = Shaking {
        local: &n0,
        reader: &mut reader,
        writer: &mut writer,
        admission: &anybody,
    };

    let mut stranger = FrameWriter::new(left);
    let reason = RefuseReason::DuplicateIncarnation as i32;
    stranger.queue(&Frame::Refuse(Refuse {
        reason,
        detail: "stop".to_owned(),
    }));
    stranger.flush().await.expect("written");

    assert!(matches!(
        shaking.listen().await,
        Err(TransportError::Handshake)
    ));
}

#[test]
fn names_and_words_of_strangers_are_bounded() {
    let long = LocalNode {
        cluster: "c".repeat(10_000),
        ..local("n1")
    };
    let refused_here = local("n0")
        .judge(&long.hello(None), None)
        .expect_err("too long");

    assert_eq!(
        refused_here.detail,
        "the name of a node or cluster has at most 256 bytes"
    );

    let refuse = Refuse {
        reason: 1,
        detail: "ü".repeat(5_000),
    };
    let TransportError::RefusedByPeer(refusal) = refused(refuse) else {
        panic!("a refusal")
    };

    assert_eq!(refusal.detail.len(), DETAIL_BYTES_MAX);
}
