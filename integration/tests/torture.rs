//! Clients that misuse a node: it does not crash, its memory stays bounded, what it refuses it explains, and other
//! tenants notice nothing (I8, I9).
//!
//! `TRIREME_TORTURE=full` runs the sizes of `scripts/torture`: five million new series, two thousand connections.
#![allow(clippy::print_stdout)] // Figures of a run, for whoever runs it by hand.

mod torture {
    pub mod bodies;
    pub mod cardinality;
    pub mod connections;
    pub mod queries;
    pub mod tenants;
    pub mod victim;
}
