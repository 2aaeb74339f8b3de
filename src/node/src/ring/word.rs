//! What a leader asks a member of another group, and how evidence travels; JSON of the nodes' own.

use serde::{Deserialize, Serialize};
use trireme_base::{Boot, Incarnation, NodeName, StreamId};
use trireme_ring::{Evidence, MemberEvidence};

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
pub(crate) struct EvidenceWord {
    /// Absent from a release that does not measure under a ring; then nothing is decided by its word.
    #[serde(default)]
    fenced_at: Option<u64>,
    streams: Vec<StreamWord>,
    members: Vec<MemberWord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StreamWord {
    incarnation: u64,
    boot: u32,
    seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MemberWord {
    node: String,
    connected: bool,
    epoch: u64,
    behind_records: u64,
    writing: bool,
    incarnation: Option<u64>,
}

impl From<Evidence> for EvidenceWord {
    fn from(evidence: Evidence) -> Self {
        let member = |(node, m): (NodeName, MemberEvidence)| MemberWord {
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
                .map(|(stream, seq): (StreamId, u64)| StreamWord {
                    incarnation: stream.incarnation.0,
                    boot: stream.boot.0,
                    seq,
                })
                .collect(),
            members: evidence.members.into_iter().map(member).collect(),
        }
    }
}

impl From<EvidenceWord> for Evidence {
    fn from(word: EvidenceWord) -> Self {
        let member = |m: MemberWord| {
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
            fenced_at: word.fenced_at,
            streams: word
                .streams
                .into_iter()
                .map(|s: StreamWord| {
                    (
                        StreamId {
                            incarnation: Incarnation(s.incarnation),
                            boot: Boot(s.boot),
                        },
                        s.seq,
                    )
                })
                .collect(),
            members: word.members.into_iter().map(member).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
            serde_json::to_string(&EvidenceWord::from(evidence.clone())).expect("serializes");
        let word: EvidenceWord = serde_json::from_str(&json).expect("deserializes");

        assert_eq!(Evidence::from(word), evidence);
    }

    #[test]
    fn a_question_is_no_change_that_an_operator_asks_for() {
        let question = serde_json::to_value(Question::Holdings(4)).expect("serializes");
        assert_eq!(question, serde_json::json!({ "holdings": 4 }));
        let ask = super::super::ask::Ask::new(super::super::ask::Op::Drain, "n0");
        let ask = serde_json::to_value(ask).expect("serializes");
        assert!(serde_json::from_value::<Question>(ask).is_err());
    }
}
