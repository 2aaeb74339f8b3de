//! Nodes that are started and killed inside one test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use trireme_base::{Boot, Incarnation, NodeName, StreamId, SystemClock};
use trireme_replication::{
    DisconnectReason, GroupLimits, GroupView, LinkConfig, PeerIdentity, PeerLink,
};
use trireme_ring::Quorum;
use trireme_telemetry::discard_logger;
use trireme_wire::frame::RequestHead;

use super::memory::MemoryStore;
use crate::ReplicaStore as _;
use crate::{
    CallError, CallHandler, Calls, Hub, Lineage, LinkParts, LinkStatus, LocalNode, Mesh,
    MeshConfig, NoCalls, PeerAddress, PeerRole, run_link,
};

pub const WINDOW_BYTES: u64 = 256 << 10;

/// Answers call 1 with its body.
struct Echo;

impl CallHandler for Echo {
    fn call(
        &self,
        peer: &PeerIdentity,
        head: RequestHead,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        if head.kind == 1 {
            Box::pin(std::future::ready(Ok(body)))
        } else {
            NoCalls.call(peer, head, body)
        }
    }
}

struct Machine {
    store: Arc<MemoryStore>,
    port: std::net::TcpListener,
    address: String,
    boot: u32,
    running: Option<Running>,
}

struct Running {
    hub: Arc<Hub>,
    mesh: Arc<Mesh>,
    calls: Vec<(NodeName, Arc<Calls>)>,
    tasks: Vec<JoinHandle<()>>,
}

pub struct Cluster {
    machines: Vec<Machine>,
}

fn name(index: usize) -> NodeName {
    NodeName::new(&format!("n{index}"))
}

impl Cluster {
    pub async fn new() -> Self {
        Self {
            machines: (0..3)
                .map(|_| {
                    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
                    port.set_nonblocking(true).expect("supported");
                    let address = port.local_addr().expect("bound").to_string();
                    Machine {
                        store: Arc::default(),
                        port,
                        address,
                        boot: 0,
                        running: None,
                    }
                })
                .collect(),
        }
    }

    fn identity(&self, index: usize) -> PeerIdentity {
        let boot = Boot(self.machines[index].boot);
        PeerIdentity {
            node: name(index),
            incarnation: Incarnation(index as u64 + 1),
            boot,
        }
    }

    fn own(&self, index: usize) -> StreamId {
        self.identity(index).stream()
    }

    pub async fn start(&mut self, index: usize) {
        self.machines[index].boot += 1;
        let me = self.identity(index);
        let names: Vec<NodeName> = (0..3).map(name).collect();
        let quorum = Quorum::new(names.clone(), 3);
        let group = GroupView::new(
            me.clone(),
            quorum.clone(),
            names,
            GroupLimits::default(),
            Duration::ZERO,
        );

        let hub = Arc::new(Hub::new(group, 1 << 20));
        let machine = &self.machines[index];
        machine.store.boot(&me, quorum, &hub);

        let peers = (0..3).filter(|i| *i != index);
        let mut config = MeshConfig::new(
            peers
                .map(|i: usize| PeerAddress {
                    node: name(i),
                    role: PeerRole::Replica,
                    address: self.machines[i].address.clone(),
                })
                .collect(),
        );

        config.backoff_max = Duration::from_millis(100);
        let local = LocalNode {
            cluster: "test".into(),
            identity: me.clone(),
            epoch: 1,
            ring_hash: 1,
            shards: 4,
            lineage: Lineage::from(u64::from(me.boot.0)),
        };

        let clock = Arc::new(SystemClock::new());
        let mesh = Arc::new(Mesh::new(
            local,
            config,
            vec![hub.group().clone()],
            clock.clone(),
            discard_logger(),
        ));

        let mut tasks = Vec::new();

        let mut all_calls = Vec::new();
        for slot in mesh.slots() {
            let calls = Arc::new(Calls::new(10, 8 << 20));
            all_calls.push((slot.node().clone(), calls.clone()));
            let parts = LinkParts {
                slot: slot.clone(),
                store: machine.store.clone(),
                hub: hub.clone(),
                calls,
                handler: Arc::new(Echo),
                clock: clock.clone(),
                log: discard_logger(),
            };

            let link_config = LinkConfig {
                window_bytes: WINDOW_BYTES,
                ..LinkConfig::default()
            };
            let mut link = PeerLink::new(me.clone(), slot.node().clone(), link_config);

            tasks.push(tokio::spawn(async move {
                loop {
                    let connection = parts.slot.next().await;
                    run_link(&mut link, &parts, connection).await;
                }
            }));
        }

        let port = machine.port.try_clone().expect("a second handle");
        let running = Arc::clone(&mesh);
        tasks.push(tokio::spawn(async move {
            running
                .run(TcpListener::from_std(port).expect("nonblocking"))
                .await;
        }));

        self.machines[index].running = Some(Running {
            hub,
            mesh,
            calls: all_calls,
            tasks,
        });
    }

    pub fn kill(&mut self, index: usize) {
        let running = self.machines[index].running.take().expect("running");
        running.tasks.iter().for_each(JoinHandle::abort);
    }

    /// The disk is that of before the last start, which is forgotten with all that was written since.
    pub fn set_back(&mut self, index: usize) {
        self.machines[index].boot -= 1;
        self.machines[index].store = Arc::default();
    }

    /// What shows that the node's stream has another writer.
    pub async fn second_writer(&self, index: usize) -> DisconnectReason {
        self.machines[index]
            .running
            .as_ref()
            .expect("running")
            .hub
            .second_writer()
            .await
    }

    pub fn write(&self, index: usize, count: usize, bytes: usize) {
        self.store(index).write(self.own(index), count, bytes);
    }

    pub fn store(&self, index: usize) -> &MemoryStore {
        &self.machines[index].store
    }

    pub fn calls(&self, from: usize, to: usize) -> Arc<Calls> {
        let running = self.machines[from].running.as_ref().expect("running");
        running
            .calls
            .iter()
            .find(|(node, _)| *node == name(to))
            .expect("a peer")
            .1
            .clone()
    }

    pub fn connected(&self, from: usize, to: usize) -> bool {
        let group = self.machines[from]
            .running
            .as_ref()
            .expect("running")
            .hub
            .group()
            .lock();
        group
            .peers()
            .any(|(node, peer)| *node == name(to) && peer.connected)
    }

    pub fn status(&self, from: usize, to: usize) -> LinkStatus {
        let running = self.machines[from].running.as_ref().expect("running");
        running.mesh.slot(&name(to)).expect("a peer").status()
    }

    /// Waits until `done`; the test's own time limit is the bound.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        let waiting = async {
            let mut again = tokio::time::interval(Duration::from_millis(2));
            while !done(self) {
                again.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .expect("it never came");
    }

    pub async fn converged(&self) {
        self.converged_among(&[0, 1, 2]).await;
    }

    /// These stores are equal, and each node knows from its peers that they are.
    pub async fn converged_among(&self, nodes: &[usize]) {
        let positions = |c: &Self, n: usize| c.store(n).written();
        self.until(|c| {
            nodes
                .iter()
                .all(|n| positions(c, *n) == positions(c, nodes[0]))
        })
        .await;

        let first = self.store(nodes[0]).content();
        nodes
            .iter()
            .for_each(|n| assert!(self.store(*n).content() == first, "n{n} has other records"));
        self.until(|c| nodes.iter().all(|n| c.peers_report_level(*n, nodes)))
            .await;
    }

    fn peers_report_level(&self, index: usize, nodes: &[usize]) -> bool {
        let group = self.machines[index]
            .running
            .as_ref()
            .expect("running")
            .hub
            .group()
            .lock();

        let among = |node: &NodeName| nodes.iter().any(|n| name(*n) == *node);
        group
            .peers()
            .filter(|(node, _)| among(node))
            .all(|(_, peer)| peer.positions == *group.mine())
    }
}
