//! The daemon under test, and what is preloaded into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};

/// The `trireme` binary: `TRIREME_BIN`, or the one beside this test executable, brought up to date once a process.
pub fn trireme() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let find = || match std::env::var_os("TRIREME_BIN") {
        Some(path) => PathBuf::from(path).canonicalize().context("TRIREME_BIN"),
        None => built("trireme", "trireme"),
    };
    let found = BINARY.get_or_init(|| find().map_err(|error| format!("{error:#}")));

    found
        .as_deref()
        .map_err(|error| anyhow::anyhow!("no trireme binary: {error}"))
}

/// The library of faults (`integration/faults`), likewise.
pub(crate) fn fault_library() -> anyhow::Result<&'static Path> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = LIBRARY.get_or_init(|| {
        built("trireme-faults", "libtrireme_faults.so").map_err(|error| format!("{error:#}"))
    });
    found
        .as_deref()
        .map_err(|error| anyhow::anyhow!("no library of faults: {error}"))
}

/// Builds a package in the profile of this test executable; answers where its `file` is.
fn built(package: &str, file: &str) -> anyhow::Result<PathBuf> {
    // target/<profile>/deps/<test>, so the profile's folder is two up.
    let test = std::env::current_exe()?;
    let profile = test
        .parent()
        .and_then(Path::parent)
        .context("test executable has no folder")?;
    let target = profile.parent().context("profile folder has no parent")?;
    let mut build = Command::new(env!("CARGO"));

    build
        .args(["build", "--quiet", "--package", package, "--target-dir"])
        .arg(target);

    if profile.ends_with("release") {
        build.arg("--release");
    }

    let status = build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cargo")?;

    if !status.success() {
        bail!("cargo build --package {package} ended with {status}");
    }

    profile
        .join(file)
        .canonicalize()
        .with_context(|| format!("{file} is not where cargo should have put it"))
}
