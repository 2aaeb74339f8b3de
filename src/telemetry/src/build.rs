//! What was built.

/// Facts about this binary, as `/api/v1/status/buildinfo` and `trireme --version` show them.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// Version of the workspace.
    pub version: &'static str,
    /// Git revision, or "unknown" when built outside a checkout.
    pub revision: &'static str,
    /// Compiler's minimum version.
    pub rust_version: &'static str,
}

/// This binary's facts.
pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("TRIREME_REVISION").unwrap_or("unknown"),
        rust_version: env!("CARGO_PKG_RUST_VERSION"),
    }
}
