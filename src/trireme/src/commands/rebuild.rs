//! `trireme rebuild`: whether a node is being rebuilt from a peer, leaving that, and doing without a peer.

use serde_json::{Value, json};
use trireme_node::{Salvaged, SalvagedBlock};

use crate::commands::block::Output;
use crate::commands::query::client::{Client, ClientArgs};
use crate::commands::{SettingsArgs, print_line};

const REBUILD: &str = "/api/v1/admin/rebuild";
const CANCEL: &str = "/api/v1/admin/rebuild/cancel";

/// Shows and leaves the rebuild of a node from a peer.
#[derive(clap::Subcommand)]
pub enum Command {
    Status(Status),
    Cancel(Cancel),
    Salvage(Salvage),
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

/// Writes what can be read of damaged heads as blocks, where no peer can give a copy.
///
/// Stop every member of the group, run this for each with the settings of the node, and start them. Each gets the blocks of
/// all. Heads that were set aside (damaged-*) stay as they are. Do not use it while one member has everything: the others
/// copy from that one by themselves.
#[derive(clap::Args)]
pub struct Salvage {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    let answer = match command {
        Command::Status(args) => Client::new(&args.client)?.get(REBUILD, &[])?.data,
        Command::Cancel(args) => Client::new(&args.client)?.post_json(CANCEL, &Value::Null)?,
        Command::Salvage(args) => return salvage(args),
    };
    print_line(&text(&answer));
    Ok(())
}

fn salvage(args: &Salvage) -> anyhow::Result<()> {
    let settings = args.settings.load()?;
    let mut all = Vec::new();
    trireme_node::salvage(&settings, |done| match args.output {
        Output::Table => print_line(&salvaged_text(done)),
        Output::Json => all.push(salvaged_json(done)),
    })?;

    if args.output == Output::Json {
        print_line(&serde_json::to_string_pretty(&all)?);
    }

    Ok(())
}

fn lost_chunks(done: &Salvaged) -> u64 {
    done.blocks.iter().map(|block| block.lost_chunks).sum()
}

fn salvaged_text(done: &Salvaged) -> String {
    let mut lines = vec![format!(
        "{}: {} series of checkpoints, {} records of the log ({} in part), {} chunks lost, {} blocks",
        done.from.display(),
        done.series,
        done.records,
        done.in_part,
        lost_chunks(done),
        done.blocks.len()
    )];

    lines.extend(done.blocks.iter().map(|b: &SalvagedBlock| {
        format!(
            "  block {} of {}: {} series, {} samples",
            b.ulid, b.tenant, b.series, b.samples
        )
    }));

    lines.extend(done.damage.iter().map(|what| format!("  lost: {what}")));
    lines.join("\n")
}

fn salvaged_json(done: &Salvaged) -> Value {
    json!({
        "from": done.from.display().to_string(),
        "series": done.series,
        "records": done.records,
        "records_in_part": done.in_part,
        "blocks": done.blocks.iter().map(block_json).collect::<Vec<_>>(),
        "damage": done.damage,
    })
}

fn block_json(b: &SalvagedBlock) -> Value {
    json!({ "block": b.ulid, "tenant": b.tenant, "series": b.series, "samples": b.samples,
            "lost_chunks": b.lost_chunks })
}

/// A line for each thing that the node says; a newer node may say more.
fn text(answer: &Value) -> String {
    let fields = answer
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    fields
        .map(|(key, value): (&String, &Value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{:<18}{value}", key.replace('_', " "))
        })
        .collect::<Vec<_>>()
        .join("\n")
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
