//! What cAdvisor exposes for each container of a host.

use super::family::Family;
use super::value::Kind;

const ZEROS: &[&str] = &[
    "container_memory_failcnt",
    "container_memory_swap",
    "container_oom_events_total",
    "container_spec_memory_reservation_limit_bytes",
    "container_spec_memory_swap_limit_bytes",
];
const PAGES: &[&str] = &[
    "container_memory_cache",
    "container_memory_mapped_file",
    "container_memory_rss",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_fs_usage_bytes",
];

/// All families of cAdvisor; each of them once per container.
pub fn families() -> Vec<Family> {
    let mut families = cpu();
    families.extend(memory_and_disks());
    families.extend(processes());
    families.extend(specs());
    families.extend(
        ZEROS
            .iter()
            .map(|name| Family::new(name, Kind::Constant(0.0))),
    );

    families.extend(PAGES.iter().map(|name| Family::new(name, Kind::PagesGauge)));
    families.extend(network());
    families
}

fn cpu() -> Vec<Family> {
    vec![
        Family::new(
            "container_cpu_usage_seconds_total",
            Kind::NanosecondCounter { per_scrape: 2.2 },
        )
        .by("cpu", &["total"]),
        Family::new(
            "container_cpu_user_seconds_total",
            Kind::NanosecondCounter { per_scrape: 1.5 },
        ),
        Family::new(
            "container_cpu_system_seconds_total",
            Kind::NanosecondCounter { per_scrape: 0.7 },
        ),
        Family::new(
            "container_cpu_cfs_periods_total",
            Kind::Counter { per_scrape: 90.0 },
        ),
        Family::new(
            "container_cpu_cfs_throttled_periods_total",
            Kind::Counter { per_scrape: 2.0 },
        ),
        Family::new(
            "container_cpu_cfs_throttled_seconds_total",
            Kind::NanosecondCounter { per_scrape: 0.06 },
        ),
    ]
}

fn memory_and_disks() -> Vec<Family> {
    vec![
        Family::new("container_memory_max_usage_bytes", Kind::Capacity),
        Family::new(
            "container_memory_failures_total",
            Kind::Counter { per_scrape: 30.0 },
        )
        .by("failure_type", &["pgfault", "pgmajfault"])
        .by("scope", &["container", "hierarchy"]),
        Family::new("container_fs_limit_bytes", Kind::Capacity).by("device", &["/dev/nvme0n1p1"]),
        Family::new(
            "container_fs_reads_bytes_total",
            Kind::Counter {
                per_scrape: 9_000.0,
            },
        )
        .by("device", &["/dev/nvme0n1"]),
        Family::new(
            "container_fs_reads_total",
            Kind::Counter { per_scrape: 0.4 },
        )
        .by("device", &["/dev/nvme0n1"]),
        Family::new(
            "container_fs_writes_bytes_total",
            Kind::Counter {
                per_scrape: 70_000.0,
            },
        )
        .by("device", &["/dev/nvme0n1"]),
        Family::new(
            "container_fs_writes_total",
            Kind::Counter { per_scrape: 9.0 },
        )
        .by("device", &["/dev/nvme0n1"]),
    ]
}

fn processes() -> Vec<Family> {
    vec![
        Family::new(
            "container_file_descriptors",
            Kind::SmallGauge { below: 120 },
        ),
        Family::new("container_processes", Kind::SmallGauge { below: 6 }),
        Family::new("container_sockets", Kind::SmallGauge { below: 40 }),
        Family::new("container_threads", Kind::SmallGauge { below: 50 }),
        Family::new("container_threads_max", Kind::Constant(28_786.0)),
        Family::new("container_start_time_seconds", Kind::StartTime),
        Family::new("container_last_seen", Kind::Counter { per_scrape: 15.0 }),
    ]
}

fn specs() -> Vec<Family> {
    vec![
        Family::new("container_spec_cpu_period", Kind::Constant(100_000.0)),
        Family::new("container_spec_cpu_quota", Kind::Constant(200_000.0)),
        Family::new("container_spec_cpu_shares", Kind::Constant(1_024.0)),
        Family::new("container_spec_memory_limit_bytes", Kind::Capacity),
        Family::new("container_tasks_state", Kind::Constant(0.0)).by(
            "state",
            &[
                "iowaiting",
                "running",
                "sleeping",
                "stopped",
                "uninterruptible",
            ],
        ),
        Family::new("container_ulimits_soft", Kind::Constant(1_048_576.0))
            .by("ulimit", &["max_open_files"]),
    ]
}

fn network() -> impl Iterator<Item = Family> {
    [
        (
            "container_network_receive_bytes_total",
            Kind::Counter {
                per_scrape: 300_000.0,
            },
        ),
        (
            "container_network_transmit_bytes_total",
            Kind::Counter {
                per_scrape: 250_000.0,
            },
        ),
        (
            "container_network_receive_packets_total",
            Kind::Counter { per_scrape: 900.0 },
        ),
        (
            "container_network_transmit_packets_total",
            Kind::Counter { per_scrape: 800.0 },
        ),
        (
            "container_network_receive_errors_total",
            Kind::Constant(0.0),
        ),
        (
            "container_network_transmit_errors_total",
            Kind::Constant(0.0),
        ),
        (
            "container_network_receive_packets_dropped_total",
            Kind::Constant(0.0),
        ),
        (
            "container_network_transmit_packets_dropped_total",
            Kind::Constant(0.0),
        ),
    ]
    .into_iter()
    .map(|(name, kind)| Family::new(name, kind).by("interface", &["eth0"]))
}
