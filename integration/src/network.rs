//! A network of its own for a group: a namespace with an address for each node, and links that can be broken.
//!
//! The nodes hang on a bridge in the namespace of the test, which is where the clients are. A broken link drops
//! silently, as a bad cable does: what is sent to a peer goes to a hardware address that nobody has.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, ensure};

/// Port of the HTTP API in a namespace.
pub const HTTP_PORT: u16 = 19_291;
/// Port between the nodes.
pub const CLUSTER_PORT: u16 = 19_391;

/// Networks of this process so far.
static COUNT: AtomicU16 = AtomicU16::new(0);

/// A bridge and a namespace for each node; gone when dropped.
#[derive(Debug)]
pub struct Network {
    /// Part of all names, short enough for the names of interfaces.
    id: String,
    /// First three bytes of all addresses.
    subnet: String,
    nodes: usize,
}

/// Runs `ip` with these words.
fn ip(words: &str) -> anyhow::Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| program.to_owned())?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {words}: {}",
        text.trim_end()
    );

    Ok(())
}

impl Network {
    /// Why networks cannot be made here, if they cannot.
    pub fn missing() -> Option<String> {
        // SAFETY: asks for a number.
        if unsafe { libc::geteuid() } != 0 {
            return Some("needs root for network namespaces".to_owned());
        }
        if let Err(error) = run("ip", "-Version").and_then(|()| run("tc", "-Version")) {
            return Some(format!("needs iproute2: {error:#}"));
        }

        Self::new(1)
            .err()
            .map(|error| format!("network namespaces do not work here: {error:#}"))
    }

    /// A network for `nodes` nodes.
    pub fn new(nodes: usize) -> anyhow::Result<Self> {
        let process = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);

        // Processes that run at the same time have ids of their own; the subnet is as good as they let it be.
        let number = (process as u16).wrapping_mul(31).wrapping_add(count);
        let network = Self {
            id: format!("{:x}{count:x}", process & 0xf_ffff),
            subnet: format!("10.{}.{}", 64 + (number >> 8 & 0x3f), number & 0xff),
            nodes,
        };

        network.build().inspect_err(|_| network.remove())?;
        Ok(network)
    }

    fn build(&self) -> anyhow::Result<()> {
        let bridge = self.bridge();
        let subnet = &self.subnet;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {subnet}.254/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;

        for node in 0..self.nodes {
            let space = self.namespace(node);
            let port = self.port(node);
            let address = self.address(node);
            ip(&format!("netns add {space}"))?;
            ip(&format!(
                "link add {port} type veth peer name eth0 netns {space}"
            ))?;
            ip(&format!("link set {port} master {bridge} up"))?;
            ip(&format!("-n {space} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }

        Ok(())
    }

    fn bridge(&self) -> String {
        format!("tr{}b", self.id)
    }

    fn port(&self, node: usize) -> String {
        format!("tr{}p{node}", self.id)
    }

    /// Name of a node's namespace.
    pub fn namespace(&self, node: usize) -> String {
        format!("tr{}n{node}", self.id)
    }

    /// A node's address.
    pub fn address(&self, node: usize) -> String {
        format!("{}.{}", self.subnet, node + 1)
    }

    /// Takes a node off the network.
    pub fn isolate(&self, node: usize) -> anyhow::Result<()> {
        ip(&format!("link set {} down", self.port(node)))
    }

    /// Puts it back.
    pub fn rejoin(&self, node: usize) -> anyhow::Result<()> {
        ip(&format!("link set {} up", self.port(node)))
    }

    /// From now on nothing that `from` sends reaches `to`; the other direction goes on.
    pub fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let space = self.namespace(from);
        let address = self.address(to);
        ip(&format!(
            "-n {space} neigh replace {address} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"
        ))
    }

    /// Mends what [`Network::cut`] broke; no error if it was whole.
    pub fn mend(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let space = self.namespace(from);
        let address = self.address(to);
        let _ = ip(&format!("-n {space} neigh del {address} dev eth0"));
        Ok(())
    }

    /// From now on nothing that `from` sends reaches the clients.
    pub fn mute(&self, from: usize) -> anyhow::Result<()> {
        let space = self.namespace(from);
        let subnet = &self.subnet;
        ip(&format!(
            "-n {space} neigh replace {subnet}.254 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"
        ))
    }

    /// Mends what [`Network::mute`] broke.
    pub fn unmute(&self, from: usize) -> anyhow::Result<()> {
        let space = self.namespace(from);
        let subnet = &self.subnet;
        ip(&format!("-n {space} neigh del {subnet}.254 dev eth0"))
    }

    /// Bounds what a node can send.
    pub fn throttle(&self, node: usize, rate: &str) -> anyhow::Result<()> {
        let space = self.namespace(node);
        run(
            "tc",
            &format!(
                "-n {space} qdisc replace dev eth0 root tbf rate {rate} burst 64kbit latency 400ms"
            ),
        )
    }

    /// Ends the bound.
    pub fn unthrottle(&self, node: usize) -> anyhow::Result<()> {
        run(
            "tc",
            &format!("-n {} qdisc del dev eth0 root", self.namespace(node)),
        )
    }

    fn remove(&self) {
        for node in 0..self.nodes {
            let _ = ip(&format!("netns del {}", self.namespace(node)));
            // The pair goes with the namespace, but only once its last process is gone.
            let _ = ip(&format!("link del {}", self.port(node)));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}
