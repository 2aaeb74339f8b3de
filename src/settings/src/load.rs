//! From sources to typed settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, Environment, File, FileFormat};

use crate::nearest::nearest;
use crate::sections::Settings;

/// Where settings come from, weakest first: the built-in defaults, `file`, `environment`, `set`.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Variables such as `TRIREME__STORAGE__WINDOW`; others are ignored.
    pub environment: BTreeMap<String, String>,
    /// `section.key=value` from the command line.
    pub set: Vec<String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .problems.join("\n"))]
pub struct SettingsError {
    /// One sentence a problem, each naming its key or file.
    pub problems: Vec<String>,
}

impl SettingsError {
    fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }
}

/// Reads and validates the settings.
pub fn load(sources: &Sources) -> Result<Settings, SettingsError> {
    let typed = merge(sources)?;
    let problems = unknown_keys(&typed);
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }
    let settings: Settings = typed.try_deserialize().map_err(|e| SettingsError::one(e.to_string()))?;
    let problems = settings.validate();
    if problems.is_empty() { Ok(settings) } else { Err(SettingsError { problems }) }
}

fn merge(sources: &Sources) -> Result<Config, SettingsError> {
    let fail = |e: config::ConfigError| SettingsError::one(e.to_string());
    let mut builder = Config::builder();
    if let Some(path) = &sources.file {
        if !path.is_file() {
            return Err(SettingsError::one(format!("settings file {} does not exist", path.display())));
        }
        builder = builder.add_source(File::from(path.as_path()).format(FileFormat::Toml));
    }
    let variables = sources.environment.clone().into_iter().collect();
    builder = builder.add_source(Environment::with_prefix("TRIREME").separator("__").source(Some(variables)));
    for pair in &sources.set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| SettingsError::one(format!("--set {pair:?}: write --set section.key=value")))?;
        let value = list_or_text(key.trim(), value.trim());
        builder = builder.set_override(key.trim(), value).map_err(fail)?;
    }
    builder.build().map_err(fail)
}

/// Keys that hold lists take commas on the command line.
fn list_or_text(key: &str, value: &str) -> config::Value {
    if key == "query.replica_labels" {
        let parts: Vec<String> = value.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        return config::Value::from(parts);
    }
    config::Value::from(value)
}

/// Keys whose names users choose.
const OPEN_TABLES: [&str; 1] = ["bucket.external_labels."];
/// Tables by tenant, whose keys are those of the limits.
const OVERRIDES: &str = "tenants.overrides.";

fn unknown_keys(typed: &Config) -> Vec<String> {
    let known = default_keys();
    let mut given = BTreeSet::new();
    if let Ok(table) = typed.clone().try_deserialize::<toml::Table>() {
        flatten("", &table, &mut given);
    }
    let limits: Vec<&str> = known.iter().filter_map(|key| key.strip_prefix("tenants.limits.")).collect();
    let unknown = |key: &String, meant: Option<String>| match meant {
        Some(meant) => format!("{key}: unknown key; did you mean {meant}?"),
        None => format!("{key}: unknown key; configs/trireme.toml lists all keys"),
    };

    let mut problems = Vec::new();
    for key in given.iter().filter(|key| !known.contains(*key)) {
        if OPEN_TABLES.iter().any(|open| key.starts_with(open)) {
            continue;
        }
        if let Some((tenant, limit)) = key.strip_prefix(OVERRIDES).and_then(|rest| rest.rsplit_once('.')) {
            if !limits.contains(&limit) {
                let meant = nearest(limit, limits.iter().copied());
                problems.push(unknown(key, meant.map(|meant| format!("{OVERRIDES}{tenant}.{meant}"))));
            }
            continue;
        }
        problems.push(unknown(key, nearest(key, known.iter().map(String::as_str)).map(str::to_owned)));
    }
    problems
}

/// Every key of the defaults, as `section.key`.
pub(crate) fn default_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let table = toml::Table::try_from(Settings::default()).expect("BUG: defaults are plain data");
    flatten("", &table, &mut keys);
    keys
}

fn flatten(prefix: &str, table: &toml::Table, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&format!("{prefix}{key}."), inner, out),
            toml::Value::Table(_) => {}
            _ => drop(out.insert(format!("{prefix}{key}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_set(pairs: &[&str]) -> Result<Settings, SettingsError> {
        load(&Sources { set: pairs.iter().map(|s| (*s).to_owned()).collect(), ..Sources::default() })
    }

    #[test]
    fn later_sources_win() {
        let mut sources = Sources::default();
        sources.environment.insert("TRIREME__STORAGE__WINDOW".into(), "4h".into());
        sources.environment.insert("TRIREME__NODE__NAME".into(), "from-env".into());
        sources.set.push("storage.window=10s".into());
        sources.set.push("storage.window_grace=1s".into());
        let settings = load(&sources).expect("valid");
        assert_eq!(settings.storage.window.to_string(), "10s");
        assert_eq!(settings.node.name, "from-env");
    }

    #[test]
    fn peers_come_as_text_with_commas() {
        let pairs = ["cluster.peers=n0=a:1,n1=b:2,n2=c:3"];
        assert_eq!(with_set(&pairs).expect("valid").cluster.peers.len(), 3);
    }

    #[test]
    fn reports_every_unknown_key_at_once() {
        let problems =
            with_set(&["storage.windw=1h", "http.lisen=x:1"]).expect_err("two wrong keys").problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn names_the_key_of_a_wrong_value() {
        let error = with_set(&["storage.window=soon"]).expect_err("no duration").to_string();
        assert!(error.contains("storage.window") && error.contains("soon"), "{error}");
    }

    #[test]
    fn example_file_holds_every_key_with_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/trireme.toml");
        let text = std::fs::read_to_string(path).expect("configs/trireme.toml is part of the repository");
        let table: toml::Table = text.parse().expect("example is TOML");
        let mut keys = BTreeSet::new();
        flatten("", &table, &mut keys);
        assert_eq!(keys, default_keys());
        let from_file =
            load(&Sources { file: Some(path.into()), ..Sources::default() }).expect("example is valid");
        assert_eq!(from_file, Settings::default());
    }
}
