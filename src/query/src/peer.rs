//! A member of the group as a source, for the time in which this replica is behind.
//!
//! A replica that comes back after an outage answers queries while it catches up. What it lacks, another member has: its
//! raw samples are merged in like those of any other source, so the answer is the one a complete replica gives. The
//! protocol moves whole series in one bounded answer; for a replica that is complete it is not used at all.

mod answer;
mod message;

use std::time::Duration;

use prost::Message;
use trireme_base::ErrorKind;
use trireme_model::{Labels, MatchOp, Matcher, Tenant};
use trireme_promql::{Cancel, Columns, SelectError, SeriesRead};
use trireme_wire::prompb::read::LabelMatcher;
use trireme_wire::snappy;

use crate::{Source, SourceError};

pub use answer::answer_peer;
use message::{Answer, Op, Request};

/// Largest inflated answer.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A way to another member. Calls block.
pub trait PeerLink: Send + Sync {
    /// Name of the member.
    fn name(&self) -> String;

    /// Sends a request that the member gives to [`answer_peer`], and waits for its answer, at most `timeout`.
    fn ask(&self, request: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, SourceError>;
}

/// Everything that another member holds itself.
pub struct PeerSource<L> {
    link: L,
    tenant: Tenant,
    timeout: Duration,
}

impl<L: PeerLink> PeerSource<L> {
    /// The tenant's samples at the other end of `link`.
    pub fn new(link: L, tenant: Tenant, timeout: Duration) -> Self {
        Self { link, tenant, timeout }
    }

    fn ask(
        &self,
        op: Op,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Answer, SourceError> {
        let request = Request {
            op: op as i32,
            tenant: self.tenant.to_string(),
            matchers: matchers.iter().map(to_message).collect(),
            start_ms,
            end_ms,
            name: name.to_owned(),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let body = self.link.ask(request.encode_to_vec(), self.timeout)?;
        let bad = |e: String| SourceError::failed(ErrorKind::Corrupt, e);
        let mut inflated = Vec::new();
        snappy::inflate(&body, ANSWER_BYTES_MAX, &mut inflated).map_err(|e| bad(e.to_string()))?;
        let answer = Answer::decode(inflated.as_slice()).map_err(|e| bad(e.to_string()))?;
        match answer.warnings.first() {
            // The member's own gaps must not be taken for a whole answer.
            Some(warning) => Err(SourceError::failed(ErrorKind::Unavailable, warning.clone())),
            None => Ok(answer),
        }
    }
}

impl<L: PeerLink> Source for PeerSource<L> {
    fn name(&self) -> String {
        format!("member {}", self.link.name())
    }

    fn time_range(&self) -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        cancel.check()?;
        let answer = self.ask(Op::Select, "", matchers, start_ms, end_ms)?;
        let read = |series: message::PeerSeries| {
            let (labels, columns) =
                series.into_columns().map_err(|e| SourceError::failed(ErrorKind::Corrupt, e))?;
            Ok(Box::new(PeerSeriesRead { labels, columns }) as Box<dyn SeriesRead>)
        };
        answer.series.into_iter().map(read).collect()
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.ask(Op::LabelNames, "", matchers, start_ms, end_ms)?.texts)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.ask(Op::LabelValues, name, matchers, start_ms, end_ms)?.texts)
    }
}

struct PeerSeriesRead {
    labels: Labels,
    columns: Columns,
}

impl SeriesRead for PeerSeriesRead {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        let c = &self.columns;
        let first = c.float_t.partition_point(|t| *t < start_ms);
        let last = c.float_t.partition_point(|t| *t <= end_ms);
        for i in first..last {
            out.push_float_st(c.float_t[i], c.float_st.get(i).copied().unwrap_or(0), c.float_v[i]);
        }
        let histograms = c.histograms.iter().filter(|h| (start_ms..=end_ms).contains(&h.t));
        out.histograms.extend(histograms.cloned());
        Ok(())
    }
}

fn to_message(m: &Matcher) -> LabelMatcher {
    let kind = match m.op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    };
    LabelMatcher { r#type: kind, name: m.name.to_string(), value: m.value.to_string() }
}
