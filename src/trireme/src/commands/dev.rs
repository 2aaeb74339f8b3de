//! `trireme dev`: a whole group on this machine, one daemon process a node.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::print_line;

/// Runs a replica group on loopback to try things out; Ctrl-C stops it.
#[derive(clap::Args)]
pub struct Args {
    /// Number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Directory of the nodes' data, their logs and the shared file bucket.
    #[arg(long, default_value = "./trireme-dev")]
    dir: PathBuf,
    /// HTTP port of node 0; node i listens on base + i, its cluster TCP on base + 100 + i.
    #[arg(long, default_value_t = 19291, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    base_port: u16,
    /// Overrides a setting on every node; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// How long a node may take to become ready; recovery of a large log included.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a node may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(45);

struct NodeProcess {
    name: String,
    url: String,
    log: PathBuf,
    child: Child,
}

/// Runs the command until Ctrl-C or SIGTERM.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(group(args))
}

async fn group(args: &Args) -> anyhow::Result<()> {
    // From the start, so that a Ctrl-C during start-up also stops the nodes in order.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot create {}", args.dir.display()))?;

    let mut nodes = Vec::new();
    for i in 0..args.nodes {
        nodes.push(start(args, i)?);
    }

    let stop = tokio::select! {
        ready = all_ready(&mut nodes) => ready.err(),
        () = asked_to_stop(&mut interrupt, &mut terminate) => {
            Some(anyhow::anyhow!("stopped before all nodes were ready"))
        }
    };

    if let Some(error) = stop {
        stop_all(&mut nodes).await;
        return Err(error);
    }

    welcome(args, &nodes);
    let watched = tokio::select! {
        () = asked_to_stop(&mut interrupt, &mut terminate) => Ok(()),
        error = watch(&mut nodes) => Err(error),
    };

    print_line("stopping...");
    stop_all(&mut nodes).await;
    watched
}

async fn asked_to_stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn start(args: &Args, i: u16) -> anyhow::Result<NodeProcess> {
    let name = format!("n{i}");
    let port = args.base_port + i;
    let log = args.dir.join(format!("{name}.log"));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open {}", log.display()))?;

    let mut command = std::process::Command::new(
        std::env::current_exe().context("cannot find this program's file")?,
    );

    command.arg("run");
    for setting in settings(args, i).iter().chain(&args.set) {
        command.args(["--set", setting]);
    }

    // A group of its own: Ctrl-C on the terminal reaches this process only, which then stops the nodes in order.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0);

    // SAFETY: prctl is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(|| {
            // The nodes end with this process even if it is killed.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }

    let child = Command::from(command)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;

    Ok(NodeProcess {
        name,
        url: format!("http://127.0.0.1:{port}"),
        log,
        child,
    })
}

fn settings(args: &Args, i: u16) -> [String; 10] {
    let name = format!("n{i}");
    let peers: Vec<String> = (0..args.nodes)
        .map(|k| format!("n{k}=127.0.0.1:{}", args.base_port + 100 + k))
        .collect();

    [
        format!("node.name={name}"),
        format!("node.data_dir={}", args.dir.join(&name).display()),
        format!("http.listen=127.0.0.1:{}", args.base_port + i),
        format!("cluster.listen=127.0.0.1:{}", args.base_port + 100 + i),
        format!("cluster.peers={}", peers.join(",")),
        format!("cluster.replication_factor={}", args.nodes),
        format!("bucket.path={}", args.dir.join("bucket").display()),
        "bucket.upload_turn=15s".to_owned(),
        "telemetry.self_monitoring=true".to_owned(),
        "telemetry.self_monitoring_interval=5s".to_owned(),
    ]
}

async fn all_ready(nodes: &mut [NodeProcess]) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .build()?;

    for node in nodes {
        let ready = tokio::time::timeout(READY_WITHIN, async {
            loop {
                if let Some(status) = node.child.try_wait()? {
                    bail!(
                        "{} ended with {status}; the end of {}:\n{}",
                        node.name,
                        node.log.display(),
                        tail(&node.log)
                    );
                }

                let answer = client.get(format!("{}/-/ready", node.url)).send().await;
                if answer.is_ok_and(|a| a.status().is_success()) {
                    return Ok(());
                }

                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        ready.await.with_context(|| {
            format!(
                "{} was not ready in time; see {}",
                node.name,
                node.log.display()
            )
        })??;
    }

    Ok(())
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn welcome(args: &Args, nodes: &[NodeProcess]) {
    print_line(&format!(
        "{} nodes are ready; data and logs are in {}",
        nodes.len(),
        args.dir.display()
    ));

    for node in nodes {
        print_line(&format!(
            "  {}  {}   remote write: {}/api/v1/write",
            node.name, node.url, node.url
        ));
    }

    let first = &nodes[0].url;
    print_line("The nodes write their own metrics. See a result:");
    print_line(&format!("  {first}/?query=trireme_actor_up"));
    print_line(&format!("  {first}/api/v1/query?query=up"));
    print_line(
        "Grafana: add a Prometheus data source with any of these URLs. Ctrl-C stops all nodes in order.",
    );
}

/// Waits for nodes to end by themselves; answers when the last one did.
async fn watch(nodes: &mut [NodeProcess]) -> anyhow::Error {
    let mut reported = vec![false; nodes.len()];
    loop {
        for (node, reported) in nodes.iter_mut().zip(&mut reported) {
            if let (false, Ok(Some(status))) = (*reported, node.child.try_wait()) {
                *reported = true;
                print_line(&format!(
                    "{} ended with {status}; see {}",
                    node.name,
                    node.log.display()
                ));
            }
        }

        if reported.iter().all(|r| *r) {
            return anyhow::anyhow!("all nodes have ended");
        }

        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn stop_all(nodes: &mut [NodeProcess]) {
    for node in nodes.iter() {
        if let Some(pid) = node.child.id() {
            // SAFETY: sends a signal to a child that was not waited for, so the id is still its own.
            unsafe { libc::kill(pid as i32, libc::SIGTERM) };
        }
    }
    for node in nodes {
        match tokio::time::timeout(STOP_WITHIN, node.child.wait()).await {
            Ok(Ok(status)) if status.success() => print_line(&format!("{} stopped", node.name)),
            Ok(Ok(status)) => print_line(&format!(
                "{} ended with {status}; see {}",
                node.name,
                node.log.display()
            )),
            Ok(Err(error)) => print_line(&format!("{}: {error}", node.name)),
            Err(_) => {
                let _ = node.child.kill().await;
                print_line(&format!(
                    "{} did not stop in {} s and was killed",
                    node.name,
                    STOP_WITHIN.as_secs()
                ));
            }
        }
    }
}
