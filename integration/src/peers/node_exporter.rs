//! Debian's node exporter: a scrape target with real metrics.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use super::process::Process;
use crate::client::Client;
use crate::ports::free_port;
use crate::wait::until;

/// A running node exporter.
pub struct NodeExporter {
    port: u16,
    process: Process,
}

impl NodeExporter {
    /// Starts it on a free port, or on `port` if one is given, and waits until it can be scraped.
    pub async fn start(program: &Path, dir: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        let port = port.map_or_else(free_port, Ok)?;
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));

        let mut process = Process::start("node-exporter", dir, command)?;
        let client = Client::new(port)?;
        until("the node exporter answers", async || {
            process.must_run()?;
            ensure!(
                client.send(client.get("/metrics")).await?.is_success(),
                "not yet"
            );
            Ok(())
        })
        .await?;

        Ok(Self { port, process })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it, so that its scraper marks all its series stale.
    pub fn kill(mut self) -> u16 {
        self.process.kill();
        self.port
    }
}
