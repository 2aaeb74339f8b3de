//! Builds every part of a node in order and owns the list by which it stops.

mod datadir;

pub use datadir::{DataDir, DataDirError};
