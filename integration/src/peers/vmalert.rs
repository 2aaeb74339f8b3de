//! Debian's vmalert: asks for the values of rules and writes what they give.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use super::process::Process;
use crate::client::Client;
use crate::ports::free_port;
use crate::wait::until;

/// A running vmalert.
pub struct VmAlert {
    process: Process,
}

impl VmAlert {
    /// Starts one that evaluates a file of rules by queries to `url`, and writes results and the state of alerts there.
    ///
    /// Alerts go to a port where nobody listens, as it does not start without an address for them.
    pub async fn start(
        program: &Path,
        dir: &Path,
        rules: &Path,
        url: &str,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command
            .arg(format!("-rule={}", rules.display()))
            .arg(format!("-datasource.url={url}"))
            .arg(format!("-remoteWrite.url={url}"))
            .arg("-remoteWrite.flushInterval=200ms")
            .arg(format!("-remoteRead.url={url}"))
            .arg(format!("-notifier.url=http://127.0.0.1:{}", free_port()?))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"));

        let mut process = Process::start("vmalert", dir, command)?;
        let client = Client::new(port)?;
        until("vmalert answers", async || {
            process.must_run()?;
            ensure!(
                client.send(client.get("/health")).await?.is_success(),
                "not yet"
            );
            Ok(())
        })
        .await?;

        Ok(Self { process })
    }

    /// Fails if it has ended, with the end of its log.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        self.process.must_run()
    }
}
