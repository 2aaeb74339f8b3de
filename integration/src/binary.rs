//! The daemon under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};

/// The `trireme` binary: `TRIREME_BIN`, or the one beside this test executable, brought up to date once a process.
pub fn trireme() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.as_deref().map_err(|error| anyhow::anyhow!("no trireme binary: {error}"))
}

fn find() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRIREME_BIN") {
        return PathBuf::from(path).canonicalize().context("TRIREME_BIN");
    }
    // target/<profile>/deps/<test>, so the profile's folder is two up.
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("test executable has no folder")?;
    let target = profile.parent().context("profile folder has no parent")?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "trireme", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("cargo")?;
    if !status.success() {
        bail!("cargo build --package trireme ended with {status}");
    }
    Ok(profile.join("trireme"))
}
