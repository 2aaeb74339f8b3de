//! Senders that behave like Prometheus: they repeat a request until it is answered 2xx or 4xx, and remember everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::history::{History, Outcome};
use crate::protocol::write_body;
use crate::wait::now_ms;

/// Between rounds of attempts, doubled with each up to the longest, as Prometheus does it.
const BACKOFF: Duration = Duration::from_millis(30);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Which nodes a sender uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Sender `k` knows only node `k` (modulo the number of nodes).
    Home,
    /// Sender `k` prefers node `k` and tries the others, at once, when that one fails: what a front does.
    Front,
    /// Every request begins at the next node.
    Turns,
}

/// What a set of senders is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Number of senders.
    pub senders: usize,
    /// Series, and so samples, of each request.
    pub series: usize,
    /// From the begin of a request to the begin of the next.
    pub every: Duration,
    /// Where requests go.
    pub route: Route,
    /// Tenants, given to senders in turn; empty means the default tenant.
    pub tenants: Vec<String>,
    /// How long an attempt may take before the next node is tried.
    pub attempt_timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            senders: 3,
            series: 100,
            every: Duration::from_millis(50),
            route: Route::Front,
            tenants: Vec::new(),
            attempt_timeout: Duration::from_secs(5),
        }
    }
}

/// Counts over all senders.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Totals {
    /// Requests answered 2xx.
    pub acknowledged: u64,
    /// Requests refused for good.
    pub rejected: u64,
    /// Attempts answered with a status that asks for another try.
    pub refused_attempts: u64,
    /// Attempts without an answer: nobody listened, or it took too long.
    pub broken_attempts: u64,
    /// Of these, attempts whose connection ended while it was used: a front cannot know whether to repeat them.
    pub interrupted_attempts: u64,
    /// Times that every node a sender knows failed in turn: a front would have had to answer 5xx.
    pub failed_rounds: u64,
    /// The last refusal's status and text.
    pub last_refusal: String,
}

struct Shared {
    is_over: AtomicBool,
    /// Added to the clock of every sender.
    skew_ms: AtomicI64,
    totals: Mutex<Totals>,
    histories: Vec<Mutex<History>>,
}

/// Senders that run until they are stopped.
pub struct Senders {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Senders {
    /// Starts them.
    pub fn start(clients: &[Client], plan: &Plan) -> Self {
        Self::start_named("", clients, plan)
    }

    /// As [`Senders::start`]; `prefix` keeps several sets of senders in one test apart.
    pub fn start_named(prefix: &str, clients: &[Client], plan: &Plan) -> Self {
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            skew_ms: AtomicI64::new(0),
            totals: Mutex::default(),
            histories: (0..plan.senders)
                .map(|k: usize| {
                    let tenant = plan
                        .tenants
                        .get(k % plan.tenants.len().max(1))
                        .map(String::as_str);
                    Mutex::new(History::new(&format!("{prefix}s{k}"), tenant, plan.series))
                })
                .collect(),
        });

        let tasks = (0..plan.senders)
            .map(|k: usize| {
                let sender = Sender {
                    k,
                    clients: clients.to_vec(),
                    plan: plan.clone(),
                    shared: Arc::clone(&shared),
                };
                tokio::spawn(sender.run())
            })
            .collect();

        Self { shared, tasks }
    }

    /// Counts so far.
    pub async fn totals(&self) -> Totals {
        self.shared.totals.lock().await.clone()
    }

    /// Lets the senders' clocks go wrong by this much from now on.
    pub fn skew(&self, skew_ms: i64) {
        self.shared.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// The histories so far; requests on their way are unknown.
    pub async fn histories(&self) -> Vec<History> {
        let mut all = Vec::new();
        for history in &self.shared.histories {
            all.push(history.lock().await.clone());
        }
        all
    }

    /// Ends the senders; what is on its way is tried to its end for a last time.
    pub async fn stop(self) -> anyhow::Result<(Vec<History>, Totals)> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let histories = Arc::clone(&self.shared);
        let totals = Arc::clone(&self.shared);

        for task in self.tasks {
            task.await??;
        }

        let mut all = Vec::new();
        for history in &histories.histories {
            all.push(history.lock().await.clone());
        }

        Ok((all, totals.totals.lock().await.clone()))
    }
}

struct Sender {
    k: usize,
    clients: Vec<Client>,
    plan: Plan,
    shared: Arc<Shared>,
}

impl Sender {
    async fn run(self) -> anyhow::Result<()> {
        let history = &self.shared.histories[self.k];
        let mut all = history.lock().await.all_series();

        let mut due = Instant::now();
        while !self.is_over() {
            let skew_ms = self.shared.skew_ms.load(Ordering::Relaxed);
            let number = history.lock().await.begin(now_ms() + skew_ms, &mut all);
            let body = write_body(&all)?;
            let begun = Instant::now();
            let outcome = self.deliver(number, body).await;
            let request = &mut history.lock().await.requests[number];
            (request.outcome, request.latency_ms) = (outcome, begun.elapsed().as_millis() as u32);
            due = (due + self.plan.every).max(Instant::now() - self.plan.every);
            tokio::time::sleep_until(due).await;
        }

        Ok(())
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }

    /// Nodes in the order in which request `number` tries them.
    fn order(&self, number: usize) -> Vec<&Client> {
        let n = self.clients.len();
        let first = match self.plan.route {
            Route::Home | Route::Front => self.k % n,
            Route::Turns => (self.k + number) % n,
        };
        let width = if self.plan.route == Route::Home { 1 } else { n };

        (0..width)
            .map(|step| &self.clients[(first + step) % n])
            .collect()
    }

    /// Tries until an answer says something, or the senders are stopped.
    async fn deliver(&self, number: usize, body: Vec<u8>) -> Outcome {
        let order = self.order(number);
        let mut backoff = BACKOFF;

        let mut is_first = true;
        loop {
            for client in &order {
                match self.attempt(client, body.clone()).await {
                    // An attempt before may have stored it.
                    Some(Outcome::Rejected) if !is_first => return Outcome::Unknown,
                    Some(outcome) => return outcome,
                    None => is_first = false,
                }
            }

            self.shared.totals.lock().await.failed_rounds += 1;
            if self.is_over() {
                return Outcome::Unknown;
            }

            tokio::time::sleep(backoff).await;
            backoff = (2 * backoff).min(BACKOFF_MAX);
        }
    }

    async fn attempt(&self, client: &Client, body: Vec<u8>) -> Option<Outcome> {
        let mut request = client
            .write_builder("/api/v1/receive", body)
            .timeout(self.plan.attempt_timeout);

        if let Some(tenant) = self
            .plan
            .tenants
            .get(self.k % self.plan.tenants.len().max(1))
        {
            request = request.header("THANOS-TENANT", tenant);
        }

        let answer = client.send(request).await;

        let mut totals = self.shared.totals.lock().await;
        match answer {
            Ok(answer) if answer.is_success() => {
                totals.acknowledged += 1;
                Some(Outcome::Acknowledged)
            }
            Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                totals.refused_attempts += 1;
                totals.last_refusal = format!("{}: {}", answer.status, answer.body.trim_end());
                None
            }
            Ok(answer) => {
                totals.rejected += 1;
                totals.last_refusal = format!("{}: {}", answer.status, answer.body.trim_end());
                Some(Outcome::Rejected)
            }
            Err(error) => {
                totals.broken_attempts += 1;
                totals.interrupted_attempts += u64::from(was_interrupted(&error));
                None
            }
        }
    }
}

/// True unless the connection was never made or the answer only took too long.
fn was_interrupted(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<reqwest::Error>()
        .is_none_or(|error| !error.is_connect() && !error.is_timeout())
}
