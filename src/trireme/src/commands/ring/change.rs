//! Commands that change the ring. Any member takes them; the one that leads the ring's consensus decides.

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::commands::print_line;
use crate::commands::query::client::{Client, ClientArgs, percent_encode};

const MEMBERS: &str = "/api/v1/admin/ring/members";
const GROUPS: &str = "/api/v1/admin/ring/groups";

/// A member as `NAME=HOST:PORT`.
#[derive(Clone, Debug)]
struct NewMember {
    node: String,
    address: String,
}

impl std::str::FromStr for NewMember {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((node, address)) if !node.is_empty() && address.contains(':') => Ok(Self {
                node: node.to_owned(),
                address: address.to_owned(),
            }),
            _ => Err("write NAME=HOST:PORT, with the port of its cluster.listen".to_owned()),
        }
    }
}

impl NewMember {
    /// The request for it, with those of these fields that are given.
    fn body(&self, more: [(&str, Option<Value>); 4]) -> Value {
        let mut body = Map::from_iter([
            ("node".to_owned(), json!(self.node)),
            ("address".to_owned(), json!(self.address)),
        ]);

        for (key, value) in more {
            body.extend(value.map(|value| (key.to_owned(), value)));
        }

        Value::Object(body)
    }
}

/// Adds a member. Start it first, with cluster.join=true and members of this cluster in cluster.peers. It is filled, and
/// counts once it is activated.
#[derive(clap::Args)]
pub struct Join {
    #[command(flatten)]
    client: ClientArgs,
    /// The new member.
    #[arg(value_name = "NAME=HOST:PORT")]
    member: NewMember,
    /// Its failure zone.
    #[arg(long)]
    zone: Option<String>,
    /// The group it joins, where there are several.
    #[arg(long)]
    group: Option<String>,
    /// The group it joins, which is founded if it is not there. It takes its share of the series as soon as it has as many
    /// members as the replication factor asks for; nothing else has to be done.
    #[arg(long, value_name = "GROUP", conflicts_with = "group")]
    new_group: Option<String>,
    /// Share of a group that is founded, relative to the weights of the others.
    #[arg(long, requires = "new_group")]
    weight: Option<u32>,
}

impl Join {
    fn body(&self) -> Value {
        self.member.body([
            ("zone", self.zone.as_deref().map(Value::from)),
            ("group", self.group.as_deref().map(Value::from)),
            ("new_group", self.new_group.as_deref().map(Value::from)),
            ("weight", self.weight.map(|weight| json!(weight))),
        ])
    }

    pub fn run(&self) -> anyhow::Result<()> {
        let body = self.body();
        report(Client::new(&self.client)?.post_json(MEMBERS, &body)?)
    }
}

/// Tells the ring where a member listens now. Its connections are made anew; it keeps its data and its place.
#[derive(clap::Args)]
pub struct Move {
    #[command(flatten)]
    client: ClientArgs,
    /// The member with its new address.
    #[arg(value_name = "NAME=HOST:PORT")]
    member: NewMember,
}

impl Move {
    pub fn run(&self) -> anyhow::Result<()> {
        let path = format!("{MEMBERS}/{}/move", percent_encode(&self.member.node));
        report(
            Client::new(&self.client)?
                .post_json(&path, &json!({ "address": self.member.address }))?,
        )
    }
}

/// Replaces a member: the new one is filled and activated, the old one drains and leaves, all by itself.
#[derive(clap::Args)]
pub struct Replace {
    #[command(flatten)]
    client: ClientArgs,
    /// The member that leaves; it may be down.
    #[arg(value_name = "OLD")]
    old: String,
    /// The member that takes its place.
    #[arg(value_name = "NEW=HOST:PORT")]
    member: NewMember,
    /// Its failure zone.
    #[arg(long)]
    zone: Option<String>,
}

impl Replace {
    pub fn run(&self) -> anyhow::Result<()> {
        let path = format!("{MEMBERS}/{}/replace", percent_encode(&self.old));
        let zone = self.zone.as_ref().map(|zone| json!(zone));
        let body = self.member.body([
            ("zone", zone),
            ("group", None),
            ("new_group", None),
            ("weight", None),
        ]);

        report(Client::new(&self.client)?.post_json(&path, &body)?)
    }
}

#[derive(clap::Args)]
struct Target {
    #[command(flatten)]
    client: ClientArgs,
    /// The member.
    #[arg(
        value_name = "NAME",
        required_unless_present = "group",
        conflicts_with = "group"
    )]
    node: Option<String>,
    /// A whole group instead of a member.
    #[arg(long)]
    group: Option<String>,
    /// Do it although it is refused as unsafe; the reason goes into the log.
    #[arg(long, value_name = "REASON")]
    force: Option<String>,
}

impl Target {
    fn body(&self) -> Value {
        self.force
            .as_ref()
            .map_or(Value::Null, |reason| json!({ "force": reason }))
    }

    /// Path of the member or group.
    fn path(&self) -> String {
        match (&self.node, &self.group) {
            (_, Some(group)) => format!("{GROUPS}/{}", percent_encode(group)),
            (node, None) => format!(
                "{MEMBERS}/{}",
                percent_encode(node.as_deref().unwrap_or_default())
            ),
        }
    }

    fn act(&self, action: &str) -> anyhow::Result<()> {
        let path = format!("{}/{action}", self.path());
        report(Client::new(&self.client)?.post_json(&path, &self.body())?)
    }
}

/// Lets a member count for the quorum; refused while it lacks anything that others have. Lets a group take series that was
/// drained before.
#[derive(clap::Args)]
pub struct Activate {
    #[command(flatten)]
    target: Target,
}

impl Activate {
    pub fn run(&self) -> anyhow::Result<()> {
        self.target.act("activate")
    }
}

/// Takes a member out of the quorum. It takes no more writes of its own, and serves what it has. Refused where it would
/// leave fewer copies than the replication factor. A group gives its series to the others; it answers queries about what it
/// has, cuts its windows and uploads them.
#[derive(clap::Args)]
pub struct Drain {
    #[command(flatten)]
    target: Target,
}

impl Drain {
    pub fn run(&self) -> anyhow::Result<()> {
        self.target.act("drain")
    }
}

/// Removes a member that was drained, or that never became active. Its streams are sealed. A group that was drained is
/// removed with all its members, once the bucket has everything that it has.
#[derive(clap::Args)]
pub struct Remove {
    #[command(flatten)]
    target: Target,
}

impl Remove {
    pub fn run(&self) -> anyhow::Result<()> {
        let target = &self.target;
        report(Client::new(&target.client)?.delete_json(&target.path(), &target.body())?)
    }
}

/// Changes the share of the series that a group takes, relative to the weights of the others. Series that move leave their
/// samples where they are.
#[derive(clap::Args)]
pub struct Weigh {
    #[command(flatten)]
    client: ClientArgs,
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Its weight, 1 to 64.
    #[arg(value_name = "WEIGHT")]
    weight: u32,
}

impl Weigh {
    pub fn run(&self) -> anyhow::Result<()> {
        let path = format!("{GROUPS}/{}/weigh", percent_encode(&self.group));
        report(Client::new(&self.client)?.post_json(&path, &json!({ "weight": self.weight }))?)
    }
}

fn report(answer: Value) -> anyhow::Result<()> {
    let epoch = field(&answer, "epoch")
        .and_then(Value::as_u64)
        .context("the answer has no epoch")?;
    let subject = if field(&answer, "group").is_some() {
        format!("group {}", text(&answer, "group"))
    } else {
        text(&answer, "node").to_owned()
    };

    let state = text(&answer, "state");
    print_line(&format!("{subject} is {state} as of epoch {epoch}"));

    for warning in field(&answer, "warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        print_line(&format!("warning: {warning}"));
    }

    Ok(())
}

fn field<'a>(answer: &'a Value, key: &str) -> Option<&'a Value> {
    answer.get(key).filter(|value| !value.is_null())
}

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    field(answer, key).and_then(Value::as_str).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_member_is_a_name_and_an_address() {
        let member: NewMember = "n3=10.0.0.4:19391".parse().expect("valid");
        let want = json!({ "node": "n3", "address": "10.0.0.4:19391", "zone": "c" });
        let zone = Some(json!("c"));
        let none = None;
        let more = [
            ("zone", zone),
            ("group", none.clone()),
            ("new_group", none.clone()),
            ("weight", none),
        ];

        assert_eq!(member.body(more), want);
        for wrong in ["n3", "=10.0.0.4:19391", "n3=10.0.0.4"] {
            assert!(wrong.parse::<NewMember>().is_err(), "{wrong}");
        }
    }
}
