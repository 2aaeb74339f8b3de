//! One scenario: a group, senders, a verdict and a report.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use trireme_integration::{
    Audit, Client, Group, GroupBuilder, History, Network, Outcome, Plan, Senders, left_out, until,
    until_for,
};

use super::scale;

/// After the heal every replica must have everything within this time.
const CONVERGENCE_BOUND: Duration = Duration::from_secs(180);

/// A scenario under way.
pub struct Scenario {
    id: &'static str,
    what: &'static str,
    /// The nodes.
    pub group: Group,
    /// What a replica has to hold itself; without it, what it answers counts, with the bucket's help.
    pub is_local: bool,
    /// The nodes that must have everything in the end, if not all of them.
    pub audited: Option<Vec<usize>>,
    begun: Instant,
    figures: BTreeMap<String, Json>,
    criteria: Vec<(String, bool)>,
}

impl Scenario {
    /// A group of three in a network of its own, not started; nothing where that is not possible.
    pub fn prepare(
        id: &'static str,
        what: &'static str,
        change: impl FnOnce(GroupBuilder) -> GroupBuilder,
    ) -> anyhow::Result<Option<Self>> {
        if let Some(reason) = Network::missing() {
            left_out(&format!("chaos {id}"), &reason);
            return Ok(None);
        }
        Self::of(id, what, change(Group::of(3).in_network())).map(Some)
    }

    /// As [`Scenario::prepare`], with ports of this machine instead of a network, so that nodes can be added.
    pub fn on_loopback(
        id: &'static str,
        what: &'static str,
        change: impl FnOnce(GroupBuilder) -> GroupBuilder,
    ) -> anyhow::Result<Self> {
        Self::of(id, what, change(Group::of(3)))
    }

    fn of(id: &'static str, what: &'static str, builder: GroupBuilder) -> anyhow::Result<Self> {
        // The audit exports tens of millions of samples in one answer.
        let group = builder
            .set("tenants.limits.series_max=0")
            .set("query.timeout=15m")
            .prepare()?;
        let figures = BTreeMap::new();
        let criteria = Vec::new();
        let begun = Instant::now();

        Ok(Self {
            id,
            what,
            group,
            is_local: true,
            audited: None,
            begun,
            figures,
            criteria,
        })
    }

    /// As [`Scenario::prepare`], with all nodes running and ready.
    pub async fn start(
        id: &'static str,
        what: &'static str,
        change: impl FnOnce(GroupBuilder) -> GroupBuilder,
    ) -> anyhow::Result<Option<Self>> {
        let Some(mut scenario) = Self::prepare(id, what, change)? else {
            return Ok(None);
        };
        scenario.start_all().await?;
        Ok(Some(scenario))
    }

    /// Starts every node and waits until each is ready.
    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        for node in 0..self.group.nodes().len() {
            self.group.node(node).start()?;
        }
        for node in 0..self.group.nodes().len() {
            self.group.node(node).ready().await?;
        }
        Ok(())
    }

    /// Senders to all nodes, once the first requests of each are through.
    pub async fn load(&self, plan: &Plan) -> anyhow::Result<Senders> {
        let senders = Senders::start(&self.group.clients(), plan);
        progress(&senders, plan.senders as u64).await?;
        Ok(senders)
    }

    /// Waits until a node has every record that its peers have.
    pub async fn level(&self, node: usize) -> anyhow::Result<()> {
        let client = self.group.client(node);
        until_for(
            "the node is level with its peers",
            CONVERGENCE_BOUND,
            async || {
                let state = client
                    .send(client.get("/api/v1/admin/replication"))
                    .await?
                    .success()?;
                let state: Json = serde_json::from_str(&state.body)?;
                let streams = state["streams"].as_array().context("no streams")?;
                let behind: u64 = streams
                    .iter()
                    .filter_map(|row| row["records_behind"].as_u64())
                    .sum();
                let peers = state["peers"].as_array().context("no peers")?;
                ensure!(
                    peers.iter().all(|peer| peer["connected"] == true),
                    "a peer is not connected"
                );

                // Load goes on meanwhile.
                ensure!(behind < 50, "{behind} records behind");
                Ok(())
            },
        )
        .await
    }

    /// Notes a number or a text for the report.
    pub fn figure(&mut self, name: &str, value: impl Into<Json>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Notes whether something that must hold does.
    pub fn must(&mut self, what: impl Into<String>, holds: bool) {
        self.criteria.push((what.into(), holds));
    }

    /// Ends the senders and waits until every replica holds everything acknowledged exactly once and all hold the
    /// same.
    pub async fn settle(&mut self, senders: Senders) -> anyhow::Result<Vec<History>> {
        let (histories, totals) = senders.stop().await?;
        self.figure("senders", serde_json::to_value(&totals)?);
        let latencies = latencies(&histories, 0);

        self.figure("latency_p50_ms", percentile(&latencies, 0.50));
        self.figure("latency_p99_ms", percentile(&latencies, 0.99));
        let acknowledged: usize = histories
            .iter()
            .map(|h| h.series * h.count(Outcome::Acknowledged))
            .sum();

        self.figure("samples_acknowledged", acknowledged);
        self.must("no request was refused for good", totals.rejected == 0);
        let mut clients = self.group.clients();
        let is_local = self.is_local;

        if let Some(audited) = &self.audited {
            clients = audited
                .iter()
                .map(|node| self.group.client(*node).clone())
                .collect();
        }

        let healed = Instant::now();
        let held = until_for(
            "every replica holds everything",
            CONVERGENCE_BOUND,
            async || same_everywhere(&clients, &histories, is_local).await,
        )
        .await;

        self.figure("converged_after_ms", healed.elapsed().as_millis() as u64);
        match held {
            Ok(held) => self.figure("samples_held", held),
            Err(error) => {
                self.figure("difference", format!("{error:#}"));
                self.must(
                    "every replica holds every acknowledged sample exactly once, and all hold the same",
                    false,
                );
                return Ok(histories);
            }
        }

        self.must(
            "every replica holds every acknowledged sample exactly once, and all hold the same",
            true,
        );

        Ok(histories)
    }

    /// Writes the report, stops the nodes, and fails if anything that must hold does not.
    pub async fn finish(self) -> anyhow::Result<()> {
        let failed: Vec<&String> = self
            .criteria
            .iter()
            .filter(|(_, holds)| !holds)
            .map(|(what, _)| what)
            .collect();

        let passed = failed.is_empty();
        let criteria: Vec<Json> = self
            .criteria
            .iter()
            .map(|(what, holds)| json!({ "must": what, "holds": holds }))
            .collect();

        let report = json!({
            "scenario": self.id,
            "what": self.what,
            "form": scale::either("short", "full"),
            "passed": passed,
            "seconds": self.begun.elapsed().as_secs_f64(),
            "criteria": criteria,
            "figures": self.figures,
        });

        println!("{report:#}");
        if let Some(dir) = std::env::var_os("TRIREME_CHAOS_REPORT") {
            let dir = std::path::PathBuf::from(dir);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(
                dir.join(format!("{}.json", self.id)),
                format!("{report:#}\n"),
            )?;
        }

        ensure!(
            passed,
            "{}: {failed:?}; {:?}",
            self.id,
            self.figures.get("difference")
        );

        self.group.stop().await
    }
}

/// Waits until `more` further requests are acknowledged.
pub async fn progress(senders: &Senders, more: u64) -> anyhow::Result<()> {
    let wanted = senders.totals().await.acknowledged + more;
    until("requests are acknowledged", async || {
        let totals = senders.totals().await;
        ensure!(totals.acknowledged >= wanted, "{totals:?}");
        Ok(())
    })
    .await
}

/// Audits every node against the histories and the nodes against each other; answers how many samples each holds.
async fn same_everywhere(
    clients: &[Client],
    histories: &[History],
    is_local: bool,
) -> anyhow::Result<u64> {
    let mut first: Option<Audit> = None;
    for (node, client) in clients.iter().enumerate() {
        let audit = Audit::of(client, histories, 0, is_local)
            .await
            .with_context(|| format!("node {node}"))?;

        audit.clean().with_context(|| format!("node {node}"))?;
        if let Some(first) = &first {
            let same = (first.digest, first.held) == (audit.digest, audit.held);
            ensure!(
                same,
                "node {node} holds {} samples, node 0 {}",
                audit.held,
                first.held
            );
        }

        first.get_or_insert(audit);
    }

    Ok(first.map_or(0, |audit| audit.held))
}

/// Latencies of acknowledged requests whose samples are at or behind `from_ms`, ascending.
pub fn latencies(histories: &[History], from_ms: i64) -> Vec<u32> {
    let requests = histories.iter().flat_map(|history| &history.requests);
    let mut all: Vec<u32> = requests
        .filter(|r| r.outcome == Outcome::Acknowledged && r.timestamp_ms >= from_ms)
        .map(|r| r.latency_ms)
        .collect();
    all.sort_unstable();
    all
}

/// The value at a share of a sorted list.
pub fn percentile(sorted: &[u32], share: f64) -> u32 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}
