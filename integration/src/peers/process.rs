//! A child process that is killed when its handle goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::node::die_with_parent;

/// A running peer with its log.
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts `command`; both its outputs go to `<name>.log` in `dir`.
    pub(crate) fn start(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;

        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        die_with_parent(&mut command);

        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;

        Ok(Self {
            name: name.to_owned(),
            log,
            child: Some(child),
        })
    }

    /// Fails if the process has ended, with the end of its log.
    pub(crate) fn must_run(&mut self) -> anyhow::Result<()> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.map(|status| status.to_string()),
            None => Some("a kill".to_owned()),
        };
        ended.map_or(Ok(()), |by| {
            Err(anyhow::anyhow!(
                "{} ended with {by}:\n{}",
                self.name,
                self.tail()
            ))
        })
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
