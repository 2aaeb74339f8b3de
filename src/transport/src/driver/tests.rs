//! Three nodes in one process over real TCP.

mod cluster;
mod memory;

use bytes::Bytes;
use std::time::Duration;
use trireme_wire::rpc::Method;

use trireme_base::ErrorKind;
use trireme_replication::DisconnectReason;

use cluster::Cluster;

#[tokio::test]
async fn three_stores_converge() {
    let mut cluster = Cluster::new().await;
    for node in 0..3 {
        cluster.start(node).await;
    }

    for round in 0..50 {
        for node in 0..3 {
            cluster.write(node, 1 + round % 7, 100);
        }
        tokio::task::yield_now().await;
    }

    cluster.converged().await;
    let all = (0..50).map(|r| 1 + r % 7).sum::<usize>() as u64;

    // A stream may have come by a detour at first; in the end each takes from a peer what that peer writes.
    cluster
        .until(|c| {
            c.status(0, 1).stats.records_in >= all && c.status(1, 0).stats.records_out >= all
        })
        .await;

    cluster
        .until(|c| c.status(2, 0).subscribed.len() == 1 && c.status(2, 1).subscribed.len() == 1)
        .await;
    assert_eq!(
        cluster.store(0).record_count(),
        3 * (0..50).map(|r| 1 + r % 7).sum::<usize>()
    );
}

#[tokio::test]
async fn a_killed_node_catches_up_whichever_it_is() {
    let mut cluster = Cluster::new().await;
    for node in 0..3 {
        cluster.start(node).await;
    }

    for victim in 0..3 {
        cluster.write(victim, 20, 1000);
        cluster.kill(victim);
        for node in (0..3).filter(|n| *n != victim) {
            cluster.write(node, 200, 5000);
        }
        cluster.start(victim).await;
        cluster.write(victim, 5, 100);
        cluster.converged().await;
    }
}

#[tokio::test]
async fn an_entry_is_committed_when_a_peer_has_it_and_not_before() {
    let mut cluster = Cluster::new().await;
    cluster.start(0).await;
    cluster.write(0, 3, 100);
    assert_eq!(cluster.store(0).committed(), 0, "alone");
    cluster.start(1).await;
    cluster.until(|c| c.store(0).committed() == 3).await;
    cluster.write(1, 1, 100);
    cluster.until(|c| c.store(1).committed() == 1).await;
}

#[tokio::test]
async fn the_tail_of_a_dead_origin_comes_from_whoever_has_more() {
    let mut cluster = Cluster::new().await;
    cluster.start(0).await;
    cluster.start(1).await;
    cluster.write(0, 100, 1000);
    cluster.converged_among(&[0, 1]).await;
    cluster.kill(0);
    cluster.start(2).await;
    cluster.converged_among(&[1, 2]).await;
    assert_eq!(cluster.store(2).record_count(), 100);
}

#[tokio::test]
async fn a_node_whose_disk_was_set_back_is_told_by_the_first_peer_it_meets() {
    let mut cluster = Cluster::new().await;
    cluster.start(0).await;
    cluster.start(1).await;
    cluster.write(0, 50, 100);
    cluster.converged_among(&[0, 1]).await;
    cluster.kill(0);
    cluster.set_back(0);
    cluster.start(0).await;
    cluster.write(0, 3, 100);

    let proof = cluster.second_writer(0).await;
    assert!(
        matches!(
            proof,
            DisconnectReason::SecondWriter {
                written: 3,
                claimed: 50,
                ..
            }
        ),
        "{proof}"
    );

    assert_eq!(
        cluster.store(0).committed(),
        0,
        "what n1 has under these numbers is something else"
    );
}

#[tokio::test]
async fn a_log_that_is_busy_stops_the_peer_without_losing_anything() {
    let mut cluster = Cluster::new().await;
    for node in 0..3 {
        cluster.store(node).refuse_every(3);
        cluster.start(node).await;
    }

    for _ in 0..30 {
        for node in 0..3 {
            cluster.write(node, 5, 40_000);
        }
        tokio::task::yield_now().await;
    }

    cluster.converged().await;
}

#[tokio::test]
async fn slow_shards_stop_the_peer_at_the_window_even_over_a_reconnect() {
    let mut cluster = Cluster::new().await;
    cluster.start(0).await;
    cluster.start(1).await;
    cluster.store(1).hold_applied(true);
    cluster.write(0, 100, 20_000);

    let window = cluster::WINDOW_BYTES;
    cluster
        .until(|c| c.status(1, 0).unapplied_bytes >= window)
        .await;

    assert!(
        cluster.status(1, 0).unapplied_bytes < window + 30_000,
        "the window and one record"
    );

    cluster.kill(0);
    cluster.until(|c| !c.connected(1, 0)).await;

    // Everything that came is applied while there is no session that could hear of it.
    cluster.store(1).hold_applied(false);
    cluster.start(0).await;
    cluster.converged_among(&[0, 1]).await;
}

#[tokio::test]
async fn calls_go_both_ways_beside_replication() {
    let mut cluster = Cluster::new().await;
    cluster.start(0).await;
    cluster.start(1).await;
    cluster.write(0, 500, 10_000);

    let large = Bytes::from(vec![7; 3 << 20]);
    for (from, to) in [(0, 1), (1, 0)] {
        let calls = cluster.calls(from, to);
        cluster.until(|c| c.connected(from, to)).await;
        let echo = calls
            .call(Method::ForwardWrite, large.clone(), Duration::from_secs(60))
            .await;
        assert_eq!(echo.as_deref(), Ok(&large[..]));
        let unknown = calls
            .call(Method::Ring, Bytes::new(), Duration::from_secs(60))
            .await;
        assert_eq!(unknown.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    }

    cluster.kill(1);
    let refused = cluster.calls(0, 1);
    cluster.until(|c| !c.connected(0, 1)).await;

    let lost = refused
        .call(Method::ForwardWrite, Bytes::new(), Duration::from_secs(60))
        .await;

    assert_eq!(lost.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
    cluster.converged_among(&[0]).await;
}
