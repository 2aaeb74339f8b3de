//! Clients that behave like Prometheus: a request is repeated until it is answered 2xx or 4xx.

use std::collections::VecDeque;

use trireme_model::Tenant;

/// A client.
pub struct Sender {
    /// Requests to be sent, oldest first; the first may be under way.
    pub queue: VecDeque<usize>,
    /// The attempt under way and the machine it went to.
    pub attempt: Option<(u64, usize)>,
    /// Where it sends.
    pub home: usize,
    /// Wait before the next attempt (us).
    pub backoff_us: u64,
    /// Series in each request.
    pub series: usize,
    /// Its wall clock is off by so much (ms).
    pub skew_ms: i64,
    /// Goes to another machine with each request.
    pub wanders: bool,
    /// Whose samples it sends now.
    pub tenant: Tenant,
}

const BACKOFF_MIN_US: u64 = 30_000;
const BACKOFF_MAX_US: u64 = 5_000_000;

impl Sender {
    /// A client without requests.
    pub fn new(home: usize, series: usize, skew_ms: i64, wanders: bool) -> Self {
        let queue = VecDeque::new();
        Self {
            queue,
            attempt: None,
            home,
            backoff_us: BACKOFF_MIN_US,
            series,
            skew_ms,
            wanders,
            tenant: Tenant::default(),
        }
    }

    /// The first request is decided.
    pub fn decided(&mut self) -> Option<usize> {
        self.attempt = None;
        self.backoff_us = BACKOFF_MIN_US;
        self.queue.pop_front()
    }

    /// The attempt failed; answers how long to wait (us).
    pub fn failed(&mut self) -> u64 {
        self.attempt = None;
        let wait = self.backoff_us;
        self.backoff_us = (wait * 2).min(BACKOFF_MAX_US);
        wait
    }
}
