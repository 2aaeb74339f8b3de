//! `trireme ring`: who is in the cluster, and changing that.

mod change;

use serde_json::{Map, Value};

use crate::commands::block::width;
use crate::commands::print_line;
use crate::commands::query::client::{Client, ClientArgs};

/// Shows and changes the ring of replica groups.
#[derive(clap::Subcommand)]
pub enum Command {
    Show(Show),
    Join(change::Join),
    Activate(change::Activate),
    Replace(change::Replace),
    Drain(change::Drain),
    Move(change::Move),
    Remove(change::Remove),
    Weigh(change::Weigh),
}

/// Shows groups and replicas as a node knows them: states, addresses, and how far each one is behind.
#[derive(clap::Args)]
pub struct Show {
    #[command(flatten)]
    client: ClientArgs,
    /// Form of the output; json is the node's answer as it is.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Show(args) => show(args),
        Command::Join(args) => args.run(),
        Command::Activate(args) => args.run(),
        Command::Replace(args) => args.run(),
        Command::Drain(args) => args.run(),
        Command::Move(args) => args.run(),
        Command::Remove(args) => args.run(),
        Command::Weigh(args) => args.run(),
    }
}

fn show(args: &Show) -> anyhow::Result<()> {
    let ring = Client::new(&args.client)?
        .get("/api/v1/admin/ring", &[])?
        .data;

    print_line(&match args.output {
        Output::Json => serde_json::to_string_pretty(&ring)?,
        Output::Table => text(&ring),
    });

    Ok(())
}

/// The ring for a person. The columns are what the node tells about its members: a newer node may tell more.
fn text(ring: &Value) -> String {
    let mut lines = vec![plain_fields(ring)];
    let warnings = ring
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();

    lines.extend(
        warnings
            .filter_map(Value::as_str)
            .map(|warning| format!("warning: {warning}")),
    );

    for group in ring
        .get("groups")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        lines.push(String::new());
        lines.push(plain_fields(group));
        let members: Vec<&Map<String, Value>> = ["members", "replicas"]
            .iter()
            .filter_map(|key| group.get(key)?.as_array())
            .flatten()
            .filter_map(Value::as_object)
            .collect();
        lines.extend(table(&members));
    }

    lines.join("\n")
}

/// Fields of an object that are no lists or objects, on one line.
fn plain_fields(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    let plain = fields.filter(|(_, value)| !value.is_array() && !value.is_object());
    plain
        .map(|(key, value)| format!("{} {}", key.replace('_', " "), cell(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) if text.is_empty() => "-".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(members: &[&Map<String, Value>]) -> Vec<String> {
    let mut columns: Vec<&str> = Vec::new();
    for key in members.iter().flat_map(|member| member.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }

    columns.sort_by_key(|name| rank(name));
    let mut rows = vec![
        columns
            .iter()
            .map(|name| name.replace('_', " "))
            .collect::<Vec<_>>(),
    ];

    rows.extend(members.iter().map(|member| {
        columns
            .iter()
            .map(|name| member.get(*name).map_or_else(|| "-".to_string(), cell))
            .collect()
    }));

    side_by_side(&rows)
}

/// What a reader looks for comes first; the rest keeps the node's order.
fn rank(name: &str) -> usize {
    let first = ["node", "name", "state", "zone", "address"];
    let at = first.iter().position(|first| *first == name);
    at.unwrap_or(first.len())
}

/// Lines of a table, set in a little.
fn side_by_side(rows: &[Vec<String>]) -> Vec<String> {
    let columns = 0..rows[0].len();
    let widths: Vec<usize> = columns.map(|column| width(rows, column)).collect();
    rows.iter()
        .map(|row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("  {}", cells.join("  ")).trim_end().to_string()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn shows_every_field_of_every_member() {
        let ring = json!({"epoch": 3, "replication_factor": 3, "groups": [{"name": "g0", "members": [
            {"address": "10.0.0.1:19391", "node": "n0", "state": "active", "zone": "a"},
            {"address": "10.0.0.2:19391", "behind_bytes": 7, "node": "n1", "state": "draining"},
        ]}]});
        let want = "epoch 3, replication factor 3\n\nname g0\n\
                    \x20 node  state     zone  address         behind bytes\n\
                    \x20 n0    active    a     10.0.0.1:19391  -\n\
                    \x20 n1    draining  -     10.0.0.2:19391  7";

        assert_eq!(text(&ring), want);
    }
}
