//! Real senders: what they stored, every replica holds, bit by bit.

#[path = "real_sender/exemplars.rs"]
mod exemplars;

use std::time::Duration;

use anyhow::ensure;
use trireme_integration::peers::{NodeExporter, Prometheus, VmAgent, installed};
use trireme_integration::{Group, SampleSet, first_differences, now_ms, seconds, until_for};

/// After the load a slow machine may need this long until the last samples are sent and replicated.
const CATCH_UP: Duration = Duration::from_secs(90);

/// Lets the sender run: half of the time with its target, then without it, so that all its series are marked stale.
async fn lose_the_target_halfway(
    target: NodeExporter,
    judge: &Prometheus,
    start: i64,
) -> anyhow::Result<()> {
    let length_ms = seconds(30) as i64 * 1_000;
    let bound = Duration::from_secs(seconds(30)) + CATCH_UP;
    let scraped_until = async |time: i64| {
        let what = format!("scrapes of {} s", (time - start) / 1_000);
        until_for(&what, bound, async || {
            ensure!(now_ms() >= time, "time runs");
            Ok(())
        })
        .await
    };

    scraped_until(start + length_ms / 2).await?;
    target.kill();
    scraped_until(start + length_ms).await?;

    let stale = judge.stored(start, now_ms()).await?.stale_count();
    ensure!(stale > 100, "the sender marked only {stale} series stale");
    Ok(())
}

/// Waits until every replica holds exactly what `judge` stored in the time that is surely sent.
async fn every_node_equals(
    judge: &Prometheus,
    group: &Group,
    start: i64,
) -> anyhow::Result<SampleSet> {
    let end = now_ms();
    until_for("every node holds what was sent", CATCH_UP, async || {
        let stored = judge.stored(start, end).await?;
        for node in group.nodes() {
            let held = node.client().export().await?.between(start, end);
            first_differences(("the peer", &stored), (node.name(), &held))?;
        }
        Ok(stored)
    })
    .await
}

#[tokio::test]
async fn every_node_holds_what_prometheus_stored() -> anyhow::Result<()> {
    let test = "every_node_holds_what_prometheus_stored";
    let Some([prometheus, exporter]) = installed(test, ["prometheus", "prometheus-node-exporter"])
    else {
        return Ok(());
    };

    let group = Group::of(3).start().await?;
    let target = NodeExporter::start(&exporter, group.dir(), None).await?;
    let start = now_ms();
    let sender = Prometheus::in_dir(&prometheus, &group.dir().join("prometheus"))
        .scrape_itself()
        .scrape(target.port())
        .remote_write(&format!("{}/api/v1/write", group.client(0).url()))
        .start()
        .await?;

    lose_the_target_halfway(target, &sender, start).await?;
    let stored = every_node_equals(&sender, &group, start).await?;
    ensure!(
        stored.series_count() > 500,
        "only {} series were sent",
        stored.series_count()
    );

    let failed = sender
        .client()
        .metric("prometheus_remote_storage_samples_failed_total")
        .await?;
    let dropped = sender
        .client()
        .metric("prometheus_remote_storage_samples_dropped_total")
        .await?;
    ensure!(
        failed == 0.0 && dropped == 0.0,
        "Prometheus failed to send {failed} and dropped {dropped} samples"
    );

    drop(sender);
    group.stop().await
}

#[tokio::test]
async fn every_node_holds_what_vmagent_sent() -> anyhow::Result<()> {
    let test = "every_node_holds_what_vmagent_sent";
    let Some([prometheus, exporter, vmagent]) =
        installed(test, ["prometheus", "prometheus-node-exporter", "vmagent"])
    else {
        return Ok(());
    };

    let group = Group::of(3).start().await?;
    // vmagent keeps nothing that could be read back, so it also writes to a Prometheus, which is the judge.
    let judge = Prometheus::in_dir(&prometheus, &group.dir().join("judge"))
        .start()
        .await?;
    let target = NodeExporter::start(&exporter, group.dir(), None).await?;
    let start = now_ms();
    let urls =
        [group.client(1).url(), judge.client().url()].map(|url| format!("{url}/api/v1/write"));
    let sender = VmAgent::start(
        &vmagent,
        &group.dir().join("vmagent"),
        &[target.port()],
        &urls,
    )
    .await?;

    lose_the_target_halfway(target, &judge, start).await?;
    let stored = every_node_equals(&judge, &group, start).await?;
    ensure!(
        stored.series_count() > 500,
        "only {} series were sent",
        stored.series_count()
    );

    let dropped = sender
        .client()
        .metric("vmagent_remotewrite_packets_dropped_total")
        .await?;
    ensure!(dropped == 0.0, "vmagent dropped {dropped} packets");

    drop(sender);
    group.stop().await
}
