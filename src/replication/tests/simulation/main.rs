//! Three replicas on simulated disks and connections, driven by a seed.
//!
//! A schedule mixes writes, log writes, fsyncs, disks that are stuck for a while, applies, frames (encoded and decoded), slow or failing log reads,
//! trimming, lost connections that only one side notices, partitions, killed processes (what was written stays) and power
//! cuts (what was not fsynced is lost, or only a part of it). Then everything is healed, and the checks of `world` must
//! hold. Each failure prints its seed; `TRIREME_SIM_SEED=n cargo test -p trireme-replication --test simulation` repeats it.
//!
//! A check that cannot fail is worth nothing: with each of the bugs of [`Bug`] put in, some schedule must fail.

mod disk;
mod node;
mod world;

use world::World;

/// A defect to put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None: everything must hold.
    None,
    /// A write is acknowledged as soon as the origin has it.
    AckBeforeQuorum,
    /// A log reports entries as durable without an fsync.
    SkipFsync,
    /// A restarted process goes on with its old stream.
    ReuseSeq,
    /// A log is trimmed without asking whether peers still need it.
    TrimTooEarly,
}

const STEPS: usize = 1500;
/// `TRIREME_SIM_SCHEDULES` asks for more.
const SCHEDULES: u64 = 30;

fn run(seed: u64, bug: Bug) -> Result<world::Summary, String> {
    let mut world = World::new(seed, bug);
    world.disturb(STEPS)?;
    world.heal()?;
    world.check()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number")),
    )
}

#[test]
fn acknowledged_entries_survive_and_replicas_become_equal() {
    if let Some(seed) = number_from("TRIREME_SIM_SEED") {
        run(seed, Bug::None).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        return;
    }

    let schedules = number_from("TRIREME_SIM_SCHEDULES").unwrap_or(SCHEDULES);

    let mut total = world::Summary::default();
    for seed in 1..=schedules {
        total.add(&run(seed, Bug::None).unwrap_or_else(|problem| panic!("seed {seed}: {problem}")));
    }

    // Schedules in which nothing happens prove nothing.
    let often = |count: u64, per_schedule: u64| count >= per_schedule * schedules;
    assert!(
        often(total.acknowledged, 20) && total.unacknowledged > 0,
        "{total:?}"
    );
    assert!(
        often(total.power_cuts, 1) && often(total.kills, 1) && often(total.connections_lost, 5),
        "{total:?}"
    );

    assert!(
        often(total.lost_unsynced, 1) && often(total.catch_up_reads, 1) && often(total.trimmed, 1),
        "{total:?}"
    );
}

/// Some schedule must fail, and for a reason that belongs to the bug.
fn fails_with(bug: Bug, reasons: &[&str]) {
    let failures = (1..=SCHEDULES).filter_map(|seed| {
        run(seed, bug)
            .err()
            .map(|problem| format!("seed {seed}: {problem}"))
    });

    let first: Vec<String> = failures.take(2).collect();
    assert!(
        !first.is_empty(),
        "{bug:?} was not noticed in {SCHEDULES} schedules"
    );
    assert!(
        first
            .iter()
            .all(|problem| reasons.iter().any(|reason| problem.contains(reason))),
        "{bug:?} failed for another reason: {first:#?}"
    );
}

#[test]
fn notices_an_acknowledgement_before_the_quorum() {
    fails_with(
        Bug::AckBeforeQuorum,
        &["was acknowledged but is durable on"],
    );
}

#[test]
fn notices_a_skipped_fsync() {
    fails_with(Bug::SkipFsync, &["was acknowledged but is durable on"]);
}

#[test]
fn notices_a_reused_seq() {
    fails_with(
        Bug::ReuseSeq,
        &[
            "missing or different",
            "hold different records",
            "not level after healing",
        ],
    );
}

#[test]
fn notices_a_log_that_was_trimmed_too_early() {
    fails_with(Bug::TrimTooEarly, &["not level after healing"]);
}
