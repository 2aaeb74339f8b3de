//! Starts actors and starts them anew when they die.
//!
//! A dead actor is never revived: its slot's start function builds a new one from what is on disk and points the ports
//! at it. Actors that keep dying stop the node in order, because a node that flaps serves its senders worse than one
//! that is away.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGaugeVec};
use slog::{Logger, crit, error, info, o, warn};
use tokio::sync::{mpsc, oneshot};
use trireme_base::{Backoff, Clock};

use crate::canary::{Canary, Morgue};
use crate::policy::{ActorKind, Policy, policy};

/// A running actor, as far as its supervisor cares.
pub struct Started {
    /// Makes it panic.
    pub crash: Box<dyn Fn() + Send>,
}

/// Why an actor did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Trying again may help.
    #[error("{0}")]
    Retry(String),
    /// Only a new start of the process helps.
    #[error("{0}")]
    Fatal(String),
}

type StartFuture = Pin<Box<dyn Future<Output = Result<Started, StartError>>>>;
/// Builds and starts an actor, and points its ports at it.
pub type Start = Box<dyn Fn(Canary) -> StartFuture>;

struct Slot {
    name: String,
    policy: &'static Policy,
    start: Start,
    dead: Arc<AtomicBool>,
    restarts: VecDeque<Duration>,
    backoff: Backoff,
}

/// What the tree needs from the node.
pub struct SupervisorParts {
    /// Time for the restart budget.
    pub clock: Arc<dyn Clock>,
    /// Parent of the actors' loggers.
    pub log: Logger,
    /// `trireme_actor_restarts_total{actor}`.
    pub restarts: IntCounterVec,
    /// `trireme_actor_up{actor}`.
    pub up: IntGaugeVec,
    /// Called once with the reason if an actor cannot be kept running.
    pub give_up: Box<dyn Fn(String)>,
}

/// Orders that may wait.
const ORDERS_MAX: usize = 64;

enum Order {
    Add {
        kind: ActorKind,
        name: String,
        start: Start,
    },
    Forget {
        name: String,
        done: oneshot::Sender<()>,
    },
}

/// Adds and releases actors while the tree runs. Stays on the tree's thread, as actors do.
#[derive(Clone)]
pub struct SupervisorDoor(mpsc::Sender<Order>);

impl SupervisorDoor {
    /// Starts an actor and keeps it running.
    pub async fn add(&self, kind: ActorKind, name: &str, start: Start) {
        // Without a tree there is nothing to keep running any more.
        let _ = self
            .0
            .send(Order::Add {
                kind,
                name: name.to_owned(),
                start,
            })
            .await;
    }

    /// From now on the actor may end and is not started again.
    pub async fn forget(&self, name: &str) {
        let (done, forgotten) = oneshot::channel();
        if self
            .0
            .send(Order::Forget {
                name: name.to_owned(),
                done,
            })
            .await
            .is_ok()
        {
            let _ = forgotten.await;
        }
    }
}

type Crashers = Arc<Mutex<Vec<(String, Box<dyn Fn() + Send>)>>>;

/// The tree: one level, in the order in which slots were added.
pub struct Supervisor {
    parts: SupervisorParts,
    morgue: Arc<Morgue>,
    slots: Vec<Slot>,
    crashers: Crashers,
    door: SupervisorDoor,
    orders: mpsc::Receiver<Order>,
}

/// Lets the rest of the node stop the tree or crash an actor.
#[derive(Clone)]
pub struct SupervisorHandle {
    morgue: Arc<Morgue>,
    crashers: Crashers,
}

impl SupervisorHandle {
    /// Actors may end from now on.
    pub fn expect_end(&self) {
        self.morgue.close();
    }

    /// Makes the named actor panic; false if there is none of that name.
    pub fn crash(&self, name: &str) -> bool {
        let crashers = self.crashers.lock();
        let found = crashers.iter().find(|(n, _)| n == name);
        if let Some((_, crash)) = found {
            crash();
        }
        found.is_some()
    }

    /// Names of all actors.
    pub fn names(&self) -> Vec<String> {
        self.crashers
            .lock()
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Supervisor {
    /// A tree without actors.
    pub fn new(parts: SupervisorParts) -> Self {
        let (door, orders) = mpsc::channel(ORDERS_MAX);
        let door = SupervisorDoor(door);
        Self {
            parts,
            morgue: Arc::default(),
            slots: Vec::new(),
            crashers: Arc::default(),
            door,
            orders,
        }
    }

    /// A way to add and release actors while the tree runs.
    pub fn door(&self) -> SupervisorDoor {
        self.door.clone()
    }

    /// A handle that stays valid while the tree runs.
    pub fn handle(&self) -> SupervisorHandle {
        SupervisorHandle {
            morgue: Arc::clone(&self.morgue),
            crashers: Arc::clone(&self.crashers),
        }
    }

    /// Starts an actor and keeps it running. `name` is unique, for example `ingest-2`.
    pub async fn add(
        &mut self,
        kind: ActorKind,
        name: &str,
        start: Start,
    ) -> Result<(), StartError> {
        let seed = self.slots.len() as u64;
        let mut slot = Slot {
            name: name.to_owned(),
            policy: policy(kind),
            start,
            dead: Arc::default(),
            restarts: VecDeque::new(),
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(2), seed),
        };

        // Both series exist from the start, so that a first restart shows as an increase.
        self.parts.restarts.with_label_values(&[name]).inc_by(0);
        self.start(&mut slot).await?;
        self.slots.push(slot);

        Ok(())
    }

    async fn start(&self, slot: &mut Slot) -> Result<(), StartError> {
        let (canary, dead) = Canary::new(Arc::clone(&self.morgue));
        slot.dead = dead;
        let started = (slot.start)(canary).await?;
        let mut crashers = self.crashers.lock();

        crashers.retain(|(name, _)| *name != slot.name);
        crashers.push((slot.name.clone(), started.crash));
        self.parts.up.with_label_values(&[&slot.name]).set(1);

        Ok(())
    }

    /// Restarts what dies, until [`SupervisorHandle::expect_end`].
    pub async fn run(mut self) {
        loop {
            let order = tokio::select! {
                () = self.morgue.changed() => None,
                order = self.orders.recv() => order,
            };
            if self.morgue.is_closed() {
                return;
            }

            if let Some(order) = order {
                self.obey(order).await;
            }

            let mut slots = std::mem::take(&mut self.slots);
            for slot in slots.iter_mut().filter(|s| s.dead.load(Ordering::SeqCst)) {
                if let Err(reason) = self.restart(slot).await {
                    crit!(self.parts.log, "actor cannot be kept running"; "actor" => &slot.name, "reason" => &reason);
                    (self.parts.give_up)(format!("actor {}: {reason}", slot.name));
                    return;
                }
            }

            self.slots = slots;
            if self.slots.iter().any(|s| s.dead.load(Ordering::SeqCst)) {
                // Died again while others were started: look once more without waiting for news.
                self.morgue.wake();
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Add { kind, name, start } => match self.add(kind, &name, start).await {
                Ok(()) => info!(self.parts.log, "actor added"; "actor" => name),
                Err(err) => {
                    error!(self.parts.log, "actor did not start"; "actor" => name, "err" => %err)
                }
            },
            Order::Forget { name, done } => {
                self.slots.retain(|slot| slot.name != name);
                self.crashers.lock().retain(|(known, _)| *known != name);
                // A series of an actor that is gone on purpose would look like one that is down.
                let _ = self.parts.up.remove_label_values(&[&name]);
                info!(self.parts.log, "actor released"; "actor" => name);
                let _ = done.send(());
            }
        }
    }

    async fn restart(&self, slot: &mut Slot) -> Result<(), String> {
        self.parts.up.with_label_values(&[&slot.name]).set(0);
        loop {
            let now = self.parts.clock.monotonic();
            while slot
                .restarts
                .front()
                .is_some_and(|at| now.saturating_sub(*at) > Duration::from_secs(60))
            {
                slot.restarts.pop_front();
            }

            if slot.restarts.is_empty() {
                slot.backoff.reset();
            }

            if slot.restarts.len() >= slot.policy.restarts_per_minute_max {
                return Err(format!(
                    "died {} times within a minute",
                    slot.restarts.len() + 1
                ));
            }

            slot.restarts.push_back(now);
            self.parts.restarts.with_label_values(&[&slot.name]).inc();
            let wait = slot.backoff.next_wait();

            warn!(self.parts.log, "actor died, starting a new one";
                "actor" => &slot.name, "attempt" => slot.restarts.len(), "elapsed_ms" => wait.as_millis() as u64);
            tokio::time::sleep(wait).await;

            if self.morgue.is_closed() {
                return Ok(());
            }

            match self.start(slot).await {
                Ok(()) => {
                    info!(self.parts.log, "actor runs again"; "actor" => &slot.name);
                    return Ok(());
                }
                // Waiting cannot help, and nobody may go on with what it left.
                Err(StartError::Fatal(reason)) => return Err(reason),
                Err(err) => {
                    error!(self.parts.log, "actor did not start"; "actor" => &slot.name, "err" => %err)
                }
            }
        }
    }

    /// Logger for an actor of the tree.
    pub fn logger(&self, name: &str) -> Logger {
        self.parts.log.new(o!("actor" => name.to_owned()))
    }
}
