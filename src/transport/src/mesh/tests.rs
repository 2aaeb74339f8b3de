use std::time::Duration;

use futures::future::FutureExt;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use trireme_base::{Boot, Incarnation, SystemClock};
use trireme_replication::{GroupLimits, GroupView};
use trireme_ring::Quorum;
use trireme_telemetry::discard_logger;
use trireme_wire::frame::{Ack, Frame, Refuse, RefuseReason};

use super::*;

fn identity(index: u64, boot: u32) -> PeerIdentity {
    PeerIdentity {
        node: NodeName::new(&format!("n{index}")),
        incarnation: Incarnation(index + 1),
        boot: Boot(boot),
    }
}

fn local(index: u64) -> LocalNode {
    LocalNode {
        cluster: "c".into(),
        identity: identity(index, 1),
        epoch: 1,
        ring_hash: 9,
        shards: 4,
        lineage: Lineage::from(100 + index),
    }
}

/// A mesh of a group of two whose other member listens at `address`.
fn mesh(local: LocalNode, peer: u64, address: String) -> Mesh {
    let names = [local.identity.node.clone(), identity(peer, 1).node];
    let quorum = Quorum::new(names.clone(), 2);
    let group = GroupView::new(
        local.identity.clone(),
        quorum,
        names,
        GroupLimits::default(),
        Duration::ZERO,
    );

    let mut config = MeshConfig::new(vec![PeerAddress {
        node: identity(peer, 1).node,
        role: PeerRole::Replica,
        address,
    }]);

    config.backoff_max = config.backoff_min;
    (config.ask_min, config.ask_max) = (config.backoff_min, config.backoff_min);
    let groups = vec![Arc::new(Mutex::new(group))];

    Mesh::new(
        local,
        config,
        groups,
        Arc::new(SystemClock::new()),
        discard_logger(),
    )
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// Runs two meshes while `test` does.
async fn with_both<T>(
    zero: &Mesh,
    one: &Mesh,
    ports: [TcpListener; 2],
    test: impl Future<Output = T>,
) -> T {
    let [port0, port1] = ports;
    tokio::select! {
        result = test => result,
        () = zero.run(port0) => unreachable!("runs for ever"),
        () = one.run(port1) => unreachable!("runs for ever"),
    }
}

async fn pair(one: LocalNode) -> (Mesh, Mesh, [TcpListener; 2]) {
    let ((port0, address0), (port1, address1)) = (listener().await, listener().await);
    (
        mesh(local(0), 1, address1),
        mesh(one, 0, address0),
        [port0, port1],
    )
}

fn only_slot(mesh: &Mesh) -> Arc<PeerSlot> {
    mesh.slots().pop().expect("one peer")
}

async fn next(mesh: &Mesh) -> crate::Connection {
    only_slot(mesh).next().await
}

#[tokio::test]
async fn connects_and_connects_again_after_a_loss() {
    let (zero, one, ports) = pair(local(1)).await;
    with_both(&zero, &one, ports, async {
        for round in 1..=3 {
            let (mut a, mut b) = futures::join!(next(&zero), next(&one));
            assert_eq!((&a.peer, &b.peer), (&identity(1, 1), &identity(0, 1)));
            let ack = Frame::Ack(Ack {
                incarnation: 1,
                boot: 1,
                position: round,
                epoch: 0,
            });

            a.writer.queue(&ack);
            a.writer.flush().await.expect("written");
            assert_eq!(b.reader.next().await.expect("a frame"), ack);

            // Whichever side lets go, both meet again.
            drop(if round == 1 { a } else { b });
        }
    })
    .await;
}

#[tokio::test]
async fn tells_both_sides_why_they_do_not_connect() {
    let (zero, one, ports) = pair(LocalNode {
        shards: 8,
        ..local(1)
    })
    .await;

    with_both(&zero, &one, ports, async {
        while only_slot(&zero).problem().is_none() || only_slot(&one).problem().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    assert_eq!(
        only_slot(&zero).problem().as_deref(),
        Some("refused by the peer: n0 has 4 shards, n1 has 8")
    );
    assert_eq!(
        only_slot(&one).problem().as_deref(),
        Some("refused the peer: n0 has 4 shards, n1 has 8")
    );
}

#[tokio::test]
async fn a_copy_of_a_running_data_directory_learns_that_it_must_stop() {
    // n0 runs; its copy started on another machine under the same name and dials n1 too.
    let ((port0, address0), (port1, address1), (port2, _)) =
        (listener().await, listener().await, listener().await);
    let zero = mesh(local(0), 1, address1.clone());
    let copy = mesh(
        LocalNode {
            lineage: Lineage::from(7),
            ..local(0)
        },
        1,
        address1,
    );

    let one = mesh(local(1), 0, address0);
    with_both(&zero, &one, [port0, port1], async {
        let (_a, _b) = futures::join!(next(&zero), next(&one));
        let refusal = tokio::select! {
            refusal = copy.duplicate() => refusal,
            () = copy.run(port2) => unreachable!("runs for ever"),
        };
        assert_eq!(refusal.reason, RefuseReason::DuplicateIncarnation);
        assert!(
            refusal
                .detail
                .contains("already running as another process"),
            "{refusal}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_one_that_waits() {
    let slot = PeerSlot::new(identity(1, 1).node);
    let connection = |boot| {
        let (read, write) = tokio::io::split(tokio::io::duplex(10).0);
        let (alive, closed) = tokio::sync::oneshot::channel();
        let reader = crate::FrameReader::new(Box::new(read) as _);
        let writer = crate::FrameWriter::new(Box::new(write) as _);

        (
            crate::Connection {
                peer: identity(1, boot),
                version: 1,
                reader,
                writer,
                _alive: alive,
            },
            closed,
        )
    };

    let ((first, first_closed), (second, _second_closed)) = (connection(1), connection(2));
    slot.put(first);
    slot.put(second);

    assert!(first_closed.await.is_err(), "the older one is dropped");
    assert_eq!(slot.next().await.peer, identity(1, 2));
}

#[tokio::test]
async fn strangers_do_not_keep_others_from_connecting() {
    let (zero, one, ports) = pair(local(1)).await;
    let address = ports[1].local_addr().expect("bound");
    with_both(&zero, &one, ports, async {
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(address).await.expect("accepted"));
        }
        futures::join!(next(&zero), next(&one));
    })
    .await;
}

#[tokio::test]
async fn a_stranger_cannot_stop_a_node_that_nobody_is_connected_to() {
    let (port, address) = listener().await;
    let zero = mesh(local(0), 1, "127.0.0.1:1".to_owned());
    let strangers = async {
        for _ in 0..20 {
            let mut stranger =
                crate::FrameWriter::new(TcpStream::connect(&address).await.expect("accepted"));
            let reason = RefuseReason::DuplicateIncarnation as i32;
            stranger.queue(&Frame::Refuse(Refuse {
                reason,
                detail: "stop".to_owned(),
            }));
            stranger.flush().await.expect("written");
        }

        // Whoever comes after them is heard after them.
        let mut other =
            crate::FrameWriter::new(TcpStream::connect(&address).await.expect("accepted"));

        other.queue(&Frame::Hello(
            LocalNode {
                shards: 9,
                ..local(1)
            }
            .hello(None),
        ));

        other.flush().await.expect("written");
        while !only_slot(&zero)
            .problem()
            .is_some_and(|problem| problem.contains("shards"))
        {
            tokio::task::yield_now().await;
        }
    };

    tokio::select! {
        () = strangers => {}
        () = zero.run(port) => unreachable!("runs for ever"),
    }

    assert!(zero.duplicate().now_or_never().is_none());
}

#[tokio::test]
async fn a_copy_that_nobody_dials_asks_and_learns_that_it_must_stop() {
    // The copy has the largest name, so it dials nobody, and nobody knows where it listens.
    let ((port0, address0), (port1, address1), (port2, _)) =
        (listener().await, listener().await, listener().await);
    let zero = mesh(local(0), 1, address1);
    let one = mesh(local(1), 0, address0.clone());
    let copy = mesh(
        LocalNode {
            lineage: Lineage::from(7),
            ..local(1)
        },
        0,
        address0,
    );

    with_both(&zero, &one, [port0, port1], async {
        let (_a, _b) = futures::join!(next(&zero), next(&one));
        let refusal = tokio::select! {
            refusal = copy.duplicate() => refusal,
            () = copy.run(port2) => unreachable!("runs for ever"),
        };
        assert_eq!(refusal.reason, RefuseReason::DuplicateIncarnation);
    })
    .await;
}

#[tokio::test]
async fn who_did_not_finish_its_handshake_is_nobody() {
    let (zero, one, ports) = pair(local(1)).await;
    let address = ports[0].local_addr().expect("bound");
    with_both(&zero, &one, ports, async {
        // Somebody says to be the other node, and goes.
        let stranger = TcpStream::connect(address).await.expect("accepted");
        let (read, write) = stranger.into_split();
        let mut reader = crate::FrameReader::new(read);
        let mut writer = crate::FrameWriter::new(write);

        writer.queue(&Frame::Hello(
            LocalNode {
                lineage: Lineage::from(666),
                ..local(1)
            }
            .hello(None),
        ));

        writer.flush().await.expect("written");
        assert!(matches!(reader.next().await, Ok(Frame::Hello(_))));
        drop((reader, writer));
        futures::join!(next(&zero), next(&one));
    })
    .await;
}

#[tokio::test]
async fn many_silent_strangers_do_not_keep_a_member_out() {
    let (zero, one, ports) = pair(local(1)).await;
    let address = ports[1].local_addr().expect("bound");
    with_both(&zero, &one, ports, async {
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(address).await.expect("accepted"));
        }
        tokio::time::timeout(Duration::from_secs(4), async {
            futures::join!(next(&zero), next(&one))
        })
        .await
        .expect("sooner than a silent handshake ends");
    })
    .await;
}
