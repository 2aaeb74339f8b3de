//! The real programs a node has to get along with. One that is not installed is said plainly, never skipped silently.

mod moto;
mod node_exporter;
mod process;
mod prometheus;
mod promtool;
mod python;
mod vmagent;
mod vmalert;

use std::path::PathBuf;

pub use moto::Moto;
pub use node_exporter::NodeExporter;
pub use prometheus::{Prometheus, PrometheusBuilder};
pub use promtool::Promtool;
pub use python::{API_CLIENT, OTEL_SDK, Python};
pub use vmagent::VmAgent;
pub use vmalert::VmAlert;

use crate::verdict::left_out;

/// Paths of Debian's programs by name, or nothing after the test was reported as left out.
pub fn installed<const N: usize>(test: &str, programs: [&str; N]) -> Option<[PathBuf; N]> {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| find(program).is_none())
        .collect();

    if !missing.is_empty() {
        left_out(
            test,
            &format!(
                "{} not installed (scripts/test says how)",
                missing.join(" and ")
            ),
        );
        return None;
    }

    Some(programs.map(|program| find(program).unwrap_or_default()))
}

fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
