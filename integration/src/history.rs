//! What a sender did, request by request, and whether a replica's export agrees with it.
//!
//! A sample's value says which request brought it, so that a history of requests is enough to judge millions of
//! samples: [`Audit`] reads an export line by line and keeps a number a request.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use crate::client::Client;
use crate::protocol::Series;

/// Metric of all series of senders with a history.
pub const METRIC: &str = "history_total";
/// Values count in requests; the fraction is the series.
const SERIES_MAX: usize = 1 << 20;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered 2xx: it has to be on every replica.
    Acknowledged,
    /// No answer that says anything: it may be there or not, or in part.
    Unknown,
    /// Refused for good, with 4xx.
    Rejected,
}

/// A request: one sample of each series of its sender.
#[derive(Debug, Clone)]
pub struct Request {
    /// Time of its samples in milliseconds, ascending over the requests of a sender.
    pub timestamp_ms: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// From the first attempt to the end in milliseconds.
    pub latency_ms: u32,
}

/// All requests of one sender.
#[derive(Debug, Clone)]
pub struct History {
    /// Names the sender in the label `sender`.
    pub sender: String,
    /// Whose data; nothing means the default tenant.
    pub tenant: Option<String>,
    /// Series of each request.
    pub series: usize,
    /// Requests in the order in which they were begun.
    pub requests: Vec<Request>,
}

/// The value of series `i` in request `number`.
fn value_of(number: usize, i: usize) -> f64 {
    number as f64 + i as f64 / SERIES_MAX as f64
}

impl History {
    /// A sender that has sent nothing. At most a million series.
    pub fn new(sender: &str, tenant: Option<&str>, series: usize) -> Self {
        assert!(series < SERIES_MAX, "a request has too many series");
        Self {
            sender: sender.to_owned(),
            tenant: tenant.map(str::to_owned),
            series,
            requests: Vec::new(),
        }
    }

    /// The sender's series, without samples.
    pub fn all_series(&self) -> Vec<Series> {
        (0..self.series)
            .map(|i: usize| {
                Series::new(
                    METRIC,
                    &[("i", &i.to_string()), ("sender", &self.sender)],
                    &[],
                )
            })
            .collect()
    }

    /// Begins a request whose samples are at `timestamp_ms` or just behind the last request's; puts them into
    /// `all`, which [`History::all_series`] made, and answers its number. Its outcome is unknown so far.
    pub fn begin(&mut self, timestamp_ms: i64, all: &mut [Series]) -> usize {
        let last = self
            .requests
            .last()
            .map_or(i64::MIN, |request| request.timestamp_ms);
        let timestamp_ms = timestamp_ms.max(last + 1);

        let number = self.requests.len();
        for (i, series) in all.iter_mut().enumerate() {
            series.samples = vec![(timestamp_ms, value_of(number, i))];
        }

        self.requests.push(Request {
            timestamp_ms,
            outcome: Outcome::Unknown,
            latency_ms: 0,
        });

        number
    }

    /// Number of requests that ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.requests
            .iter()
            .filter(|request| request.outcome == outcome)
            .count()
    }
}

#[derive(Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<f64>,
    timestamps: Vec<i64>,
}

/// What a replica holds of the histories of one tenant.
#[derive(Debug, Default)]
pub struct Audit {
    /// Samples found.
    pub held: u64,
    /// Acknowledged samples that are not there, and the first of them.
    pub lost: u64,
    /// Samples that no request of the history can have brought, or that are there twice.
    pub foreign: u64,
    /// Samples whose request was refused for good.
    pub rejected: u64,
    /// Independent of the order of samples; equal on replicas that hold the same.
    pub digest: u64,
    /// The first things that are wrong, for people.
    pub problems: Vec<String>,
}

/// Problems that are kept as text.
const PROBLEMS_MAX: usize = 5;

impl Audit {
    /// Holds what `client` answers for samples from `from_ms` on against `histories`, which are of one tenant. With
    /// `local` only what this node stores itself counts. Samples behind a history's last request are not looked at:
    /// its sender may have gone on.
    pub async fn of(
        client: &Client,
        histories: &[History],
        from_ms: i64,
        local: bool,
    ) -> anyhow::Result<Self> {
        let mut judge = Judge::new(histories, from_ms);
        let selector = format!("{{__name__=\"{METRIC}\"}}");
        let start = format!("{}.{:03}", from_ms.max(0) / 1_000, from_ms.max(0) % 1_000);
        let mut request = client
            .get("/api/v1/export")
            .query(&[("match[]", selector), ("start", start)]);

        if local {
            request = request.query(&[("local", "true")]);
        }

        if let Some(tenant) = histories
            .first()
            .and_then(|history| history.tenant.as_ref())
        {
            request = request.header("THANOS-TENANT", tenant);
        }

        let mut answer = request
            .timeout(std::time::Duration::from_secs(900))
            .send()
            .await?;

        if answer.status() != 200 {
            let status = answer.status();
            anyhow::bail!(
                "export answered {status}: {}",
                answer.text().await?.trim_end()
            );
        }

        let mut rest = Vec::new();
        while let Some(piece) = answer.chunk().await.context("export broke off")? {
            rest.extend_from_slice(&piece);
            let mut begin = 0;
            while let Some(end) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                judge.line(&rest[begin..begin + end])?;
                begin += end + 1;
            }
            rest.drain(..begin);
        }

        judge.line(&rest)?;
        Ok(judge.verdict())
    }

    /// An error that says what is wrong, if anything is.
    pub fn clean(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.lost == 0 && self.foreign == 0 && self.rejected == 0,
            "{} acknowledged samples lost, {} from nowhere, {} of refused requests: {}",
            self.lost,
            self.foreign,
            self.rejected,
            self.problems.join("; ")
        );
        Ok(())
    }
}

/// Reads lines and counts samples by request.
struct Judge<'a> {
    histories: BTreeMap<&'a str, (&'a History, Vec<u32>)>,
    from_ms: i64,
    /// Series and last timestamp of the line before, to find what is there twice.
    last: Option<(BTreeMap<String, String>, i64)>,
    audit: Audit,
}

impl<'a> Judge<'a> {
    fn new(histories: &'a [History], from_ms: i64) -> Self {
        Self {
            histories: histories
                .iter()
                .map(|h: &'a History| (h.sender.as_str(), (h, vec![0; h.requests.len()])))
                .collect(),
            from_ms,
            last: None,
            audit: Audit::default(),
        }
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.audit.problems.len() < PROBLEMS_MAX {
            self.audit.problems.push(text());
        }
    }

    fn line(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }

        let line: Line = serde_json::from_slice(bytes)
            .with_context(|| format!("export line {:.200}", String::from_utf8_lossy(bytes)))?;
        anyhow::ensure!(
            line.values.len() == line.timestamps.len(),
            "values and timestamps differ in number"
        );

        let sender = line
            .metric
            .get("sender")
            .map_or("", String::as_str)
            .to_owned();

        let i: usize = line
            .metric
            .get("i")
            .and_then(|i| i.parse().ok())
            .unwrap_or(usize::MAX);

        let mut before = match self.last.take() {
            Some((metric, timestamp)) if metric == line.metric => timestamp,
            _ => i64::MIN,
        };

        for (timestamp, value) in line.timestamps.iter().zip(&line.values) {
            let is_new = *timestamp > before;
            before = *timestamp;
            if *timestamp >= self.from_ms {
                self.sample(&sender, i, *timestamp, *value, is_new);
            }
        }

        self.last = Some((line.metric, before));
        Ok(())
    }

    fn sample(&mut self, sender: &str, i: usize, timestamp_ms: i64, value: f64, is_new: bool) {
        let Some((history, counts)) = self.histories.get_mut(sender) else {
            self.audit.foreign += 1;
            return self.problem(|| format!("no sender {sender:?}"));
        };

        if history
            .requests
            .last()
            .is_none_or(|last| timestamp_ms > last.timestamp_ms)
        {
            return;
        }

        let number = history
            .requests
            .binary_search_by_key(&timestamp_ms, |request| request.timestamp_ms);

        match number {
            Ok(number) if i < history.series && value == value_of(number, i) && is_new => {
                counts[number] += 1;
                self.audit.held += 1;
                let is_rejected = history.requests[number].outcome == Outcome::Rejected;
                self.audit.rejected += u64::from(is_rejected);
                self.audit.digest = self.audit.digest.wrapping_add(mixed(
                    sender,
                    i as u64,
                    timestamp_ms as u64,
                    value,
                ));
            }
            _ => {
                self.audit.foreign += 1;
                self.problem(|| {
                    format!("sender {sender} series {i} has {value} at {timestamp_ms}")
                });
            }
        }
    }

    fn verdict(mut self) -> Audit {
        for (sender, (history, counts)) in std::mem::take(&mut self.histories) {
            for (number, (request, count)) in history.requests.iter().zip(counts).enumerate() {
                let missing = history.series as u64 - u64::from(count);

                let is_due = request.outcome == Outcome::Acknowledged
                    && request.timestamp_ms >= self.from_ms;
                if is_due && missing > 0 {
                    self.audit.lost += missing;
                    let at = request.timestamp_ms;
                    self.problem(|| {
                        format!(
                            "sender {sender} request {number} at {at}: {missing} of {} samples",
                            history.series
                        )
                    });
                }
            }
        }
        self.audit
    }
}

/// A number of 64 bits from what makes a sample.
fn mixed(sender: &str, i: u64, timestamp: u64, value: f64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let parts = sender
        .bytes()
        .map(u64::from)
        .chain([i, timestamp, value.to_bits()]);

    for part in parts {
        hash = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }

    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let mut history = History::new("s0", None, 2);

        let mut all = history.all_series();
        for timestamp in [1_000, 2_000, 2_000] {
            history.begin(timestamp, &mut all);
        }

        history.requests[0].outcome = Outcome::Acknowledged;
        history.requests[1].outcome = Outcome::Acknowledged;
        history
    }

    fn judged(histories: &[History], lines: &[(usize, &[(i64, f64)])]) -> Audit {
        let mut judge = Judge::new(histories, 0);
        for (i, samples) in lines {
            let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
            let line = serde_json::json!({
                "metric": { "__name__": METRIC, "sender": "s0", "i": i.to_string() },
                "values": values,
                "timestamps": times,
            });
            judge
                .line(line.to_string().as_bytes())
                .expect("a good line");
        }

        judge.verdict()
    }

    #[test]
    fn tells_complete_lost_foreign_and_double_samples_apart() {
        let histories = [history()];
        let a = 0.0;
        let b = 1.0 / SERIES_MAX as f64;
        let whole = judged(
            &histories,
            &[
                (0, &[(1_000, a), (2_000, 1.0 + a)]),
                (1, &[(1_000, b), (2_000, 1.0 + b)]),
            ],
        );

        assert!(whole.clean().is_ok(), "{whole:?}");
        assert_eq!(whole.held, 4);

        // The third request is unknown: half of it may be there.
        let more = [
            (0, &[(1_000, a), (2_000, 1.0 + a), (2_001, 2.0 + a)][..]),
            (1, &[(1_000, b), (2_000, 1.0 + b)]),
        ];
        assert!(judged(&histories, &more).clean().is_ok());

        let lost = judged(
            &histories,
            &[
                (0, &[(1_000, a), (2_000, 1.0 + a)]),
                (1, &[(2_000, 1.0 + b)]),
            ],
        );

        assert_eq!((lost.lost, lost.foreign), (1, 0));
        let wrong = judged(&histories, &[(0, &[(1_000, a + 5.0), (1_500, 1.0)])]);
        assert_eq!((wrong.foreign, wrong.lost), (2, 4));

        let twice = judged(&histories, &[(0, &[(1_000, a)]), (0, &[(1_000, a)])]);
        assert_eq!(twice.foreign, 1);
    }
}
