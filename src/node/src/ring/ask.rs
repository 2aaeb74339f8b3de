//! What operators ask for, and its way to the leader.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trireme_api::AdminError;
use trireme_base::{ErrorKind, NodeName};
use trireme_consensus::{Asked, Consensus};
use trireme_ring::{Change, Ring};

use super::steward::Steward;

/// The leader waits for replicas; this is a little longer.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    Join,
    Describe,
    Move,
    Activate,
    Drain,
    Remove,
}

impl Op {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Describe => "describe",
            Self::Move => "move",
            Self::Activate => "activate",
            Self::Drain => "drain",
            Self::Remove => "remove",
        }
    }
}

/// A change as an operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) op: Op,
    pub(crate) node: String,
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) zone: Option<String>,
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) replaces: Option<String>,
    /// Why what is refused otherwise is to be done all the same.
    #[serde(default)]
    pub(crate) force: Option<String>,
}

impl Ask {
    pub(crate) fn new(op: Op, node: &str) -> Self {
        Self {
            op,
            node: node.to_owned(),
            address: String::new(),
            zone: None,
            group: None,
            replaces: None,
            force: None,
        }
    }

    /// A new member as the API's JSON gives it: `node`, `address`, and perhaps `zone` and `group`.
    pub(crate) fn join(body: Value, replaces: Option<&str>) -> Result<Self, AdminError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Joining {
            node: String,
            address: String,
            #[serde(default)]
            zone: Option<String>,
            #[serde(default)]
            group: Option<String>,
        }
        let joining: Joining = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if joining.node.is_empty() || !joining.node.chars().all(named) {
            let message = format!("{:?} is no node name: use letters, digits and -_.", joining.node);
            return Err(AdminError { kind: ErrorKind::Invalid, message });
        }
        Ok(Self {
            address: joining.address,
            zone: joining.zone,
            group: joining.group,
            replaces: replaces.map(str::to_owned),
            ..Self::new(Op::Join, &joining.node)
        })
    }

    /// A new address of a member: `address`.
    pub(crate) fn moved(node: &str, body: Value) -> Result<Self, AdminError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Moved {
            address: String,
        }
        let moved: Moved = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        Ok(Self { address: moved.address, ..Self::new(Op::Move, node) })
    }

    /// A change of one member; the API's JSON may hold `force` with the reason.
    pub(crate) fn about(op: Op, node: &str, body: Value) -> Result<Self, AdminError> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Options {
            #[serde(default)]
            force: Option<String>,
        }
        let options: Option<Options> = serde_json::from_value(body).map_err(|e| invalid(&e))?;
        let force = options.unwrap_or_default().force;
        if force.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            let message = "force needs the reason as its value, for the log".to_owned();
            return Err(AdminError { kind: ErrorKind::Invalid, message });
        }
        Ok(Self { force, ..Self::new(op, node) })
    }

    pub(crate) fn change(&self) -> Change {
        let node = NodeName::new(&self.node);
        match self.op {
            Op::Join => Change::Join {
                node,
                address: self.address.clone(),
                zone: self.zone.clone(),
                group: self.group.clone(),
                replaces: self.replaces.as_deref().map(NodeName::new),
            },
            Op::Describe => Change::Describe { node, zone: self.zone.clone() },
            Op::Move => Change::Move { node, address: self.address.clone() },
            Op::Activate => Change::Activate { node },
            Op::Drain => Change::Drain { node },
            Op::Remove => Change::Leave { node, seals: Vec::new() },
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Done(Value),
    Refused { found: bool, wait: bool, message: String },
}

impl Outcome {
    pub(crate) fn done(ask: &Ask, epoch: u64, ring: &Ring) -> Self {
        let state = ring.member(&NodeName::new(&ask.node)).map(|m| m.state.word());
        Self::Done(json!({ "epoch": epoch, "node": ask.node, "state": state, "warnings": ring.warnings() }))
    }

    pub(crate) fn refused(kind: ErrorKind, message: String) -> Self {
        let wait = !matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound);
        Self::Refused { found: kind != ErrorKind::NotFound, wait, message }
    }

    fn into_result(self) -> Result<Value, AdminError> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused { found, wait, message } => {
                let kind = match (found, wait) {
                    (false, _) => ErrorKind::NotFound,
                    (true, true) => ErrorKind::Unavailable,
                    (true, false) => ErrorKind::Invalid,
                };
                Err(AdminError { kind, message })
            }
        }
    }
}

fn invalid(error: &serde_json::Error) -> AdminError {
    AdminError { kind: ErrorKind::Invalid, message: format!("request body: {error}") }
}

/// Takes an operator's change to the leader, wherever that is.
pub(crate) async fn ask(
    consensus: &Consensus,
    steward: &Arc<Steward>,
    ask: Ask,
) -> Result<Value, AdminError> {
    let ask = serde_json::to_value(ask).unwrap_or(Value::Null);
    let answer = match consensus.find_leader().await {
        None => {
            let error = consensus.no_leader();
            return Err(AdminError { kind: error.kind(), message: error.to_string() });
        }
        Some(leader) if leader == steward.me => steward.answer(ask).await,
        Some(leader) => {
            let asked = consensus.ask(&leader, ask, LEADER_TIMEOUT).await;
            asked.map_err(|why| AdminError {
                kind: ErrorKind::Unavailable,
                message: format!(
                    "{leader} decides about the ring and did not answer ({why}); another one takes over if it is down, ask again"
                ),
            })?
        }
    };
    let outcome: Outcome = serde_json::from_value(answer).map_err(|e| AdminError {
        kind: ErrorKind::Internal,
        message: format!("answer of the leader: {e}"),
    })?;
    outcome.into_result()
}
