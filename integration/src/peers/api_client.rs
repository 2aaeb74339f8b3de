//! PyPI's prometheus-api-client: a client of the query API that others wrote in another language.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

use super::find;
use crate::verdict::left_out;

/// A Python that has the client.
pub struct ApiClient {
    python: PathBuf,
}

impl ApiClient {
    /// `TRIREME_API_CLIENT`, or the `python3` on the path, if it can import the client; nothing after the test was
    /// reported left out.
    pub fn installed(test: &str) -> Option<Self> {
        let named = std::env::var_os("TRIREME_API_CLIENT").map(PathBuf::from);
        let found = named.into_iter().chain(find("python3")).find(|python| has_client(python));
        if found.is_none() {
            left_out(test, "prometheus-api-client from PyPI not installed (scripts/test says how)");
        }
        found.map(|python| Self { python })
    }

    /// Runs a script, which must print JSON.
    pub fn run(&self, script: &str, arguments: &[&str]) -> anyhow::Result<Json> {
        let mut command = Command::new(&self.python);
        command.arg("-").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut python = command.spawn().context("python")?;
        python.stdin.take().context("no input")?.write_all(script.as_bytes())?;
        let output = python.wait_with_output()?;
        ensure!(output.status.success(), "the client failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("output of the client")
    }
}

fn has_client(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import prometheus_api_client"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
