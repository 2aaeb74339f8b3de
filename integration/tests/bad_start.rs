//! A node that cannot start says why in words that tell what to do, and leaves alone what it found.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{Group, Node, Series, free_port, left_out, now_ms, until_for};

/// A refusal may not take longer than this; it is far more than the start of a node with no data takes.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// Starts `node` once more with further settings, and answers what it says on standard error when it fails.
async fn refusal(node: &Node, more: &[&str]) -> anyhow::Result<String> {
    let mut command = node.command(more)?;
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;

    let ended = until_for("the process refuses to start", REFUSED_WITHIN, async || {
        process.try_wait()?.context("it still runs")
    })
    .await;

    if ended.is_err() {
        process.kill()?;
    }

    let output = process.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = ended.with_context(|| text.clone())?;
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "{more:?} ended with {status}:\n{text}"
    );

    ensure!(!text.contains("panic"), "{more:?} panicked:\n{text}");
    Ok(text)
}

#[tokio::test]
async fn bad_settings_are_all_reported_at_once_with_the_key_that_was_meant() -> anyhow::Result<()> {
    let group = Group::of(1).prepare()?;

    let node = &group.nodes()[0];
    for (settings, says) in [
        (
            &["storage.windw=2h"][..],
            &["storage.windw", "storage.window"][..],
        ),
        (&["storage.window=2 fortnights"], &["2 fortnights"]),
        (&["http.body_bytes_max=many"], &["many"]),
        (
            &["storage.shards=0", "storage.window=1ms"],
            &["storage.shards", "storage.window"],
        ),
        (&["cluster.peers=n7=127.0.0.1:1"], &["cluster.peers", "n0"]),
        (&["http.listen=nowhere"], &["http.listen", "nowhere"]),
        (&["bucket.type=tape"], &["tape"]),
        (&["bucket.type=s3"], &["bucket.name"]),
    ] {
        let text = refusal(node, settings).await?;
        for part in says {
            ensure!(
                text.contains(part),
                "{settings:?} is answered without {part:?}:\n{text}"
            );
        }
    }

    ensure!(
        !node.data_dir().exists(),
        "a node with bad settings made a data directory"
    );

    group.stop().await
}

#[tokio::test]
async fn a_second_start_on_a_data_directory_in_use_is_refused() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    let http = free_port()?;
    let cluster = free_port()?;
    let other_ports = [
        format!("http.listen=127.0.0.1:{http}"),
        format!("cluster.listen=127.0.0.1:{cluster}"),
    ];
    let text = refusal(group.node(0), &other_ports.each_ref().map(String::as_str)).await?;
    ensure!(text.contains("in use"), "{text}");

    ensure!(
        text.contains(&group.nodes()[0].data_dir().display().to_string()),
        "{text}"
    );

    group
        .client(0)
        .write(&[Series::new("unharmed", &[], &[(now_ms(), 1.0)])])
        .await?
        .success()?;

    group.stop().await
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_its_address() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let elsewhere = format!("node.data_dir={}", group.dir().join("elsewhere").display());
    let http = free_port()?;

    let cluster = free_port()?;
    for settings in [
        [
            format!("http.listen={address}"),
            format!("cluster.listen=127.0.0.1:{cluster}"),
        ],
        [
            format!("http.listen=127.0.0.1:{http}"),
            format!("cluster.listen={address}"),
        ],
    ] {
        let text = refusal(group.node(0), &[&elsewhere, &settings[0], &settings[1]]).await?;
        ensure!(
            text.contains(&address),
            "the message does not name {address}:\n{text}"
        );
    }

    group.stop().await
}

#[tokio::test]
async fn a_data_directory_made_for_other_shards_is_refused() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    group.node(0).stop().await?;
    let text = refusal(group.node(0), &["storage.shards=8"]).await?;
    ensure!(text.contains("storage.shards"), "{text}");
    group.node(0).start()?;
    group.node(0).ready().await?;
    group.stop().await
}

#[tokio::test]
async fn a_node_without_peers_names_a_damaged_checkpoint_and_leaves_it_alone() -> anyhow::Result<()>
{
    let mut group = Group::of(1).start().await?;
    group
        .client(0)
        .write(&[Series::new("kept", &[], &[(now_ms(), 1.0)])])
        .await?
        .success()?;

    group.node(0).stop().await?;
    let checkpoint = group.nodes()[0].data_dir().join("head/000/checkpoint");
    let good = std::fs::read(&checkpoint)?;
    let mut bad = good.clone();

    bad[good.len() / 2] ^= 0x10;
    std::fs::write(&checkpoint, &bad)?;
    let text = refusal(group.node(0), &[]).await?;
    ensure!(text.contains("head/000/checkpoint is damaged"), "{text}");
    ensure!(
        std::fs::read(&checkpoint)? == bad,
        "the checkpoint was touched"
    );

    std::fs::write(&checkpoint, &good)?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let kept = group.client(0).export().await?.sample_count();
    ensure!(kept == 1, "{kept} samples");
    group.stop().await
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_refused() -> anyhow::Result<()> {
    let mut group = Group::of(1).prepare()?;
    let node = group.node(0);
    std::fs::create_dir_all(node.data_dir())?;

    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } == 0 {
        // Permissions do not bind root, a read-only mount does.
        if !std::process::Command::new("unshare")
            .args(["--mount", "true"])
            .status()
            .is_ok_and(|s| s.success())
        {
            left_out(
                "a_data_directory_that_cannot_be_written_is_refused",
                "no mounts of its own allowed here",
            );
            return group.stop().await;
        }
        node.mount_over_data_dir("-t tmpfs -o ro tmpfs");
    } else {
        std::fs::set_permissions(node.data_dir(), PermissionsExt::from_mode(0o500))?;
    }

    let text = refusal(node, &[]).await?;
    ensure!(
        text.contains(&node.data_dir().display().to_string()),
        "{text}"
    );

    group.stop().await
}

#[tokio::test]
async fn a_bucket_that_cannot_be_made_is_refused_with_its_path() -> anyhow::Result<()> {
    let group = Group::of(1).prepare()?;
    let text = refusal(&group.nodes()[0], &["bucket.path=/proc/no-bucket"]).await?;
    ensure!(text.contains("/proc/no-bucket"), "{text}");
    group.stop().await
}
