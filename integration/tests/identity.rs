//! Who a node is: strangers stop nobody, and a data directory that is not what it says to be acknowledges nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{Group, Load, Series, free_port, now_ms, until};

/// A refusal as frames know it: length, checksum, type 3, and a message with reason 4, "your directory is a copy".
fn refusal() -> Vec<u8> {
    let mut body = vec![3, 0x08, 4, 0x12, 4];
    body.extend_from_slice(b"stop");
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Sends one refusal, before anything else is said, and waits until the node has hung up.
fn refuse(address: &str) -> anyhow::Result<()> {
    let mut stranger = TcpStream::connect(address)?;
    stranger.set_read_timeout(Some(Duration::from_secs(10)))?;
    stranger.write_all(&refusal())?;
    // A reset is as good an end as any.
    let _ = stranger.read_to_end(&mut Vec::new());
    Ok(())
}

async fn refuse_often(address: &str, times: usize) -> anyhow::Result<()> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || (0..times).try_for_each(|_| refuse(&address))).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_frame_of_a_stranger_stops_no_node() -> anyhow::Result<()> {
    let mut group = Group::of(3).prepare()?;
    // All three start under such frames, while none of them is connected to anybody.
    for node in 0..3 {
        group.node(node).start()?;
        let address = group.cluster_address(node)?.to_owned();
        until("it listens", async || {
            TcpStream::connect(&address)?;
            Ok(())
        })
        .await?;
        refuse_often(&address, 20).await?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    // And the last one alive.
    for node in 1..3 {
        group.node(node).kill()?;
    }

    until("n0 is alone", async || {
        let ring = group.client(0).ring().await?;
        let members = ring["groups"][0]["members"].as_array().context("members")?;
        let others = members
            .iter()
            .filter(|member| member["connected"] == true)
            .count();
        ensure!(others == 1, "{others} are connected, itself included");
        Ok(())
    })
    .await?;

    let address = group.cluster_address(0)?.to_owned();
    refuse_often(&address, 20).await?;
    ensure!(group.node(0).is_running(), "n0 has stopped");

    for node in 1..3 {
        group.node(node).start()?;
        group.node(node).ready().await?;
    }

    let answer = group
        .client(0)
        .write(&[Series::new("up", &[], &[(now_ms(), 1.0)])])
        .await?;

    answer.success()?;
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_fill_neither_the_door_nor_the_log() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let address = group.cluster_address(2)?.to_owned();
    let before = group.nodes()[2].log().len();

    group.node(0).kill()?;
    let silent: Vec<TcpStream> = (0..500)
        .filter_map(|_| TcpStream::connect(&address).ok())
        .collect();

    group.node(0).start()?;
    group.node(0).ready().await?;
    until("n2 has its peer again", async || {
        let ring = group.client(2).ring().await?;
        let members = ring["groups"][0]["members"].as_array().context("members")?;
        ensure!(
            members.iter().all(|member| member["connected"] == true),
            "{members:?}"
        );
        Ok(())
    })
    .await?;

    drop(silent);
    refuse_often(&address, 300).await?;
    let written = group.nodes()[2].log().len() - before;
    ensure!(written < 64 << 10, "{written} bytes of log");

    group.stop().await
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()?;
    ensure!(status.success(), "cp {from:?} {to:?}: {status}");
    Ok(())
}

/// Writes through `nodes` until some are acknowledged; gives what was.
async fn some_writes(
    group: &Group,
    first: usize,
    nodes: &[usize],
) -> anyhow::Result<trireme_integration::SampleSet> {
    let clients: Vec<_> = nodes
        .iter()
        .map(|node| group.client(*node).clone())
        .collect();
    let load = Load::start_from(first, &clients);
    load.reaches(40).await?;
    Ok(load.stop().await?.acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_was_set_back_is_refused_and_costs_nothing_acknowledged()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let mut acknowledged = some_writes(&group, 0, &[0, 1, 2]).await?;

    // A backup of n0 is taken; then it goes on, with another start.
    group.node(0).stop().await?;
    let (dir, backup) = (
        group.nodes()[0].data_dir().to_owned(),
        group.dir().join("backup"),
    );

    copy(&dir, &backup)?;
    group.node(0).start()?;
    group.node(0).ready().await?;
    acknowledged.merge(&some_writes(&group, 10, &[0, 1]).await?);

    // The rack loses its power, and n0 comes back with the backup.
    for node in 0..3 {
        group.node(node).kill()?;
    }

    std::fs::remove_dir_all(&dir)?;
    copy(&backup, &dir)?;

    for node in 0..3 {
        group.node(node).start()?;
    }

    let status = group.node(0).ended().await?;
    ensure!(!status.success(), "n0 went on with an old disk");
    let log = group.nodes()[0].log();
    ensure!(
        log.contains("the members refused this node") && log.contains("set back"),
        "it does not say why"
    );

    for node in 1..3 {
        group.node(node).ready().await?;
    }

    acknowledged.merge(&some_writes(&group, 20, &[1, 2]).await?);

    // It does not count its way up to a start that nobody knows.
    for _ in 0..3 {
        group.node(0).start()?;
        ensure!(
            !group.node(0).ended().await?.success(),
            "n0 starts after all"
        );
    }

    ensure!(
        group.nodes()[0].log().contains("empty directory"),
        "it does not say what to do"
    );

    // With an empty directory it is filled.
    std::fs::remove_dir_all(&dir)?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let held = group.converged().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_of_a_name_waits_until_the_first_one_is_gone() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let incarnation = async |group: &Group| -> anyhow::Result<String> {
        let ring = group.client(2).ring().await?;
        let members = ring["groups"][0]["members"].as_array().context("members")?;
        let member = members
            .iter()
            .find(|member| member["node"] == "n1")
            .context("n1")?;
        Ok(member["incarnation"]
            .as_str()
            .context("not seen")?
            .to_owned())
    };

    let first = until("n2 has seen n1", async || incarnation(&group).await).await?;

    // Its replacement is started elsewhere before it has stopped.
    let data_dir = format!("node.data_dir={}", group.dir().join("second").display());
    let http = free_port()?;
    let cluster = free_port()?;
    let http = format!("http.listen=127.0.0.1:{http}");
    let cluster = format!("cluster.listen=127.0.0.1:{cluster}");
    let mut command = group.node(1).command(&[&data_dir, &http, &cluster])?;
    let log = std::fs::File::create(group.dir().join("second.log"))?;

    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);

    let _second = Running(command.spawn()?);

    let load = Load::start(&group.clients());
    until("the second one is refused, and n2 says so", async || {
        ensure!(
            group.nodes()[2].log().contains("another n1 is running"),
            "nothing in the log of n2"
        );
        let ring = group.client(2).ring().await?;
        ensure!(
            ring.to_string().contains("another n1 is running"),
            "nothing in the ring of n2"
        );
        Ok(())
    })
    .await?;

    let so_far = load.look(|sent| sent.successes).await;
    load.reaches(so_far + 40).await?;
    let sent = load.stop().await?;
    ensure!(
        sent.refusals.is_empty() && sent.broken == 0,
        "{:?}, {} broken",
        sent.refusals,
        sent.broken
    );

    ensure!(
        incarnation(&group).await? == first,
        "it took the place of the first one"
    );

    group.node(1).stop().await?;
    until("the second one takes the place", async || {
        let now = incarnation(&group).await?;
        ensure!(now != first, "n2 still knows {now}");
        Ok(())
    })
    .await?;

    group.stop().await
}
