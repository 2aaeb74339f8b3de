//! Programs of others in Python, from PyPI: each in an environment of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

use super::find;
use crate::verdict::left_out;

/// A package of PyPI that tests run scripts with.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name at PyPI.
    name: &'static str,
    /// What a script imports.
    module: &'static str,
    /// The variable that names a Python which has it.
    variable: &'static str,
}

/// A client of the query API.
pub const API_CLIENT: Package = Package {
    name: "prometheus-api-client",
    module: "prometheus_api_client",
    variable: "TRIREME_API_CLIENT",
};

/// OpenTelemetry's SDK with its OTLP exporter over HTTP.
pub const OTEL_SDK: Package = Package {
    name: "opentelemetry-exporter-otlp-proto-http",
    module: "opentelemetry.exporter.otlp.proto.http",
    variable: "TRIREME_OTEL_SDK",
};

/// A Python that has a package.
pub struct Python(PathBuf);

impl Python {
    /// The one that the package's variable names, or the `python3` on the path, if it can import the package; nothing
    /// after the test was reported left out.
    pub fn with(package: Package, test: &str) -> Option<Self> {
        let named = std::env::var_os(package.variable).map(PathBuf::from);
        let found = named
            .into_iter()
            .chain(find("python3"))
            .find(|python| can_import(python, package.module));

        if found.is_none() {
            left_out(
                test,
                &format!(
                    "{} from PyPI not installed (scripts/test says how)",
                    package.name
                ),
            );
        }

        found.map(Self)
    }

    /// Runs a script, which must print JSON.
    pub fn run(&self, script: &str, arguments: &[&str]) -> anyhow::Result<Json> {
        let mut command = Command::new(&self.0);
        command
            .arg("-")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());

        let mut python = command.spawn().context("python")?;
        python
            .stdin
            .take()
            .context("no input")?
            .write_all(script.as_bytes())?;

        let output = python.wait_with_output()?;
        ensure!(
            output.status.success(),
            "the script failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );

        serde_json::from_slice(&output.stdout).context("output of the script")
    }
}

fn can_import(python: &Path, module: &str) -> bool {
    let mut command = Command::new(python);
    command
        .arg("-c")
        .arg(format!("import {module}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
