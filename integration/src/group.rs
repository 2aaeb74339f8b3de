//! A replica group of real processes on loopback.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::client::Client;
use crate::network::{CLUSTER_PORT, HTTP_PORT, Network};
use crate::node::Node;
use crate::ports::free_port;
use crate::samples::{SampleSet, first_differences};
use crate::wait::until;

/// Lines of each node's log that a failed test shows.
const LOG_LINES: usize = 40;

/// Says what a group is like before it starts.
pub struct GroupBuilder {
    nodes: usize,
    settings: Vec<String>,
    has_network: bool,
}

impl GroupBuilder {
    /// Overrides a setting on every node.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Gives each node a network namespace and an address of its own; see [`Network`].
    pub fn in_network(mut self) -> Self {
        self.has_network = true;
        self
    }

    /// Windows of `seconds` that close three seconds after their end, so that blocks appear while a test watches.
    pub fn short_windows(self, seconds: u64) -> Self {
        self.set(&format!("storage.window={seconds}s"))
            .set("storage.window_grace=3s")
            .set(&format!("storage.out_of_order_window={seconds}s"))
            .set("storage.max_future=1s")
            .set("storage.tick=200ms")
            .set("bucket.upload_turn=2s")
            .set("bucket.upload_interval=200ms")
            .set("bucket.sync_interval=1s")
    }

    /// Lays out directories and ports without starting a node.
    pub fn prepare(self) -> anyhow::Result<Group> {
        let root = tempfile::Builder::new().prefix("trireme-test-").tempdir()?;
        let names: Vec<String> = (0..self.nodes).map(|i| format!("n{i}")).collect();
        let network = if self.has_network {
            Some(Network::new(self.nodes)?)
        } else {
            None
        };

        let addresses = (0..self.nodes).map(|i| addresses(network.as_ref(), i));
        let addresses = addresses.collect::<anyhow::Result<Vec<_>>>()?;
        let peers: Vec<String> = names
            .iter()
            .zip(&addresses)
            .map(|(name, (_, cluster))| format!("{name}={cluster}"))
            .collect();

        let mut shared = vec![format!("cluster.replication_factor={}", self.nodes)];
        shared.extend(self.settings.iter().cloned());

        let mut nodes = Vec::new();
        for (name, addresses) in names.iter().zip(&addresses) {
            let mut node = node(root.path(), name, addresses, &peers, &shared)?;
            if let Some(network) = &network {
                node.live_in(network.namespace(nodes.len()));
            }
            nodes.push(node);
        }

        Ok(Group {
            nodes,
            network,
            peers,
            settings: self.settings,
            root: Some(root),
            has_passed: false,
        })
    }

    /// Starts all nodes and waits until each accepts writes.
    pub async fn start(self) -> anyhow::Result<Group> {
        let mut group = self.prepare()?;
        group.nodes.iter_mut().try_for_each(Node::start)?;
        for node in &mut group.nodes {
            node.ready().await?;
        }
        Ok(group)
    }
}

/// Addresses of a node for clients and for its peers.
fn addresses(network: Option<&Network>, node: usize) -> anyhow::Result<(String, String)> {
    match network {
        Some(network) => {
            let host = network.address(node);
            Ok((
                format!("{host}:{HTTP_PORT}"),
                format!("{host}:{CLUSTER_PORT}"),
            ))
        }
        None => Ok((
            format!("127.0.0.1:{}", free_port()?),
            format!("127.0.0.1:{}", free_port()?),
        )),
    }
}

/// A node that is not started yet, with its settings.
fn node(
    root: &Path,
    name: &str,
    (http, cluster): &(String, String),
    peers: &[String],
    more: &[String],
) -> anyhow::Result<Node> {
    let mut settings = vec![
        format!("node.name={name}"),
        format!("node.data_dir={}", root.join(name).display()),
        format!("http.listen={http}"),
        "http.workers=2".to_owned(),
        format!("cluster.listen={cluster}"),
        format!("cluster.peers={}", peers.join(",")),
        "cluster.ack_timeout=2s".to_owned(),
        "cluster.peer_timeout=1s".to_owned(),
        "cluster.heartbeat_interval=100ms".to_owned(),
        // A debug build takes its time to look through a preallocated segment after a crash.
        "log.segment_bytes=4MiB".to_owned(),
        // Writers of tests stay with their node until it is gone.
        "http.drain_timeout=3s".to_owned(),
        format!("bucket.path={}", root.join("bucket").display()),
        "telemetry.log_format=json".to_owned(),
    ];

    settings.extend(more.iter().cloned());
    Node::new(name, root, Client::at(http)?, settings)
}

/// A running group. End the test with [`Group::stop`]; otherwise it counts as failed and the logs are shown.
pub struct Group {
    nodes: Vec<Node>,
    network: Option<Network>,
    /// `name=address` of the members of the first start.
    peers: Vec<String>,
    settings: Vec<String>,
    root: Option<TempDir>,
    has_passed: bool,
}

impl Group {
    /// A group of `nodes` to be started.
    pub fn of(nodes: usize) -> GroupBuilder {
        GroupBuilder {
            nodes,
            settings: Vec::new(),
            has_network: false,
        }
    }

    /// Lays out one node more, which knows the first members and is to join them. Answers its number and its address in
    /// the cluster.
    pub fn newcomer(&mut self, name: &str) -> anyhow::Result<(usize, String)> {
        let addresses = addresses(None, 0)?;
        let mut settings = vec!["cluster.join=true".to_owned()];
        settings.extend(self.settings.iter().cloned());
        self.nodes
            .push(node(self.dir(), name, &addresses, &self.peers, &settings)?);
        Ok((self.nodes.len() - 1, addresses.1))
    }

    /// Node `i`.
    pub fn node(&mut self, i: usize) -> &mut Node {
        &mut self.nodes[i]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The network of a group that has one of its own.
    pub fn network(&self) -> anyhow::Result<&Network> {
        self.network
            .as_ref()
            .context("the group has no network of its own")
    }

    /// Client of node `i`.
    pub fn client(&self, i: usize) -> &Client {
        self.nodes[i].client()
    }

    /// Clients of all nodes.
    pub fn clients(&self) -> Vec<Client> {
        self.nodes
            .iter()
            .map(|node| node.client().clone())
            .collect()
    }

    /// Where node `i`, one of the first members, listens for its peers.
    pub fn cluster_address(&self, i: usize) -> anyhow::Result<&str> {
        let peer = self.peers.get(i).context("no such member")?;
        Ok(peer.split_once('=').context("a peer without an address")?.1)
    }

    /// Temporary directory of the group: data, logs, bucket, and whatever a test puts there.
    pub fn dir(&self) -> &Path {
        self.root.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// Directory of the shared file bucket.
    pub fn bucket_dir(&self) -> PathBuf {
        self.dir().join("bucket")
    }

    /// Waits until every node that runs holds the same samples of the default tenant, and answers them.
    pub async fn converged(&mut self) -> anyhow::Result<SampleSet> {
        let running: Vec<(String, Client)> = self
            .nodes
            .iter_mut()
            .filter_map(|node| {
                node.is_running()
                    .then(|| (node.name().to_owned(), node.client().clone()))
            })
            .collect();
        until("all replicas hold the same samples", async || {
            let mut sets = Vec::new();
            for (name, client) in &running {
                sets.push((
                    name,
                    client
                        .export()
                        .await
                        .with_context(|| format!("export of {name}"))?,
                ));
            }

            for pair in sets.windows(2) {
                first_differences((pair[0].0, &pair[0].1), (pair[1].0, &pair[1].1))?;
            }

            sets.pop().map(|(_, set)| set).context("no node runs")
        })
        .await
    }

    /// Stops every node that runs, all at once, and demands a clean exit of each. Only then a test has passed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if node.is_running() {
                node.signal(libc::SIGTERM)?;
            }
        }

        for node in &mut self.nodes {
            if node.is_running() {
                let status = node.ended().await?;
                anyhow::ensure!(status.success(), "{} stopped with {status}", node.name());
            }
        }

        self.has_passed = true;
        Ok(())
    }
}

impl Drop for Group {
    // The test harness captures these lines and shows them where a test failed.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if self.has_passed {
            return;
        }

        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!(
                "--- end of the log of {}:\n{}",
                node.name(),
                shown.join("\n")
            );
        }

        if std::env::var_os("TRIREME_KEEP").is_some() {
            eprintln!("--- kept: {:?}", self.root.take().map(TempDir::keep));
        }
    }
}
