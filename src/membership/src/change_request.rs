//! What operators ask for, and its way to the leader.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trireme_base::{ErrorKind, NodeName};
use trireme_consensus::{Asked, Consensus};
use trireme_ring::{Change, GroupPhase, MemberState, Ring};

use crate::controller::RingController;
use crate::messages::Message;

/// The leader waits for replicas; this is a little longer.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often, and after which pauses, it is looked whether a leader can be reached, or whether a change came about whose
/// answer was lost.
const RETRIES: u32 = 10;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Why a change did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// What the caller has to do about it.
    pub kind: ErrorKind,
    /// Text for the operator.
    pub message: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A member comes.
    Join,
    /// A member says where it stands.
    Describe,
    /// A member gets another address.
    Move,
    /// A member counts.
    Activate,
    /// A member takes no more clients.
    Drain,
    /// A member goes.
    Remove,
    /// A group gets another share.
    Weigh,
    /// A group serves again.
    ActivateGroup,
    /// A group gets nothing new.
    DrainGroup,
    /// A group goes.
    RemoveGroup,
}

impl Op {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Describe => "describe",
            Self::Move => "move",
            Self::Activate => "activate",
            Self::Drain => "drain",
            Self::Remove => "remove",
            Self::Weigh => "weigh",
            Self::ActivateGroup => "activate group",
            Self::DrainGroup => "drain group",
            Self::RemoveGroup => "remove group",
        }
    }
}

/// A change as an operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// What is to be done.
    pub op: Op,
    /// The member; empty where a group is meant.
    #[serde(default)]
    pub node: String,
    /// The member's new address.
    #[serde(default)]
    pub address: String,
    /// Where the member stands.
    #[serde(default)]
    pub zone: Option<String>,
    /// The group.
    #[serde(default)]
    pub group: Option<String>,
    /// Whose place the member takes.
    #[serde(default)]
    pub replaces: Option<String>,
    /// Share of the group relative to others. With a new member: found the group if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Why what is refused otherwise is to be done all the same.
    #[serde(default)]
    pub force: Option<String>,
}

impl ChangeRequest {
    /// With nothing said but what and who.
    pub fn new(op: Op, node: &str) -> Self {
        Self {
            op,
            node: node.to_owned(),
            address: String::new(),
            zone: None,
            group: None,
            replaces: None,
            weight: None,
            force: None,
        }
    }

    /// True if it asks for somebody to go who has gone.
    fn has_gone(&self, ring: &Ring) -> bool {
        match self.op {
            Op::Remove => ring
                .member(&NodeName::new(&self.node))
                .is_some_and(|m| m.state == MemberState::Left),
            Op::RemoveGroup => ring
                .group(self.subject())
                .is_some_and(|g| g.phase == GroupPhase::Gone),
            _ => false,
        }
    }

    /// What it is about.
    pub fn subject(&self) -> &str {
        if self.node.is_empty() {
            self.group.as_deref().unwrap_or_default()
        } else {
            &self.node
        }
    }

    /// A new member as the API's JSON gives it: `node`, `address`, and perhaps `zone` and `group`. `new_group` instead of
    /// `group` founds it, with a `weight`, if it is not there.
    pub fn join(body: Value, replaces: Option<&str>) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Joining {
            node: String,
            address: String,
            #[serde(default)]
            zone: Option<String>,
            #[serde(default)]
            group: Option<String>,
            #[serde(default)]
            new_group: Option<String>,
            #[serde(default)]
            weight: Option<u32>,
        }

        let joining: Joining = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        if joining.node.is_empty()
            || !joining
                .node
                .chars()
                .all(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            let message = format!(
                "{:?} is no node name: use letters, digits and -_.",
                joining.node
            );
            return Err(RequestError {
                kind: ErrorKind::Invalid,
                message,
            });
        }

        let weight = joining
            .new_group
            .as_ref()
            .map(|_| joining.weight.unwrap_or(1));

        if (joining.group.is_some() || replaces.is_some()) && joining.new_group.is_some() {
            let message =
                "a member founds a group, joins one, or takes the place of another member"
                    .to_owned();
            return Err(RequestError {
                kind: ErrorKind::Invalid,
                message,
            });
        }

        if weight.is_none() && joining.weight.is_some() {
            let message = "weight goes with new_group; that of a group that is there is changed by `trireme ring weigh`";
            return Err(RequestError {
                kind: ErrorKind::Invalid,
                message: message.to_owned(),
            });
        }

        Ok(Self {
            address: joining.address,
            zone: joining.zone,
            group: joining.new_group.or(joining.group),
            weight,
            replaces: replaces.map(str::to_owned),
            ..Self::new(Op::Join, &joining.node)
        })
    }

    /// A new address of a member: `address`.
    pub fn moved(node: &str, body: Value) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Moved {
            address: String,
        }

        let moved: Moved = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        Ok(Self {
            address: moved.address,
            ..Self::new(Op::Move, node)
        })
    }

    /// A change of a group; the API's JSON may hold `force` with the reason, and holds `weight` where that is changed.
    pub fn about_group(op: Op, group: &str, body: Value) -> Result<Self, RequestError> {
        let group = Some(group.to_owned());
        if op != Op::Weigh {
            return Ok(Self {
                group,
                ..Self::about(op, "", body)?
            });
        }

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Weighed {
            weight: u32,
        }

        let weighed: Weighed = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        Ok(Self {
            group,
            weight: Some(weighed.weight),
            ..Self::new(op, "")
        })
    }

    /// A change of one member; the API's JSON may hold `force` with the reason.
    pub fn about(op: Op, node: &str, body: Value) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Options {
            #[serde(default)]
            force: Option<String>,
        }

        let options: Option<Options> = serde_json::from_value(body).map_err(|e| invalid(&e))?;

        let force = options.unwrap_or_default().force;
        if force
            .as_ref()
            .is_some_and(|reason| reason.trim().is_empty())
        {
            let message = "force needs the reason as its value, for the log".to_owned();
            return Err(RequestError {
                kind: ErrorKind::Invalid,
                message,
            });
        }

        Ok(Self {
            force,
            ..Self::new(op, node)
        })
    }

    /// As the ring understands it.
    pub fn change(&self) -> Change {
        let node = NodeName::new(&self.node);

        let of_group = || self.group.clone().unwrap_or_default();
        match self.op {
            Op::Join => Change::Join {
                node,
                address: self.address.clone(),
                zone: self.zone.clone(),
                group: self.group.clone(),
                replaces: self.replaces.as_deref().map(NodeName::new),
                found: self.weight,
            },
            Op::Describe => Change::Describe {
                node,
                zone: self.zone.clone(),
            },
            Op::Move => Change::Move {
                node,
                address: self.address.clone(),
            },
            Op::Activate => Change::Activate { node },
            Op::Drain => Change::Drain { node },
            Op::Remove => Change::Leave {
                node,
                seals: Vec::new(),
            },
            Op::Weigh => Change::Weigh {
                group: of_group(),
                weight: self.weight.unwrap_or(1),
            },
            Op::ActivateGroup => Change::Resume { group: of_group() },
            Op::DrainGroup => Change::Retire { group: of_group() },
            Op::RemoveGroup => Change::Dissolve { group: of_group() },
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Done(Value),
    Refused {
        found: bool,
        wait: bool,
        message: String,
    },
}

impl Outcome {
    pub(crate) fn done(ask: &ChangeRequest, epoch: u64, ring: &Ring) -> Self {
        if ask.node.is_empty() {
            let state = ring.group(ask.subject()).map(|g| g.phase.word());
            let group = ask.subject();
            let warnings = ring.warnings();
            return Self::Done(
                json!({ "epoch": epoch, "group": group, "state": state, "warnings": warnings }),
            );
        }

        let state = ring
            .member(&NodeName::new(&ask.node))
            .map(|m| m.state.word());

        Self::Done(
            json!({ "epoch": epoch, "node": ask.node, "state": state, "warnings": ring.warnings() }),
        )
    }

    pub(crate) fn refused(kind: ErrorKind, message: String) -> Self {
        let wait = !matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound);
        Self::Refused {
            found: kind != ErrorKind::NotFound,
            wait,
            message,
        }
    }

    fn into_result(self) -> Result<Value, RequestError> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused {
                found,
                wait,
                message,
            } => {
                let kind = match (found, wait) {
                    (false, _) => ErrorKind::NotFound,
                    (true, true) => ErrorKind::Unavailable,
                    (true, false) => ErrorKind::Invalid,
                };
                Err(RequestError { kind, message })
            }
        }
    }
}

fn invalid(error: &serde_json::Error) -> RequestError {
    RequestError {
        kind: ErrorKind::Invalid,
        message: format!("request body: {error}"),
    }
}

/// Takes an operator's change to the leader, wherever that is.
pub async fn submit(
    controller: &RingController,
    request: ChangeRequest,
) -> Result<Value, RequestError> {
    let answered = at_leader(controller, &request)
        .await
        .and_then(Outcome::into_result);
    match answered {
        // Whoever decided may be gone by what was decided, or this node is, and with it the way for the answer.
        Err(error) if error.kind == ErrorKind::Unavailable => {
            for _ in 0..RETRIES {
                let ring = controller.consensus().book().current();
                if request.has_gone(&ring) {
                    return Outcome::done(&request, ring.epoch, &ring).into_result();
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error)
        }
        answered => answered,
    }
}

/// A leader, if possible one that can be reached.
///
/// After a restart a node knows from its disk who leads before it has a connection to anybody.
async fn leader_in_reach(consensus: &Consensus) -> Option<NodeName> {
    for _ in 0..RETRIES {
        let leader = consensus.find_leader().await;
        if leader
            .as_ref()
            .is_some_and(|leader| consensus.reaches(leader))
        {
            return leader;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }

    consensus.find_leader().await
}

async fn at_leader(
    controller: &RingController,
    request: &ChangeRequest,
) -> Result<Outcome, RequestError> {
    let consensus = controller.consensus();
    let message = Message::Change(request.clone());
    let asked = serde_json::to_value(message).unwrap_or(Value::Null);
    let answer = match leader_in_reach(consensus).await {
        None => {
            let error = consensus.no_leader();
            return Err(RequestError {
                kind: error.kind(),
                message: error.to_string(),
            });
        }
        Some(leader) if leader == *controller.me() => controller.answer(asked).await,
        Some(leader) => {
            let asked = consensus.ask(&leader, asked, LEADER_TIMEOUT).await;
            asked.map_err(|why| RequestError {
                kind: ErrorKind::Unavailable,
                message: format!(
                    "{leader} decides about the ring and did not answer ({why}); another one takes over if it is down, ask again"
                ),
            })?
        }
    };

    serde_json::from_value(answer).map_err(|e| RequestError {
        kind: ErrorKind::Internal,
        message: format!("answer of the leader: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(body: Value) -> Result<Change, String> {
        ChangeRequest::join(body, None)
            .map(|ask| ask.change())
            .map_err(|e| e.message)
    }

    #[test]
    fn a_new_member_joins_a_group_or_founds_one() {
        let body = |more: Value| {
            let mut body = json!({ "node": "n3", "address": "h:1" });
            body.as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            body
        };

        let join = |group: Option<&str>, found| Change::Join {
            node: NodeName::new("n3"),
            address: "h:1".to_owned(),
            zone: None,
            group: group.map(str::to_owned),
            replaces: None,
            found,
        };

        assert_eq!(joined(body(json!({}))), Ok(join(None, None)));
        assert_eq!(
            joined(body(json!({ "group": "g1" }))),
            Ok(join(Some("g1"), None))
        );
        assert_eq!(
            joined(body(json!({ "new_group": "g1" }))),
            Ok(join(Some("g1"), Some(1)))
        );
        assert_eq!(
            joined(body(json!({ "new_group": "g1", "weight": 3 }))),
            Ok(join(Some("g1"), Some(3)))
        );

        let both = joined(body(json!({ "group": "g0", "new_group": "g1" })));
        assert!(both.is_err_and(|why| why.contains("founds a group, joins one")));
        let weight = joined(body(json!({ "group": "g0", "weight": 3 })));
        assert!(weight.is_err_and(|why| why.contains("trireme ring weigh")));

        let weighed = ChangeRequest::about_group(Op::Weigh, "g1", json!({ "weight": 2 }))
            .map(|ask| ask.change());
        assert_eq!(
            weighed.ok(),
            Some(Change::Weigh {
                group: "g1".to_owned(),
                weight: 2
            })
        );

        let drained =
            ChangeRequest::about_group(Op::DrainGroup, "g1", Value::Null).map(|ask| ask.change());
        assert_eq!(
            drained.ok(),
            Some(Change::Retire {
                group: "g1".to_owned()
            })
        );
    }
}
