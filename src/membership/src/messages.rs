//! What controllers ask of each other, and how evidence travels; JSON of the nodes' own.

use serde::{Deserialize, Serialize};
use trireme_base::{Boot, Incarnation, NodeName, StreamId};
use trireme_ring::{Evidence, MemberEvidence};

use crate::change_request::ChangeRequest;

/// What one controller asks of another. In JSON the two have no field in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Message {
    /// The leader wants to know something.
    Question(Question),
    /// An operator wants something of the leader.
    Change(ChangeRequest),
}

/// A question of the leader. The number is the epoch of its ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// What do you know of your group? Null if your ring is another one, or somebody in the group has another one.
    Evidence(u64),
    /// What do you have that the bucket has not?
    Holdings(u64),
}

/// Evidence on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EvidenceMessage {
    /// Absent from a release that does not measure under a ring; then nothing is decided by its message.
    #[serde(default)]
    fenced_at: Option<u64>,
    streams: Vec<StreamPosition>,
    members: Vec<MemberMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StreamPosition {
    incarnation: u64,
    boot: u32,
    seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MemberMessage {
    node: String,
    connected: bool,
    epoch: u64,
    behind_records: u64,
    writing: bool,
    incarnation: Option<u64>,
}

impl From<Evidence> for EvidenceMessage {
    fn from(evidence: Evidence) -> Self {
        let member = |(node, m): (NodeName, MemberEvidence)| MemberMessage {
            node: node.to_string(),
            connected: m.connected,
            epoch: m.epoch,
            behind_records: m.behind_records,
            writing: m.writing,
            incarnation: m.incarnation.map(|incarnation| incarnation.0),
        };
        Self {
            fenced_at: evidence.fenced_at,
            streams: evidence
                .streams
                .into_iter()
                .map(|(stream, seq): (StreamId, u64)| StreamPosition {
                    incarnation: stream.incarnation.0,
                    boot: stream.boot.0,
                    seq,
                })
                .collect(),
            members: evidence.members.into_iter().map(member).collect(),
        }
    }
}

impl From<EvidenceMessage> for Evidence {
    fn from(message: EvidenceMessage) -> Self {
        let member = |m: MemberMessage| {
            let evidence = MemberEvidence {
                connected: m.connected,
                epoch: m.epoch,
                behind_records: m.behind_records,
                writing: m.writing,
                incarnation: m.incarnation.map(Incarnation),
            };
            (NodeName::new(&m.node), evidence)
        };
        Self {
            fenced_at: message.fenced_at,
            streams: message
                .streams
                .into_iter()
                .map(|s: StreamPosition| {
                    (
                        StreamId {
                            incarnation: Incarnation(s.incarnation),
                            boot: Boot(s.boot),
                        },
                        s.seq,
                    )
                })
                .collect(),
            members: message.members.into_iter().map(member).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::change_request::Op;

    #[test]
    fn evidence_comes_back_as_it_was() {
        let stream = StreamId {
            incarnation: Incarnation(u64::MAX),
            boot: Boot(3),
        };
        let member = MemberEvidence {
            connected: true,
            epoch: 7,
            behind_records: 9,
            writing: true,
            incarnation: Some(Incarnation(5)),
        };

        let evidence = Evidence {
            fenced_at: Some(7),
            streams: BTreeMap::from([(stream, 12)]),
            members: BTreeMap::from([(NodeName::new("n0"), member)]),
            ..Evidence::default()
        };

        let json =
            serde_json::to_string(&EvidenceMessage::from(evidence.clone())).expect("serializes");
        let message: EvidenceMessage = serde_json::from_str(&json).expect("deserializes");

        assert_eq!(Evidence::from(message), evidence);
    }

    #[test]
    fn a_question_and_a_change_are_told_apart_that_an_operator_asks_for() {
        let question = Message::Question(Question::Holdings(4));
        let json = serde_json::to_value(&question).expect("serializes");
        assert_eq!(json, serde_json::json!({ "holdings": 4 }));
        assert_eq!(
            serde_json::from_value::<Message>(json).expect("deserializes"),
            question
        );

        let change = Message::Change(ChangeRequest::new(Op::Drain, "n0"));
        let json = serde_json::to_value(&change).expect("serializes");
        assert_eq!(
            serde_json::from_value::<Message>(json).expect("deserializes"),
            change
        );
    }
}
