//! The harness judged by the peers alone: if Prometheus and Prometheus differ, the fault is in our comparison.

use trireme_integration::peers::{NodeExporter, Prometheus, installed};
use trireme_integration::{first_differences, now_ms, until};

#[tokio::test]
async fn two_prometheus_servers_agree_bit_by_bit() -> anyhow::Result<()> {
    let test = "two_prometheus_servers_agree_bit_by_bit";
    let Some([prometheus, exporter]) = installed(test, ["prometheus", "prometheus-node-exporter"])
    else {
        return Ok(());
    };

    let dir = tempfile::tempdir()?;
    let receiver = Prometheus::in_dir(&prometheus, &dir.path().join("receiver"))
        .start()
        .await?;
    let target = NodeExporter::start(&exporter, dir.path(), None).await?;
    let start = now_ms();
    let sender = Prometheus::in_dir(&prometheus, &dir.path().join("sender"))
        .scrape(target.port())
        .remote_write(&format!("{}/api/v1/write", receiver.client().url()))
        .start()
        .await?;

    until("the target is scraped", async || {
        let stored = sender.stored(start, now_ms()).await?;
        anyhow::ensure!(
            stored.series_count() > 100,
            "{} series",
            stored.series_count()
        );
        Ok(())
    })
    .await?;

    target.kill();
    until("the target's series are marked stale on both", async || {
        let end = now_ms() - 5_000;
        let sent = sender.stored(start, now_ms() - 5_000).await?;
        anyhow::ensure!(
            sent.stale_count() > 100,
            "{} stale markers",
            sent.stale_count()
        );
        first_differences(
            ("sender", &sent),
            ("receiver", &receiver.stored(start, end).await?),
        )
    })
    .await
}
