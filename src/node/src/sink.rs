//! What the HTTP API needs of the node: writes, health, a place to compute.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use trireme_actors::{Evaluate, evaluate};
use trireme_api::{Health, Readiness, ReplayStatus, Runner, WriteSink};
use trireme_base::Clock;
use trireme_mailbox::Port;
use trireme_model::{Tenant, WriteOutcome};
use trireme_query::QueryError;
use trireme_storage::{GateState, ReplayProgress, Store};
use trireme_wire::batch::Batch;
use trireme_write::WritePath;

use crate::tenants::TenantGate;

/// Writes go to the node's write path.
pub(crate) struct Sink {
    pub(crate) writes: Arc<WritePath>,
    pub(crate) tenants: Arc<TenantGate>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl WriteSink for Sink {
    async fn write(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        let items = batch.samples.len() + batch.histograms.len() + batch.exemplars.len();
        if let Some(refused) = self
            .tenants
            .refuse(&tenant, items as u64, self.clock.monotonic())
        {
            return refused;
        }

        self.writes.write(tenant, batch).await
    }
}

/// Readiness is the write gate's: a node that takes writes may still be replaying its log.
pub(crate) struct StoreHealth(pub(crate) Arc<Store>);

impl Health for StoreHealth {
    fn healthy(&self) -> bool {
        true
    }

    fn ready(&self) -> Readiness {
        match self.0.parts().gate.state() {
            GateState::Open => Readiness::Ready,
            state => Readiness::NotReady(state.reason().to_owned()),
        }
    }

    fn stopping(&self) -> bool {
        matches!(
            self.0.parts().gate.state(),
            GateState::Draining | GateState::Stopping
        )
    }

    fn replay(&self) -> ReplayStatus {
        let ReplayProgress {
            first,
            last,
            current,
            done,
        } = self.0.replay().progress();
        ReplayStatus {
            first,
            last,
            current,
            done,
        }
    }
}

/// Queries run through the `QueryShard` actor.
pub(crate) struct QueryRunner {
    pub(crate) port: Port<Evaluate>,
    pub(crate) deadline: Duration,
}

#[async_trait]
impl Runner for QueryRunner {
    async fn run(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), QueryError> {
        let done = evaluate(&self.port, self.deadline, job).await;
        done.map_err(|error| QueryError::new(error.kind(), error.to_string()))
    }
}
