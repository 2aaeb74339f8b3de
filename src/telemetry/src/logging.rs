//! The log pipeline: slog, written by one background thread behind a bounded queue.

use std::io::IsTerminal;
use std::str::FromStr;

use slog::{Drain, Level, Logger, o};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Terminal form if stderr is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Terminal,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "terminal" => Ok(Self::Terminal),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "{other:?} is no log format; use auto, terminal or json"
            )),
        }
    }
}

/// Least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(Level);

impl Default for LogLevel {
    fn default() -> Self {
        Self(Level::Info)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self(Level::Error)),
            "warn" => Ok(Self(Level::Warning)),
            "info" => Ok(Self(Level::Info)),
            "debug" => Ok(Self(Level::Debug)),
            "trace" => Ok(Self(Level::Trace)),
            other => Err(format!(
                "{other:?} is no log level; use error, warn, info, debug or trace"
            )),
        }
    }
}

/// Lines that wait for the writer before new ones are counted and dropped; a slow terminal never slows a write.
const QUEUE_LINES: usize = 8_192;

/// A logger that writes to stderr. Keep the returned guard until the end of the process: dropping it flushes.
pub fn logger(format: LogFormat, level: LogLevel) -> (Logger, slog_async::AsyncGuard) {
    let terminal = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Terminal => true,
        LogFormat::Json => false,
    };

    let drain: Box<dyn Drain<Ok = (), Err = slog::Never> + Send> = if terminal {
        let decorator = slog_term::TermDecorator::new().stderr().build();
        Box::new(
            slog_term::FullFormat::new(decorator)
                .use_utc_timestamp()
                .build()
                .fuse(),
        )
    } else {
        Box::new(
            slog_json::Json::new(std::io::stderr())
                .add_default_keys()
                .build()
                .fuse(),
        )
    };

    let (drain, guard) = slog_async::Async::new(drain)
        .chan_size(QUEUE_LINES)
        .overflow_strategy(slog_async::OverflowStrategy::DropAndReport)
        .build_with_guard();
    let drain = slog::LevelFilter::new(drain, level.0).map(slog::Fuse);

    (Logger::root(drain, o!()), guard)
}

/// A logger that writes nothing, for tests and tools.
pub fn discard_logger() -> Logger {
    Logger::root(slog::Discard, o!())
}
