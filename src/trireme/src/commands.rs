//! The commands, one file each.

pub mod bench;
pub mod block;
pub mod bucket;
pub mod check;
pub mod dev;
pub mod promqltest;
pub mod query;
pub mod rebuild;
pub mod ring;
pub mod run;
pub mod when;

use std::io::Write;
use std::sync::OnceLock;

use trireme_settings::{Settings, Sources, load};

/// `--config` and `--set`, shared by every command that reads settings.
#[derive(clap::Args, Clone, Debug)]
pub struct SettingsArgs {
    /// Settings file (TOML); configs/trireme.toml lists every key with its default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// Overrides one setting, for example --set storage.window=2m; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// Reads file, environment and overrides.
    pub fn load(&self) -> anyhow::Result<Settings> {
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(key, _)| key.starts_with("TRIREME__"))
            .collect();
        let sources = Sources {
            file: self.config.clone(),
            environment,
            set: self.set.clone(),
        };

        load(&sources)
            .map_err(|e| anyhow::anyhow!("settings are not valid:\n  {}", e.problems.join("\n  ")))
    }
}

/// Version line of `--version`.
pub fn version() -> &'static str {
    static LINE: OnceLock<String> = OnceLock::new();
    LINE.get_or_init(|| {
        let build = trireme_telemetry::build_info();
        format!(
            "{} (revision {}, rust {})",
            build.version, build.revision, build.rust_version
        )
    })
}

/// Prints an error with its causes for a person.
pub fn print_error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "trireme: {error:#}");
}

/// Prints a line for a person or a program; a closed pipe is not an error worth a panic.
pub fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Tells a person how a long command is getting on, apart from its output.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
