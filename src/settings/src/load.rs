//! From sources to typed settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat, Source};

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
        Self {
            problems: vec![problem.into()],
        }
    }
}

impl From<config::ConfigError> for SettingsError {
    fn from(error: config::ConfigError) -> Self {
        Self::one(error.to_string())
    }
}

/// Reads and validates the settings.
pub fn load(sources: &Sources) -> Result<Settings, SettingsError> {
    let typed = merge(sources)?;
    let problems = unknown_keys(&typed);
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }

    let settings: Settings = typed
        .try_deserialize()
        .map_err(|e| SettingsError::one(e.to_string()))?;

    let problems = settings.validate();
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError { problems })
    }
}

fn merge(sources: &Sources) -> Result<Config, SettingsError> {
    let mut builder = Config::builder();
    if let Some(path) = &sources.file {
        builder = builder.add_source(toml_file(path)?);
    }

    let (variables, structured) = environment(&sources.environment)?;
    builder = builder.add_source(
        Environment::with_prefix("TRIREME")
            .separator("__")
            .source(Some(variables)),
    );

    builder = builder.add_source(config_of(structured)?);
    for pair in &sources.set {
        let (key, value) = setting(pair)?;
        builder = builder.set_override(key, value)?;
    }

    Ok(builder.build()?)
}

fn toml_file(path: &Path) -> Result<impl Source + Send + Sync + 'static, SettingsError> {
    if !path.is_file() {
        return Err(SettingsError::one(format!(
            "settings file {} does not exist",
            path.display()
        )));
    }
    Ok(File::from(path).format(FileFormat::Toml))
}

fn config_of(values: Vec<(String, config::Value)>) -> Result<Config, SettingsError> {
    let mut builder = Config::builder();
    for (key, value) in values {
        builder = builder.set_override(key, value)?;
    }
    Ok(builder.build()?)
}

/// Key and value of `--set section.key=value`.
fn setting(pair: &str) -> Result<(&str, config::Value), SettingsError> {
    let (key, text) = pair.split_once('=').ok_or_else(|| {
        SettingsError::one(format!("--set {pair:?}: write --set section.key=value"))
    })?;
    let key = key.trim();
    let text = text.trim();
    let value = structured_value(key, text)?.unwrap_or_else(|| config::Value::from(text));
    Ok((key, value))
}

/// Variables that hold plain values, by name.
type Variables = config::Map<String, String>;

/// Variables that hold plain values, and those that hold lists and tables, by key.
fn environment(
    given: &BTreeMap<String, String>,
) -> Result<(Variables, Vec<(String, config::Value)>), SettingsError> {
    let mut plain = Variables::default();

    let mut structured = Vec::new();
    for (name, text) in given {
        let key = name
            .strip_prefix("TRIREME__")
            .map(|rest| rest.to_lowercase().replace("__", "."));
        let value = key
            .as_deref()
            .map(|key| structured_value(key, text.trim()))
            .transpose()?
            .flatten();
        match (key, value) {
            (Some(key), Some(value)) => structured.push((key, value)),
            _ => drop(plain.insert(name.clone(), text.clone())),
        }
    }

    Ok((plain, structured))
}

/// Keys that hold lists of texts: as in the file, or with commas.
const LISTS: [&str; 2] = ["query.replica_labels", "bucket.replica_labels"];
/// Keys that hold tables, as in the file.
const TABLES: [&str; 2] = ["bucket.external_labels", "tenants.overrides"];

/// The value of a key that holds a list or a table; none for others, and where a text is meant.
fn structured_value(key: &str, text: &str) -> Result<Option<config::Value>, SettingsError> {
    let is_table = TABLES
        .iter()
        .any(|table| key.strip_prefix(table).is_some_and(is_below));

    let is_list = LISTS.contains(&key);
    if (is_list && text.starts_with('[')) || (is_table && text.starts_with('{')) {
        let mut document: toml::Table = format!("value = {text}")
            .parse()
            .map_err(|e: toml::de::Error| SettingsError::one(format!("{key}: {}", e.message())))?;
        return Ok(document.remove("value").map(from_toml));
    }

    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned);

    Ok(is_list.then(|| config::Value::from(parts.collect::<Vec<String>>())))
}

/// True for the rest of a key that is a table or something in it.
fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

fn from_toml(value: toml::Value) -> config::Value {
    use config::ValueKind;

    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(is) => ValueKind::Boolean(is),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(items) => ValueKind::Array(items.into_iter().map(from_toml).collect()),
        toml::Value::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, from_toml(value)))
                .collect(),
        ),
    };

    config::Value::new(None, kind)
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

    let limits: Vec<&str> = known
        .iter()
        .filter_map(|key| key.strip_prefix("tenants.limits."))
        .collect();
    let mut problems = Vec::new();
    for key in given.iter().filter(|key| !known.contains(*key)) {
        if OPEN_TABLES.iter().any(|open| key.starts_with(open)) {
            continue;
        }

        let overrides = key.strip_prefix(OVERRIDES);
        let Some((tenant, limit)) = overrides.and_then(|rest| rest.rsplit_once('.')) else {
            let meant = nearest(key, known.iter().map(String::as_str));
            problems.push(unknown_key(key, meant.map(str::to_owned)));
            continue;
        };

        if !limits.contains(&limit) {
            let meant = nearest(limit, limits.iter().copied());
            let meant = meant.map(|meant| format!("{OVERRIDES}{tenant}.{meant}"));
            problems.push(unknown_key(key, meant));
        }
    }

    problems
}

fn unknown_key(key: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("{key}: unknown key; did you mean {meant}?"),
        None => format!("{key}: unknown key; configs/trireme.toml lists all keys"),
    }
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
            toml::Value::Table(inner) if !inner.is_empty() => {
                flatten(&format!("{prefix}{key}."), inner, out)
            }
            toml::Value::Table(_) => {}
            _ => drop(out.insert(format!("{prefix}{key}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_set(pairs: &[&str]) -> Result<Settings, SettingsError> {
        load(&Sources {
            set: pairs.iter().map(|s| (*s).to_owned()).collect(),
            ..Sources::default()
        })
    }

    #[test]
    fn later_sources_win() {
        let mut sources = Sources::default();
        sources
            .environment
            .insert("TRIREME__STORAGE__WINDOW".into(), "4h".into());
        sources
            .environment
            .insert("TRIREME__NODE__NAME".into(), "from-env".into());
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
    fn tables_and_lists_have_the_form_of_the_file_everywhere() {
        let labels = r#"{cluster="c0", "zone" = "z,1"}"#;
        let overrides = r#"{ "team-a" = { series_max = 5 } }"#;
        let set = [
            format!("bucket.external_labels={labels}"),
            format!("tenants.overrides = {overrides}"),
            "tenants.overrides.b={series_max=6}".to_owned(),
            r#"query.replica_labels=["replica", "pod"]"#.to_owned(),
            "bucket.replica_labels=a, b".to_owned(),
        ];

        let by_set = load(&Sources {
            set: set.to_vec(),
            ..Sources::default()
        })
        .expect("valid");

        let environment = [
            ("TRIREME__BUCKET__EXTERNAL_LABELS", labels),
            ("TRIREME__TENANTS__OVERRIDES", overrides),
            ("TRIREME__TENANTS__OVERRIDES__B", "{series_max=6}"),
            ("TRIREME__QUERY__REPLICA_LABELS", "replica,pod"),
            ("TRIREME__BUCKET__REPLICA_LABELS", r#"["a", "b"]"#),
        ];

        let environment = environment
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        let by_environment = load(&Sources {
            environment,
            ..Sources::default()
        })
        .expect("valid");

        assert_eq!(by_set, by_environment);
        assert_eq!(by_set.bucket.external_labels["zone"], "z,1");
        assert_eq!(by_set.tenants.overrides.len(), 2);
        assert_eq!(by_set.query.replica_labels, ["replica", "pod"]);
        assert_eq!(by_set.bucket.replica_labels, ["a", "b"]);

        let error = with_set(&["bucket.external_labels={cluster=}"])
            .expect_err("no TOML")
            .to_string();
        assert!(error.starts_with("bucket.external_labels: "), "{error}");

        let error = with_set(&["tenants.overrides={a={serie_max=1}}"]).expect_err("no such limit");
        assert!(
            error
                .to_string()
                .contains("did you mean tenants.overrides.a.series_max"),
            "{error}"
        );
    }

    #[test]
    fn reports_every_unknown_key_at_once() {
        let problems = with_set(&["storage.windw=1h", "http.lisen=x:1"])
            .expect_err("two wrong keys")
            .problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn names_the_key_of_a_wrong_value() {
        let error = with_set(&["storage.window=soon"])
            .expect_err("no duration")
            .to_string();
        assert!(
            error.contains("storage.window") && error.contains("soon"),
            "{error}"
        );
    }

    #[test]
    fn example_file_holds_every_key_with_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/trireme.toml");
        let text =
            std::fs::read_to_string(path).expect("configs/trireme.toml is part of the repository");
        let table: toml::Table = text.parse().expect("example is TOML");
        let mut keys = BTreeSet::new();

        flatten("", &table, &mut keys);
        assert_eq!(keys, default_keys());
        let from_file = load(&Sources {
            file: Some(path.into()),
            ..Sources::default()
        })
        .expect("example is valid");

        assert_eq!(from_file, Settings::default());
    }
}
