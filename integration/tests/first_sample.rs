//! The first command of the README: a group on this machine that has something to show at once.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{Client, free_port_range, trireme, until, until_for};

#[tokio::test]
async fn dev_prints_urls_that_show_a_result_and_stops_on_interrupt() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let base = free_port_range(3, &[0, 100])?;
    let output = dir.path().join("output");
    let mut dev = Command::new(trireme()?);

    dev.args(["dev", "--base-port", &base.to_string(), "--dir"])
        .arg(dir.path().join("group"));
    let file = std::fs::File::create(&output)?;
    let mut dev = dev
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;

    let printed = || std::fs::read_to_string(&output).unwrap_or_default();

    let shown = see_a_result(&printed).await;
    // SAFETY: sends a signal to a child that was not waited for, so the id is still its own.
    unsafe { libc::kill(dev.id() as i32, libc::SIGINT) };

    let stopped = until_for("trireme dev stops", Duration::from_secs(60), async || {
        dev.try_wait()?.context("it still runs")
    })
    .await;

    if stopped.is_err() {
        dev.kill()?;
    }

    shown.with_context(printed)?;
    let status = stopped.with_context(printed)?;
    ensure!(status.success(), "it ended with {status}:\n{}", printed());

    for node in ["n0", "n1", "n2"] {
        ensure!(
            printed().contains(&format!("{node} stopped")),
            "{node} did not stop in order:\n{}",
            printed()
        );
    }

    Ok(())
}

/// Follows the printed query URL until it answers with a result, then asks every node the same.
async fn see_a_result(printed: &impl Fn() -> String) -> anyhow::Result<()> {
    let url = until("a query URL is printed", async || {
        let text = printed();
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("http") && line.contains("/api/v1/query?"));
        line.map(str::to_owned).context("not yet")
    })
    .await?;

    let (host, path) = url
        .strip_prefix("http://127.0.0.1:")
        .and_then(|r| r.split_once('/'))
        .context("strange URL")?;

    let port: u16 = host.parse()?;
    for port in port..port + 3 {
        let client = Client::new(port)?;
        until("the printed URL shows a result", async || {
            let answer = client
                .send(client.get(&format!("/{path}")))
                .await?
                .success()?;
            ensure!(answer.body.contains(r#""value""#), "{}", answer.body);
            Ok(())
        })
        .await?;
    }

    Ok(())
}
