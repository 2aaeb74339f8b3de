//! Writes that this node cannot take go to a member that can.
//!
//! The front names the member; the batch travels over the cluster's TCP in the form of a log entry, and the outcome comes
//! back. The member takes it as its own write and never sends it further, so that two full nodes do not play ball.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use trireme_mailbox::Port;
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_transport::CallBook;
use trireme_wire::batch::Batch;
use trireme_wire::entry::encode_batch;
use trireme_wire::record::HEADER_BYTES;

use crate::front::Substitute;
use crate::policy::{ActorKind, policy};

/// Kind number of a forwarded write among the cluster's calls.
pub const CALL_WRITE: u32 = 1;
/// Version of its messages.
pub const CALL_WRITE_VERSION: u32 = 1;

/// Sends writes to other members.
pub struct Forwarder {
    /// Names the member.
    pub front: Port<Substitute>,
    /// Calls by member.
    pub calls: Arc<CallBook>,
    /// How long the member may take.
    pub timeout: Duration,
}

impl Forwarder {
    /// Has another member store `batch`; `None` if no member can.
    pub async fn write(&self, tenant: &Tenant, batch: &Batch) -> Option<WriteOutcome> {
        let member = self.front.call(Substitute, policy(ActorKind::Front).deadline).await.ok()??;
        let calls = self.calls.get(&member)?;
        let mut body = Bytes::from(std::mem::take(encode_batch(tenant, batch).payload_mut()));
        let payload = body.split_off(HEADER_BYTES);
        let answer = calls.call(CALL_WRITE, CALL_WRITE_VERSION, payload, self.timeout).await.ok()?;
        OutcomeMessage::decode(answer).ok().map(OutcomeMessage::into_outcome)
    }
}

/// An outcome on its way back.
#[derive(Clone, PartialEq, Message)]
pub struct OutcomeMessage {
    #[prost(uint64, tag = "1")]
    samples: u64,
    #[prost(uint64, tag = "2")]
    histograms: u64,
    #[prost(uint64, tag = "3")]
    exemplars: u64,
    #[prost(uint64, tag = "4")]
    duplicates: u64,
    #[prost(message, repeated, tag = "5")]
    rejections: Vec<RejectionMessage>,
    #[prost(message, optional, tag = "6")]
    unavailable: Option<LaterMessage>,
    #[prost(message, optional, tag = "7")]
    limited: Option<LaterMessage>,
}

/// Items refused for one reason.
#[derive(Clone, PartialEq, Message)]
pub struct RejectionMessage {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(string, tag = "3")]
    example: String,
}

/// A request to come again.
#[derive(Clone, PartialEq, Message)]
pub struct LaterMessage {
    #[prost(string, tag = "1")]
    message: String,
    #[prost(uint64, tag = "2")]
    after_ms: u64,
}

impl From<WriteOutcome> for OutcomeMessage {
    fn from(outcome: WriteOutcome) -> Self {
        let later = |l: RetryLater| LaterMessage { message: l.message, after_ms: l.after.as_millis() as u64 };
        let rejection = |r: &trireme_model::Rejection| RejectionMessage {
            reason: r.reason.to_owned(),
            count: r.count,
            example: r.example.clone(),
        };
        Self {
            samples: outcome.samples,
            histograms: outcome.histograms,
            exemplars: outcome.exemplars,
            duplicates: outcome.duplicates,
            rejections: outcome.rejections.iter().map(rejection).collect(),
            unavailable: outcome.unavailable.map(later),
            limited: outcome.limited.map(later),
        }
    }
}

impl OutcomeMessage {
    fn into_outcome(self) -> WriteOutcome {
        let later =
            |l: LaterMessage| RetryLater { message: l.message, after: Duration::from_millis(l.after_ms) };
        let mut outcome = WriteOutcome {
            samples: self.samples,
            histograms: self.histograms,
            exemplars: self.exemplars,
            duplicates: self.duplicates,
            unavailable: self.unavailable.map(later),
            limited: self.limited.map(later),
            ..WriteOutcome::default()
        };
        for rejected in self.rejections {
            // Reasons are constants of the member's version; here they are text for the sender.
            let example = format!("{}: {}", rejected.reason, rejected.example);
            outcome.rejections.add("refused by the member that took the write", rejected.count, || example);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_keeps_its_counts_and_its_words() {
        let mut outcome = WriteOutcome { samples: 5, duplicates: 2, ..WriteOutcome::default() };
        outcome.rejections.add("too old", 3, || "up is 2 h old".to_owned());
        outcome.unavailable = Some(RetryLater { message: "busy".to_owned(), after: Duration::from_secs(2) });
        let bytes = OutcomeMessage::from(outcome.clone()).encode_to_vec();
        let copy = OutcomeMessage::decode(bytes.as_slice()).expect("ours").into_outcome();
        assert_eq!((copy.samples, copy.duplicates, copy.rejections.total()), (5, 2, 3));
        assert_eq!(copy.unavailable, outcome.unavailable);
        assert!(copy.rejections.iter().any(|r| r.example.contains("too old: up is 2 h old")));
    }
}
