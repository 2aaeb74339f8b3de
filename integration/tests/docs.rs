//! What the documents name exists: files, settings, metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below `dir` whose name ends so.
fn files(dir: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&path, ending)?);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }

    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[test]
fn every_link_of_a_document_leads_somewhere() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for document in files(&root(), ".md")? {
        for link in read(&document)?
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !document.parent().is_some_and(|dir| dir.join(path).exists()) {
                broken.push(format!("{} links to {link}", document.display()));
            }
        }
    }

    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn every_source_file_that_the_architecture_names_exists() -> anyhow::Result<()> {
    let text = read(&root().join("ARCHITECTURE.md"))?;
    let names = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.ends_with(".rs") || name.starts_with("src/"));

    let sources: Vec<String> = files(&root(), ".rs")?
        .iter()
        .map(|path| path.display().to_string())
        .collect();

    for name in names {
        let is_there = root().join(name).exists()
            || sources
                .iter()
                .any(|path| path.ends_with(&format!("/{name}")));
        ensure!(is_there, "ARCHITECTURE.md names {name}");
    }

    Ok(())
}

/// Words of `text` that begin so and look like names.
fn names<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix))
        .collect()
}

#[test]
fn every_metric_that_is_watched_exists() -> anyhow::Result<()> {
    let mut sources = String::new();
    for path in files(&root().join("src"), ".rs")?
        .into_iter()
        .chain(files(&root().join("actors"), ".rs")?)
    {
        sources += &read(&path)?;
    }

    let crates: BTreeSet<String> = files(&root(), "Cargo.toml")?
        .iter()
        .filter_map(|path| Some(format!("trireme_{}", path.parent()?.file_name()?.to_str()?)))
        .collect();
    let watchers = [
        files(&root().join("configs"), ".yml")?,
        files(&root().join("configs"), ".json")?,
    ];

    let documents = files(&root().join("docs"), ".md")?;
    for watcher in watchers.iter().flatten().chain(&documents) {
        for name in names(&read(watcher)?, "trireme_") {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending));
            let is_made = |name: &str| sources.contains(&format!("\"{name}\""));
            let is_known = is_made(name)
                || base.is_some_and(is_made)
                || crates
                    .iter()
                    .any(|c| name.starts_with(c) && sources.contains(&format!("{name}::")));

            ensure!(
                is_known,
                "{} watches {name}, which no code makes",
                watcher.display()
            );
        }
    }

    Ok(())
}

#[test]
fn every_setting_that_the_documents_name_exists() -> anyhow::Result<()> {
    let settings: toml::Table = toml::from_str(&read(&root().join("configs/trireme.toml"))?)?;
    let is_key = |name: &str| {
        let mut at = Some(&toml::Value::Table(settings.clone())).cloned();
        for part in name.split('.') {
            at = at.and_then(|value| value.get(part).cloned());
        }
        at.is_some()
    };

    let mut documents = files(&root().join("docs"), ".md")?;
    documents.push(root().join("README.md"));

    // Pages of formats name files such as checkpoint.tmp, which look like settings.
    documents.retain(|path| !path.components().any(|part| part.as_os_str() == "formats"));

    for document in documents {
        let text = read(&document)?;
        for name in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|code| code.split([' ', '=']).next())
        {
            let in_section = name.split_once('.').is_some_and(|(section, key)| {
                settings.contains_key(section)
                    && key
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || "_.".contains(c))
                    && !key.ends_with("rs")
            });
            ensure!(
                !in_section || is_key(name),
                "{} names the setting {name}",
                document.display()
            );
        }
    }

    Ok(())
}
