//! What became of a write request.

use std::time::Duration;

/// Most reasons kept apart in one request; the rest is counted under `other`.
const REASONS_MAX: usize = 32;
/// Most bytes of an example; longer ones are cut at a character boundary.
const EXAMPLE_BYTES_MAX: usize = 512;

/// Why an exemplar is left out whose labels have more characters than OpenMetrics allows.
pub const EXEMPLAR_LABELS_TOO_LONG: &str = "exemplar_labels_too_long";
/// Why an exemplar is left out whose labels are no label set: a name twice, an empty name, a text that is not UTF-8.
pub const EXEMPLAR_LABELS_INVALID: &str = "exemplar_labels_invalid";
/// Why an exemplar is left out that is older than a sample may be.
pub const EXEMPLAR_TOO_OLD: &str = "exemplar_too_old";

/// Items refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Short constant text such as `out of bounds`; also a metric label.
    pub reason: &'static str,
    /// Samples, histograms and exemplars refused for it (for a series that carried nothing: 1).
    pub count: u64,
    /// The first series concerned, with the detail a human needs.
    pub example: String,
}

/// Rejections by reason, with one example each; bounded whatever the request holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(Vec<Rejection>);

impl Rejections {
    /// Counts `count` items under `reason`; the example is built only if it is the first.
    pub fn add(&mut self, reason: &'static str, count: u64, example: impl FnOnce() -> String) {
        let known = self.0.iter().position(|r| r.reason == reason);
        let at = match known {
            Some(at) => at,
            None if self.0.len() < REASONS_MAX => {
                self.0.push(Rejection {
                    reason,
                    count: 0,
                    example: cut(example()),
                });
                self.0.len() - 1
            }
            None => {
                let last = REASONS_MAX - 1;
                self.0[last].reason = "other";
                last
            }
        };

        self.0[at].count += count;
    }

    /// Takes over what another part of the request reported.
    pub fn merge(&mut self, other: Self) {
        for r in other.0 {
            self.add(r.reason, r.count, || r.example);
        }
    }

    /// True if nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All refused items.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.count).sum()
    }

    /// Reasons in the order in which they first occurred.
    pub fn iter(&self) -> impl Iterator<Item = &Rejection> {
        self.0.iter()
    }
}

fn cut(mut text: String) -> String {
    if text.len() > EXAMPLE_BYTES_MAX {
        let end = (0..=EXAMPLE_BYTES_MAX)
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why a request must come again, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryLater {
    /// For the sender's log.
    pub message: String,
    /// Earliest sensible time of the next attempt.
    pub after: Duration,
}

/// What became of one write request; parts that several shards answered are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Float samples that are stored now, those that were there before included.
    pub samples: u64,
    /// Histogram samples that are stored now, those that were there before included.
    pub histograms: u64,
    /// Exemplars that are stored now, those that were there before included.
    pub exemplars: u64,
    /// How many of the stored items were there before with the same value (I3).
    pub duplicates: u64,
    /// What was refused for good.
    pub rejections: Rejections,
    /// Exemplars that were left out. They are hints, not data: the request succeeds without them.
    pub dropped: Rejections,
    /// Set when a part did not reach a quorum in time; the sender must repeat the request.
    pub unavailable: Option<RetryLater>,
    /// Set when the tenant is over its rate; nothing of the request was stored.
    pub limited: Option<RetryLater>,
}

impl WriteOutcome {
    /// Adds what another shard answered for the same request.
    pub fn merge(&mut self, other: Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.duplicates += other.duplicates;
        self.rejections.merge(other.rejections);
        self.dropped.merge(other.dropped);
        merge_later(&mut self.unavailable, other.unavailable);
        merge_later(&mut self.limited, other.limited);
    }
}

fn merge_later(mine: &mut Option<RetryLater>, other: Option<RetryLater>) {
    match (mine, other) {
        (Some(mine), Some(other)) => mine.after = mine.after.max(other.after),
        (mine @ None, other) => *mine = other,
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_reason_and_keeps_the_first_example() {
        let mut a = Rejections::default();
        a.add("too old", 2, || "first".into());
        let mut b = Rejections::default();

        b.add("too old", 3, || "second".into());
        a.merge(b);
        let all: Vec<_> = a
            .iter()
            .map(|r| (r.reason, r.count, r.example.as_str()))
            .collect();

        assert_eq!(all, [("too old", 5, "first")]);
    }

    #[test]
    fn examples_are_cut_at_a_character() {
        let mut r = Rejections::default();
        r.add("long", 1, || "ü".repeat(1_000));
        let example = &r.iter().next().expect("one").example;
        assert!(example.len() <= EXAMPLE_BYTES_MAX + '…'.len_utf8() && example.ends_with('…'));
    }

    #[test]
    fn the_longer_wait_wins() {
        let later = |s| {
            Some(RetryLater {
                message: "m".into(),
                after: Duration::from_secs(s),
            })
        };

        let mut a = WriteOutcome {
            unavailable: later(1),
            ..Default::default()
        };

        a.merge(WriteOutcome {
            unavailable: later(5),
            samples: 3,
            ..Default::default()
        });

        assert_eq!((a.unavailable, a.samples), (later(5), 3));
    }
}
