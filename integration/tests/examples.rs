//! The files in `configs/` work as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_integration::peers::installed;
use trireme_integration::{Group, trireme};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}:\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );

    Ok(())
}

#[test]
fn settings_are_valid() -> anyhow::Result<()> {
    for file in ["trireme.toml", "three-nodes.toml"] {
        succeeds(
            Command::new(trireme()?)
                .args(["check", "config", "--config"])
                .arg(configs().join(file)),
        )?;
    }
    Ok(())
}

#[test]
fn prometheus_takes_its_examples() -> anyhow::Result<()> {
    if let Some([promtool]) = installed("prometheus_takes_its_examples", ["promtool"]) {
        succeeds(
            Command::new(&promtool)
                .args(["check", "rules"])
                .arg(configs().join("alerts.yml")),
        )?;
        let example = configs().join("prometheus-remote-write.yml");
        succeeds(
            Command::new(&promtool)
                .args(["check", "config", "--syntax-only"])
                .arg(example),
        )?;
    }
    Ok(())
}

/// Queries of a dashboard's panels, with Grafana's variables filled in.
fn queries(dashboard: &Json) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());

    expressions
        .map(|text| {
            text.replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
        })
        .collect()
}

#[tokio::test]
async fn every_panel_and_every_alert_is_a_query_that_a_node_answers() -> anyhow::Result<()> {
    let dashboard = std::fs::read_to_string(configs().join("grafana/dashboards/trireme.json"))?;
    let mut asked = queries(&serde_json::from_str(&dashboard)?);
    let alerts = std::fs::read_to_string(configs().join("alerts.yml"))?;

    asked.extend(
        alerts
            .lines()
            .filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)),
    );

    ensure!(asked.len() > 20, "only {} queries were found", asked.len());

    let group = Group::of(1).start().await?;
    for query in asked {
        group
            .client(0)
            .api("/api/v1/query", &[("query", &query)])
            .await
            .with_context(|| query.clone())?;
    }

    group.stop().await
}
