//! Closes the write gate while this node's clock is wrong.
//!
//! A node whose clock is behind would refuse every live sample as too far in the future, for good: senders drop what is
//! answered 400. While a majority of the group says that the clock is wrong, others take the writes, or the sender repeats
//! them (503).

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use slog::{Logger, error, info};
use trireme_base::Clock;
use trireme_replication::ClockWord;
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::Hub;

use crate::gate::Gate;

/// How often the clock is looked at; a write that is refused looks as well.
pub const CLOCK_EVERY: Duration = Duration::from_millis(100);

/// Metrics of the clock.
pub struct ClockMetrics {
    ahead_ms: IntGauge,
    wrong: IntGauge,
}

impl ClockMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            ahead_ms: metrics.gauge(
                "trireme_clock_ahead_milliseconds",
                "How far this node's clock is ahead of that of the majority of its group; 0 while they agree.",
            )?,
            wrong: metrics.gauge(
                "trireme_clock_wrong",
                "1 while a majority of the group contradicts this node's clock, and it takes no writes.",
            )?,
        })
    }
}

/// The watch of one node.
pub struct ClockWatch {
    /// What is known of the peers' clocks.
    pub hub: Arc<Hub>,
    /// The clock in question.
    pub clock: Arc<dyn Clock>,
    /// Closed while it is wrong.
    pub gate: Arc<Gate>,
    /// Metrics.
    pub metrics: ClockMetrics,
    /// Logger.
    pub log: Logger,
}

impl ClockWatch {
    /// Looks once; true if the clock is wrong.
    pub fn is_wrong(&self) -> bool {
        let wall_ms = self.clock.now_ms();
        let now = self.clock.monotonic();
        let word = self.hub.group().lock().clock_word(wall_ms, now);
        let ahead_ms = match word {
            ClockWord::Wrong { offset_ms } => offset_ms.saturating_neg(),
            ClockWord::Agreed => 0,
            // What was known stays known until a majority says otherwise.
            ClockWord::Unknown => return self.gate.has_wrong_clock(),
        };

        let is_wrong = word != ClockWord::Agreed;
        self.metrics.ahead_ms.set(ahead_ms);
        self.metrics.wrong.set(i64::from(is_wrong));

        if self.gate.set_wrong_clock(is_wrong) {
            match is_wrong {
                true => {
                    error!(self.log, "the clock of this node is wrong, it takes no writes; set the clock";
                    "ahead_ms" => ahead_ms, "shows_ms" => wall_ms)
                }
                false => info!(self.log, "the clock of this node is right again"),
            }
        }

        is_wrong
    }

    /// Whether a sample may be refused for its time by this clock. Not while nobody has said that it is right: a node that
    /// has just started may have heard of no peer yet, and senders drop what is refused. Without a peer there is nobody to ask.
    pub fn may_refuse(&self) -> bool {
        let wall_ms = self.clock.now_ms();
        let now = self.clock.monotonic();
        let group = self.hub.group().lock();
        let is_alone = group.peers().next().is_none();
        is_alone || group.clock_word(wall_ms, now) == ClockWord::Agreed
    }
}
