//! Real daemons in network namespaces, under load, while something breaks: nothing acknowledged is lost, senders that
//! have another node to use notice nothing, and every replica ends up with the same samples.
//!
//! The names are those of the list of scenarios in `docs/reliability.md`, which also has the last results.
//! `TRIREME_CHAOS=full` runs the long forms, as `scripts/chaos` does; `TRIREME_CHAOS_REPORT` names a directory for a
//! report of each scenario as JSON.
#![allow(clippy::print_stdout)] // Figures of a run, for whoever runs it by hand.

mod chaos {
    pub mod disks;
    pub mod links;
    pub mod losses;
    pub mod moves;
    pub mod processes;
    pub mod scale;
    pub mod scenario;
    pub mod senders;
}
