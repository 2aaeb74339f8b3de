//! What keeps Raft in step with the ring: founding it, and letting its members vote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};
use slog::{info, warn};
use trireme_base::NodeName;
use trireme_ring::{Ring, voter_id, voters};

use super::Consensus;
use crate::types::Command;

/// Time between looks.
const EVERY: Duration = Duration::from_millis(500);

impl Consensus {
    /// Founds the ring where there is none, and keeps voters and learners as the ring says, until dropped.
    pub async fn run(&self) {
        let mut complained = String::new();
        loop {
            let problem = self.round().await.err().unwrap_or_default();
            if problem != complained {
                if !problem.is_empty() {
                    warn!(self.log, "ring consensus has to wait"; "reason" => &problem);
                }
                complained = problem;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn round(&self) -> Result<(), String> {
        if self
            .disk
            .look(|state| state.is_blank() && !state.forgetful)
            .await
        {
            return self.found().await;
        }

        if !self.leads() {
            return Ok(());
        }

        let ring = self.disk.look(|state| state.machine.ring.clone()).await;
        match ring {
            None => {
                let ring = (*self.book.current()).clone();
                let founded = self.write(Command::Found(ring)).await;
                founded.map(drop).map_err(|e| e.to_string())
            }
            Some(ring) => self.follow(&ring).await,
        }
    }

    /// A node without a log founds the ring together with the others, or finds that it was founded without it.
    ///
    /// All founders start from the same list of members, that of the settings, so it does not matter how many of them
    /// do it. A node that comes later must not: it may have voted before its disk was wiped.
    async fn found(&self) -> Result<(), String> {
        let ring = self.book.current();
        let statuses = self.statuses().await;
        if statuses.values().any(|status| status.founded) {
            return self.came_late().await;
        }

        let founders = voters(&ring);
        let here = founders
            .iter()
            .filter(|n| **n == self.me || statuses.contains_key(*n))
            .count();
        if ring.epoch != 1 || !founders.contains(&self.me) || here * 2 <= founders.len() {
            return Ok(());
        }

        let members: BTreeMap<u64, BasicNode> =
            founders.iter().map(|name| self.node(name)).collect();

        // Refused where a message of another founder came first, which is as good.
        let _ = self.raft.initialize(members).await;
        info!(self.log, "founding the ring"; "voters" => founders.len());

        Ok(())
    }

    /// Makes Raft's members those of the ring.
    async fn follow(&self, ring: &Ring) -> Result<(), String> {
        let (known, voting) = self.members();

        let present = present_in(ring);
        let missing: BTreeMap<u64, BasicNode> = present
            .iter()
            .filter(|node| !known.contains(&voter_id(node)))
            .map(|node| self.node(node))
            .collect();
        if !missing.is_empty() {
            return self.change(ChangeMembers::AddNodes(missing)).await;
        }

        let wanted: BTreeSet<u64> = voters(ring).iter().map(voter_id).collect();
        if wanted != voting && !wanted.is_empty() {
            return self.change(ChangeMembers::ReplaceAllVoters(wanted)).await;
        }

        let present: BTreeSet<u64> = present.iter().map(voter_id).collect();
        let gone: BTreeSet<u64> = known.difference(&present).copied().collect();
        if !gone.is_empty() {
            return self.change(ChangeMembers::RemoveNodes(gone)).await;
        }

        Ok(())
    }

    /// Raft's members, and those of them that vote.
    fn members(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let known: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
        (known, membership.voter_ids().collect::<BTreeSet<u64>>())
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), String> {
        let changed = tokio::time::timeout(
            super::DECISION_TIMEOUT,
            self.raft.change_membership(change, true),
        );
        match changed.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("voters cannot be changed: {error}")),
            Err(_) => Err("voters are not changed yet: a majority has to answer".to_owned()),
        }
    }
}

fn present_in(ring: &Ring) -> Vec<NodeName> {
    ring.groups
        .iter()
        .flat_map(|g| g.present())
        .map(|m| m.node.clone())
        .collect()
}
