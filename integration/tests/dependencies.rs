//! Holds the lock file to `deny.toml` in milliseconds, where `cargo deny` is not installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

#[derive(Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read<T: for<'de> Deserialize<'de>>(file: &str) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
    toml::from_str(&text).with_context(|| file.to_owned())
}

/// `1.2.3` and shorter as numbers; build and pre-release parts are left out.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let mut parts: Vec<u64> = core
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect();
    parts.resize(3, 0);
    parts
}

/// Whether `name@<version` or `name` covers a locked package.
fn is_banned(spec: &str, locked: &Locked) -> anyhow::Result<bool> {
    let Some((name, range)) = spec.split_once('@') else {
        return Ok(spec == locked.name);
    };
    let below = range
        .strip_prefix('<')
        .with_context(|| format!("deny.toml: only < is understood, not {range}"))?;
    Ok(name == locked.name && numbers(&locked.version) < numbers(below))
}

/// Whether an SPDX expression can be met with the allowed licences.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0_i32;
    let mut split_at = |operator: &str| {
        let mut parts = Vec::new();
        let mut start = 0;

        let mut at = 0;
        while at < expression.len() {
            match expression.as_bytes()[at] {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ if depth == 0 && expression[at..].starts_with(operator) => {
                    parts.push(expression[start..at].trim().to_owned());
                    at += operator.len();
                    start = at;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }

        parts.push(expression[start..].trim().to_owned());
        parts
    };

    // OR binds weaker than AND.
    let any = split_at(" OR ");
    if any.len() > 1 {
        return any.iter().any(|part| is_allowed(part, allowed));
    }

    let all = split_at(" AND ");
    if all.len() > 1 {
        return all.iter().all(|part| is_allowed(part, allowed));
    }

    let one = expression.trim();
    match one
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
    {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.contains(one),
    }
}

#[test]
fn no_banned_crate_is_locked() -> anyhow::Result<()> {
    let (policy, lock): (Policy, Lock) = (read("deny.toml")?, read("Cargo.lock")?);
    for ban in &policy.bans.deny {
        for locked in &lock.package {
            let banned = is_banned(&ban.spec, locked)?;
            ensure!(
                !banned,
                "{} {} is banned ({}): {}",
                locked.name,
                locked.version,
                ban.spec,
                ban.reason
            );
        }
    }

    Ok(())
}

#[test]
fn every_crate_comes_from_an_allowed_registry() -> anyhow::Result<()> {
    let (policy, lock): (Policy, Lock) = (read("deny.toml")?, read("Cargo.lock")?);
    let allowed: Vec<String> = policy
        .sources
        .allow_registry
        .iter()
        .map(|url| format!("registry+{url}"))
        .collect();

    for locked in &lock.package {
        match &locked.source {
            None => ensure!(
                locked.name.starts_with("trireme"),
                "{} has no source",
                locked.name
            ),
            Some(source) => ensure!(
                allowed.contains(source),
                "{} comes from {source}",
                locked.name
            ),
        }
    }

    Ok(())
}

#[test]
fn every_licence_is_allowed() -> anyhow::Result<()> {
    let policy: Policy = read("deny.toml")?;
    let mut command = Command::new(env!("CARGO"));

    // The crates of this platform are on disk already, because this test was built with them.
    command
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .current_dir(root());
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);

    let output = command.output().context("cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    for package in &metadata.packages {
        let licence = package
            .license
            .as_deref()
            .with_context(|| format!("{} names no licence", package.name))?;
        let allowed = is_allowed(licence, &policy.licenses.allow);
        ensure!(
            allowed,
            "{} {} is under {licence}",
            package.name,
            package.version
        );
    }

    Ok(())
}

#[test]
fn licence_expressions_and_version_bounds_are_understood() -> anyhow::Result<()> {
    let allowed = BTreeSet::from([
        "MIT".to_owned(),
        "ISC".to_owned(),
        "Apache-2.0 WITH LLVM-exception".to_owned(),
    ]);

    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("(GPL-3.0 OR AGPL-3.0) AND MIT", false),
        ("GPL-3.0 OR Apache-2.0 WITH LLVM-exception", true),
    ] {
        ensure!(is_allowed(expression, &allowed) == expected, "{expression}");
    }

    let locked = |name: &str, version: &str| Locked {
        name: name.into(),
        version: version.into(),
        source: None,
    };

    ensure!(is_banned("h2@<0.4", &locked("h2", "0.3.27"))?);
    ensure!(!is_banned("h2@<0.4", &locked("h2", "0.4.0"))?);
    ensure!(!is_banned("rustls@<0.23.45", &locked("rustls", "0.23.46"))?);
    ensure!(is_banned("serde_yaml", &locked("serde_yaml", "0.9.1"))?);
    ensure!(!is_banned("serde_yaml", &locked("serde_yaml_ng", "0.9.1"))?);

    Ok(())
}
