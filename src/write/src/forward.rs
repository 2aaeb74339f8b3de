//! Writes that this node cannot take, and parts of writes that belong to other groups, go to a member that can take them.
//!
//! A whole write goes to a member of the own group, which the front names; the member never sends it to a substitute in its
//! turn, so that two full nodes cannot loop. A part goes to a member of the group to which its series belong. Both travel
//! over the cluster's TCP in the form of a log entry, label bytes as they came, and the outcome comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounterVec;
use prost::Message;
use trireme_base::{Clock, ErrorKind, NodeName};
use trireme_mailbox::{Call, Port};
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_storage::Gate;
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::{CallBook, CallError};
use trireme_wire::batch::Batch;
use trireme_wire::entry::encode_part;
use trireme_wire::record::{HEADER_BYTES, RecordDraft};
use trireme_wire::rpc::Method;

use crate::neighbours::Neighbours;

/// How often a part may be passed on: by a member whose group is leaving under a ring that the sender has not heard of, and
/// once more if that happens again on the way.
pub const PASSES_MAX: u8 = 2;

/// A part with more bytes goes in pieces. A call takes 32 MiB.
const PART_BYTES_MAX: usize = 16 << 20;
/// Members asked to take a part, one after the other.
const ATTEMPTS_MAX: usize = 6;
/// Pause before members are asked again that could not take it, or while nobody can be asked.
const PAUSE: Duration = Duration::from_millis(20);
/// When a sender should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Asks for a member that takes a write in this node's place.
pub struct PickForwardTarget;

impl Call for PickForwardTarget {
    type Reply = Option<NodeName>;
}

/// Sends writes to other members.
pub struct Forwarder {
    /// Names the member of the own group.
    pub front: Port<PickForwardTarget>,
    /// How long the front may take for it.
    pub front_timeout: Duration,
    /// Whether the ring still has this node: nobody is connected to one that has left.
    pub gate: Arc<Gate>,
    /// Knows the members of other groups.
    pub neighbours: Arc<Neighbours>,
    /// Calls by member.
    pub calls: Arc<CallBook>,
    /// How long a write may take.
    pub timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: ForwardMetrics,
}

/// Metrics of parts for other groups.
#[derive(Clone)]
pub struct ForwardMetrics {
    parts: IntCounterVec,
}

impl ForwardMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let help = "Parts of writes sent to other groups, by what came of them.";
        Ok(Self {
            parts: metrics.counters("trireme_write_parts_total", help, &["result"])?,
        })
    }
}

impl Forwarder {
    /// Has another member of the own group store what `draft` holds; `None` if no member can.
    pub async fn write(&self, draft: RecordDraft) -> Option<WriteOutcome> {
        let member = self
            .front
            .call(PickForwardTarget, self.front_timeout)
            .await
            .ok()??;

        let calls = self.calls.get(&member)?;
        let answer = calls
            .call(Method::ForwardWrite, payload(draft), self.timeout)
            .await
            .ok()?;

        OutcomeMessage::decode(answer)
            .ok()
            .map(OutcomeMessage::into_outcome)
    }

    /// Has a member of `group` store the series of `batch` with these indexes, and its metadata if they go along.
    pub async fn part(
        &self,
        group: &str,
        tenant: &Tenant,
        batch: &Batch,
        (indexes, with_metadata): (&[u32], bool),
        passes: u8,
    ) -> WriteOutcome {
        let mut bodies = Vec::new();
        pieces(tenant, batch, indexes, with_metadata, passes, &mut bodies);

        let mut outcome = WriteOutcome::default();
        for sent in
            futures::future::join_all(bodies.into_iter().map(|body| self.to_group(group, body)))
                .await
        {
            outcome.merge(sent);
        }

        let result = if outcome.unavailable.is_some() {
            "unavailable"
        } else {
            "answered"
        };

        self.metrics.parts.with_label_values(&[result]).inc();
        outcome
    }

    /// Samples are a set, so a part may be sent again to another member when the first one did not answer.
    async fn to_group(&self, group: &str, body: Bytes) -> WriteOutcome {
        let give_up_at = self.clock.monotonic() + self.timeout;
        let mut tried: Vec<NodeName> = Vec::new();
        let mut attempts = 0;

        let mut problem = "nobody who takes writes is connected".to_owned();
        while attempts < ATTEMPTS_MAX {
            let left = give_up_at.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                break;
            }

            let taker = self
                .neighbours
                .takers(group)
                .into_iter()
                .find(|node| !tried.contains(node));

            let Some(member) = taker else {
                if self.gate.has_left() {
                    "this node is not in the ring".clone_into(&mut problem);
                    break;
                }
                tried.clear();
                tokio::time::sleep(PAUSE.min(left)).await;
                continue;
            };

            // One that hangs leaves time to ask another.
            let limit = if attempts == 0 { left / 2 } else { left };

            match self.to_member(&member, body.clone(), limit).await {
                Ok(outcome) => return outcome,
                Err(error) => {
                    // One that has as many calls as it takes at a time says so at once, and has room in a moment.
                    attempts += usize::from(error.kind() != ErrorKind::Limited);
                    problem = format!("{member}: {error}");
                }
            }

            tried.push(member);
        }

        let message = format!("group {group} did not take its part of the write ({problem})");
        let unavailable = Some(RetryLater {
            message,
            after: RETRY_AFTER,
        });

        WriteOutcome {
            unavailable,
            ..WriteOutcome::default()
        }
    }

    async fn to_member(
        &self,
        member: &NodeName,
        body: Bytes,
        limit: Duration,
    ) -> Result<WriteOutcome, CallError> {
        let calls = self
            .calls
            .get(member)
            .ok_or_else(|| CallError::new(ErrorKind::NotFound, "not in the ring any more"))?;
        let answer = calls.call(Method::WritePart, body, limit).await?;

        OutcomeMessage::decode(answer)
            .map(OutcomeMessage::into_outcome)
            .map_err(|e: prost::DecodeError| CallError::new(ErrorKind::Corrupt, e.to_string()))
    }
}

/// The entry of a draft; it has no place in a log, so the record's header is cut off.
fn payload(mut draft: RecordDraft) -> Bytes {
    Bytes::from(std::mem::take(draft.payload_mut())).split_off(HEADER_BYTES)
}

/// The bodies of the calls for a part.
fn pieces(
    tenant: &Tenant,
    batch: &Batch,
    indexes: &[u32],
    with_metadata: bool,
    passes: u8,
    out: &mut Vec<Bytes>,
) {
    let mut draft = encode_part(tenant, batch, indexes, with_metadata);

    let mut bytes = std::mem::take(draft.payload_mut());
    if bytes.len() > PART_BYTES_MAX && indexes.len() > 1 {
        drop(bytes);
        let (first, rest) = indexes.split_at(indexes.len() / 2);
        pieces(tenant, batch, first, with_metadata, passes, out);
        return pieces(tenant, batch, rest, false, passes, out);
    }

    // The last byte of the header's room takes the number.
    bytes[HEADER_BYTES - 1] = passes;
    out.push(Bytes::from(bytes).split_off(HEADER_BYTES - 1));
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
    #[prost(message, repeated, tag = "8")]
    dropped: Vec<RejectionMessage>,
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
        let later = |l: RetryLater| LaterMessage {
            message: l.message,
            after_ms: l.after.as_millis() as u64,
        };
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
            dropped: outcome.dropped.iter().map(rejection).collect(),
        }
    }
}

impl OutcomeMessage {
    fn into_outcome(self) -> WriteOutcome {
        let later = |l: LaterMessage| RetryLater {
            message: l.message,
            after: Duration::from_millis(l.after_ms),
        };
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
            outcome.rejections.add(
                "refused by the member that took the write",
                rejected.count,
                || example,
            );
        }

        for dropped in self.dropped {
            let example = format!("{}: {}", dropped.reason, dropped.example);
            outcome
                .dropped
                .add("exemplar_dropped_by_the_member", dropped.count, || example);
        }

        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_an_entry_behind_the_number_of_passes() {
        let labels = trireme_model::Labels::from_pairs([("__name__", "up")]);
        let key = trireme_model::SeriesKey::of(Tenant::default().seed(), labels.as_bytes());
        let series = trireme_wire::batch::BatchSeries {
            key,
            labels: 0..labels.as_bytes().len() as u32,
            samples: 0..1,
            histograms: 0..0,
            exemplars: 0..0,
        };

        let batch = Batch {
            label_bytes: labels.as_bytes().to_vec(),
            series: vec![series],
            samples: vec![trireme_model::FloatSample { t: 5, v: 1.5 }],
            ..Batch::default()
        };

        let mut bodies = Vec::new();
        pieces(&Tenant::default(), &batch, &[0], true, 2, &mut bodies);
        let body = bodies.pop().expect("one");

        assert_eq!((bodies.len(), body[0]), (0, 2));
        let (tenant, copy) = trireme_wire::entry::decode_batch(&body[1..]).expect("an entry");
        assert_eq!(
            (tenant, copy.series[0].key, copy.samples[0].t),
            (Tenant::default(), key, 5)
        );
    }

    #[tokio::test]
    async fn a_node_that_has_left_looks_for_nobody() {
        use trireme_base::{Boot, Incarnation, ManualClock};
        use trireme_mailbox::PortMetrics;
        use trireme_replication::{GroupLimits, GroupView, PeerIdentity};

        let me = NodeName::new("me");
        let identity = PeerIdentity {
            node: me.clone(),
            incarnation: Incarnation(1),
            boot: Boot(1),
        };

        let quorum = trireme_ring::Quorum::new([me], 1);
        let view = GroupView::new(identity, quorum, [], GroupLimits::default(), Duration::ZERO);
        let metrics = Metrics::default();
        let forwarder = Forwarder {
            front: Port::new("front", 1, PortMetrics::unregistered()),
            front_timeout: Duration::ZERO,
            gate: Arc::default(),
            neighbours: Arc::new(Neighbours::new(Arc::new(trireme_transport::Hub::new(
                view,
                1 << 10,
            )))),
            calls: Arc::new(CallBook::new(1, 1 << 10)),
            timeout: Duration::from_secs(10),
            clock: Arc::new(ManualClock::at(0)),
            metrics: ForwardMetrics::new(&metrics).expect("metrics"),
        };

        forwarder.gate.set_by_ring(trireme_storage::GateState::Left);
        // Time stands still, so it would look for ever.
        let asked = forwarder.to_group("b", Bytes::new());
        let outcome = tokio::time::timeout(Duration::from_secs(5), asked)
            .await
            .expect("an answer at once");
        let message = outcome.unavailable.expect("nobody took it").message;
        assert!(
            message.contains("this node is not in the ring"),
            "{message}"
        );
    }

    #[test]
    fn an_outcome_keeps_its_counts_and_its_words() {
        let mut outcome = WriteOutcome {
            samples: 5,
            duplicates: 2,
            ..WriteOutcome::default()
        };

        outcome
            .rejections
            .add("too old", 3, || "up is 2 h old".to_owned());
        outcome.unavailable = Some(RetryLater {
            message: "busy".to_owned(),
            after: Duration::from_secs(2),
        });

        let bytes = OutcomeMessage::from(outcome.clone()).encode_to_vec();
        let copy = OutcomeMessage::decode(bytes.as_slice())
            .expect("ours")
            .into_outcome();

        assert_eq!(
            (copy.samples, copy.duplicates, copy.rejections.total()),
            (5, 2, 3)
        );
        assert_eq!(copy.unavailable, outcome.unavailable);

        assert!(
            copy.rejections
                .iter()
                .any(|r| r.example.contains("too old: up is 2 h old"))
        );
    }
}
