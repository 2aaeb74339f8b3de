//! Rules of the house that no compiler holds: layers, dependencies that are used, a page for every crate, and functions
//! that breathe.

#[path = "tidy/density.rs"]
mod density;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use density::Density;
use serde::Deserialize;

/// A crate's page has at least this many lines.
const PAGE_LINES: usize = 8;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` or `build`; nothing for what the product needs.
    kind: Option<String>,
    path: Option<PathBuf>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the tree is there")
}

/// The crates of the workspace by their folder, as `cargo` reads them.
fn packages() -> anyhow::Result<BTreeMap<String, Package>> {
    let asked = [
        "metadata",
        "--no-deps",
        "--offline",
        "--locked",
        "--format-version",
        "1",
    ];

    let output = Command::new(env!("CARGO"))
        .args(asked)
        .current_dir(root())
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let found: Metadata = serde_json::from_slice(&output.stdout)?;
    let folder = |package: &Package| -> anyhow::Result<String> {
        let folder = package
            .manifest_path
            .parent()
            .context("a manifest in no folder")?;
        Ok(folder.strip_prefix(root())?.display().to_string())
    };

    found
        .packages
        .into_iter()
        .map(|package| Ok((folder(&package)?, package)))
        .collect()
}

/// All sources below some folders of a crate, one after the other.
fn sources(package: &Package, folders: &[&str]) -> anyhow::Result<String> {
    let folders = folders
        .iter()
        .map(|folder| package.manifest_path.with_file_name(folder))
        .collect();

    let mut text = String::new();
    for path in rust_files(folders, |_| true)? {
        writeln!(text, "{}", fs::read_to_string(&path)?)?;
    }
    Ok(text)
}

/// The Rust files that are below some folders or are named, without files and folders of other names than `takes` takes.
fn rust_files(mut open: Vec<PathBuf>, takes: fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !takes(&name) {
            continue;
        }

        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The name stands in the text as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// Folders of the crates in ARCHITECTURE's table, from below.
fn layers() -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let (_, table) = page
        .split_once("\n## Crates\n")
        .context("ARCHITECTURE.md has no list of crates")?;
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));

    rows.map(|row| {
        Ok(row
            .split('`')
            .nth(1)
            .with_context(|| format!("no crate in {row}"))?
            .to_owned())
    })
    .collect()
}

#[test]
fn crates_import_only_from_those_above_them_in_the_table() -> anyhow::Result<()> {
    let packages = packages()?;

    let layers = layers()?;
    for folder in packages.keys() {
        ensure!(
            layers.contains(folder),
            "{folder} is missing in ARCHITECTURE's table of crates"
        );
    }

    let layer = |folder: &str| layers.iter().position(|one| one == folder);
    for (folder, package) in &packages {
        let used = package.dependencies.iter().filter(|one| one.kind.is_none());
        for path in used.filter_map(|one| one.path.as_ref()) {
            let used = path
                .canonicalize()?
                .strip_prefix(root())?
                .display()
                .to_string();
            ensure!(
                layer(&used) < layer(folder),
                "{folder} imports {used}, which stands below it"
            );
        }
    }

    Ok(())
}

#[test]
fn every_dependency_is_used() -> anyhow::Result<()> {
    let mut unused = Vec::new();
    for (folder, package) in packages()? {
        let product = sources(&package, &["src"])?;

        let mut with_tests = sources(&package, &["src", "tests", "benches", "examples"])?;
        if folder == "integration/seeded-fuzz" {
            // It runs the targets of another folder.
            for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
                with_tests.push_str(&fs::read_to_string(entry?.path())?);
            }
        }

        let manifest = fs::read_to_string(&package.manifest_path)?;
        for dependency in &package.dependencies {
            let text = if dependency.kind.is_none() {
                &product
            } else {
                &with_tests
            };
            // One that is there for its features says so.
            if dependency.kind.as_deref() != Some("build")
                && !has_word(text, &dependency.name.replace('-', "_"))
                && !manifest.lines().any(|line: &str| {
                    line.starts_with(&dependency.name) && line.contains("# features of")
                })
            {
                unused.push(format!("{folder} does not use {}", dependency.name));
            }
        }
    }

    ensure!(unused.is_empty(), "{}", unused.join("\n"));
    Ok(())
}

#[test]
fn every_crate_opens_with_a_page() -> anyhow::Result<()> {
    for (folder, package) in packages()? {
        let library = package.manifest_path.with_file_name("src").join("lib.rs");
        if !folder.starts_with("integration") && library.exists() {
            let text = fs::read_to_string(&library)?;
            let lines = text
                .lines()
                .take_while(|line| line.starts_with("//!"))
                .count();
            ensure!(
                lines >= PAGE_LINES,
                "{} says little of {}",
                library.display(),
                package.name
            );
        }
    }
    Ok(())
}

/// The product's files, below a root; files of tests are left out.
fn product_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let roots = vec![root.join("actors"), root.join("src")];
    rust_files(roots, |name| {
        !["tests", "benches", "examples", "tests.rs"].contains(&name)
    })
}

#[test]
fn functions_breathe() -> anyhow::Result<()> {
    // `scripts/density` shows the figures of any tree.
    let tree = std::env::var_os("TRIREME_TREE");
    let root = tree.as_ref().map_or_else(root, PathBuf::from);
    let mut density = Density::default();
    for path in product_files(&root)? {
        density.add(&path)?;
    }
    println!("{density}");
    if tree.is_some() {
        return Ok(());
    }

    ensure!(density.tokens_per_line() <= 8.0, "{density}");
    ensure!(density.tokens_quantile(0.95) <= 260, "{density}");
    ensure!(density.named_closures() < 1.0, "{density}");
    ensure!(density.tuple_lets() < 0.5, "{density}");
    ensure!(density.without_paragraphs() < 0.3, "{density}");
    Ok(())
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("use serde::Deserialize;", "serde") && has_word("serde", "serde"));
    assert!(!has_word("use serde_json::Value;", "serde") && !has_word("myserde::x", "serde"));
}
