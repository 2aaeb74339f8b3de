//! Tenants.

use std::fmt;
use std::sync::Arc;

/// Name of a tenant; 1 to 150 bytes of letters, digits and `!-_.*'()`, not `.` or `..` (Mimir's rule).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// Why a tenant name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TenantError {
    /// Empty or over 150 bytes.
    #[error("tenant name has {0} bytes; 1 to 150 are allowed")]
    Length(usize),
    /// A character outside the allowed set, or a name that means a folder.
    #[error("tenant name {0:?} is not allowed; use letters, digits and !-_.*'()")]
    Name(String),
}

impl Tenant {
    /// Tenant of requests that name none.
    pub const DEFAULT: &'static str = "default-tenant";

    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() || name.len() > 150 {
            return Err(TenantError::Length(name.len()));
        }

        if !name
            .bytes()
            .all(|b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b))
            || name == "."
            || name == ".."
        {
            return Err(TenantError::Name(name.to_owned()));
        }

        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Seed that keeps equal label sets of different tenants apart in hashes.
    pub fn seed(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.0.as_bytes())
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_leave_a_folder() {
        assert!(Tenant::new("team-a_1").is_ok());
        for bad in ["", "..", "a/b", "a b", "ü"] {
            assert!(Tenant::new(bad).is_err(), "{bad:?}");
        }
    }
}
