//! Debian's vmagent: another sender, with its own idea of remote write.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use super::process::Process;
use crate::client::Client;
use crate::ports::free_port;
use crate::wait::until;

/// A running vmagent.
pub struct VmAgent {
    client: Client,
    _process: Process,
}

impl VmAgent {
    /// Starts one that scrapes `targets` every second and writes to every URL.
    pub async fn start(
        program: &Path,
        dir: &Path,
        targets: &[u16],
        urls: &[String],
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(dir)?;
        let config = dir.join("scrape.yml");

        let mut text = "global:\n  scrape_interval: 1s\nscrape_configs:\n".to_owned();
        for target in targets {
            text += &format!(
                "- job_name: target-{target}\n  static_configs:\n  - targets: ['127.0.0.1:{target}']\n"
            );
        }

        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command
            .arg(format!("-promscrape.config={}", config.display()))
            .arg(format!(
                "-remoteWrite.tmpDataPath={}",
                dir.join("queue").display()
            ))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"));

        for url in urls {
            command.arg(format!("-remoteWrite.url={url}"));
        }

        let mut process = Process::start("vmagent", dir, command)?;
        let client = Client::new(port)?;
        until("vmagent answers", async || {
            process.must_run()?;
            ensure!(
                client.send(client.get("/health")).await?.is_success(),
                "not yet"
            );
            Ok(())
        })
        .await?;

        Ok(Self {
            client,
            _process: process,
        })
    }

    /// Client of its own pages.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
