//! The actor crate: one file per actor, policy table, supervisor tree.
