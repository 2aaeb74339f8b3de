//! `trireme rebuild`: whether a node is being rebuilt from a peer, and leaving that.

use serde_json::Value;

use crate::commands::print_line;
use crate::commands::query::client::{Client, ClientArgs};

const REBUILD: &str = "/api/v1/admin/rebuild";
const CANCEL: &str = "/api/v1/admin/rebuild/cancel";

/// Shows and leaves the rebuild of a node from a peer.
#[derive(clap::Subcommand)]
pub enum Command {
    Status(Status),
    Cancel(Cancel),
}

/// Shows whether the node is being rebuilt, why, from whom, and what went wrong.
#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    client: ClientArgs,
}

/// Has the node go on with what it has. Only for one that was left behind; one with a new or damaged disk is refused.
#[derive(clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    let answer = match command {
        Command::Status(args) => Client::new(&args.client)?.get(REBUILD, &[])?.data,
        Command::Cancel(args) => Client::new(&args.client)?.post_json(CANCEL, &Value::Null)?,
    };
    print_line(&text(&answer));
    Ok(())
}

/// A line for each thing that the node says; a newer node may say more.
fn text(answer: &Value) -> String {
    let fields = answer.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let line = |(key, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{:<18}{value}", key.replace('_', " "))
    };
    fields.map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn shows_what_the_node_says() {
        let answer = json!({ "node": "n1", "reason": null, "of_bytes": 7 });
        assert_eq!(text(&answer), "node              n1\nof bytes          7");
    }
}
