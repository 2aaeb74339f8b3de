//! What a node exporter on an eight-core host exposes, in the usual proportions.

use super::family::Family;
use super::value::Kind;

const CPUS: usize = 8;
const MODES: &[&str] = &[
    "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
];
const DISKS: &[&str] = &["nvme0n1", "nvme1n1", "dm-0"];
const MOUNTS: &[&str] = &[
    "/",
    "/boot",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/run",
];
const LINKS: &[&str] = &["lo", "eth0", "eth1", "cni0", "flannel.1", "veth2f9c1a7b"];
const COLLECTORS: &[&str] = &[
    "arp",
    "bonding",
    "conntrack",
    "cpu",
    "diskstats",
    "entropy",
    "filefd",
    "filesystem",
    "hwmon",
    "loadavg",
    "meminfo",
    "netclass",
    "netdev",
    "netstat",
    "pressure",
    "schedstat",
    "sockstat",
    "softnet",
    "stat",
    "textfile",
    "time",
    "timex",
    "uname",
    "vmstat",
    "xfs",
];
const MEMORY_BUSY: &[&str] = &[
    "node_memory_Active_anon_bytes",
    "node_memory_Active_bytes",
    "node_memory_Active_file_bytes",
    "node_memory_AnonPages_bytes",
    "node_memory_Buffers_bytes",
    "node_memory_Cached_bytes",
    "node_memory_Committed_AS_bytes",
    "node_memory_Dirty_bytes",
    "node_memory_Inactive_bytes",
    "node_memory_Mapped_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_PageTables_bytes",
    "node_memory_Shmem_bytes",
    "node_memory_Slab_bytes",
];
const MEMORY_FIXED: &[&str] = &[
    "node_memory_CommitLimit_bytes",
    "node_memory_DirectMap2M_bytes",
    "node_memory_MemTotal_bytes",
    "node_memory_VmallocTotal_bytes",
];
const MEMORY_ZERO: &[&str] = &[
    "node_memory_Bounce_bytes",
    "node_memory_HardwareCorrupted_bytes",
    "node_memory_HugePages_Free",
    "node_memory_HugePages_Total",
    "node_memory_SwapCached_bytes",
    "node_memory_SwapFree_bytes",
    "node_memory_SwapTotal_bytes",
    "node_memory_Writeback_bytes",
];
const NET_COUNTERS: &[&str] = &[
    "node_netstat_IcmpMsg_InType3",
    "node_netstat_Ip_Forwarding",
    "node_netstat_TcpExt_TCPSynRetrans",
    "node_netstat_Tcp_ActiveOpens",
    "node_netstat_Tcp_InSegs",
    "node_netstat_Tcp_OutSegs",
    "node_netstat_Tcp_PassiveOpens",
    "node_netstat_Tcp_RetransSegs",
    "node_netstat_Udp_InDatagrams",
    "node_netstat_Udp_OutDatagrams",
];
const VM_COUNTERS: &[&str] = &[
    "node_context_switches_total",
    "node_forks_total",
    "node_intr_total",
    "node_vmstat_pgfault",
    "node_vmstat_pgmajfault",
    "node_vmstat_pgpgin",
    "node_vmstat_pgpgout",
];

/// All families of the exporter.
pub fn families() -> Vec<Family> {
    let mut families = cpus();
    families.extend(system());
    families.extend(network_tables());
    families.extend(clock_and_sensors());
    disks(&mut families);
    links(&mut families);
    families.extend(by_name());
    families
}

fn cpus() -> Vec<Family> {
    vec![
        Family::new(
            "node_cpu_seconds_total",
            Kind::CentisecondCounter { per_scrape: 1.8 },
        )
        .numbered("cpu", CPUS)
        .by("mode", MODES),
        Family::new("node_cpu_guest_seconds_total", Kind::Constant(0.0))
            .numbered("cpu", CPUS)
            .by("mode", &["nice", "user"]),
        Family::new(
            "node_schedstat_running_seconds_total",
            Kind::NanosecondCounter { per_scrape: 6.0 },
        )
        .numbered("cpu", CPUS),
        Family::new(
            "node_schedstat_waiting_seconds_total",
            Kind::NanosecondCounter { per_scrape: 0.8 },
        )
        .numbered("cpu", CPUS),
        Family::new(
            "node_softnet_processed_total",
            Kind::Counter {
                per_scrape: 9_000.0,
            },
        )
        .numbered("cpu", CPUS),
        Family::new("node_softnet_dropped_total", Kind::Constant(0.0)).numbered("cpu", CPUS),
    ]
}

fn system() -> Vec<Family> {
    vec![
        Family::new("node_load1", Kind::HundredthsGauge { below: 9.0 }),
        Family::new("node_load5", Kind::HundredthsGauge { below: 8.0 }),
        Family::new("node_load15", Kind::HundredthsGauge { below: 7.0 }),
        Family::new("node_boot_time_seconds", Kind::StartTime),
        Family::new(
            "node_time_seconds",
            Kind::NanosecondCounter { per_scrape: 15.0 },
        ),
        Family::new("node_filefd_allocated", Kind::SmallGauge { below: 9_000 }),
        Family::new("node_procs_running", Kind::SmallGauge { below: 12 }),
        Family::new("node_procs_blocked", Kind::SmallGauge { below: 2 }),
        Family::new("node_entropy_available_bits", Kind::Constant(256.0)),
    ]
}

fn network_tables() -> Vec<Family> {
    vec![
        Family::new("node_sockstat_TCP_alloc", Kind::SmallGauge { below: 900 }),
        Family::new("node_sockstat_TCP_inuse", Kind::SmallGauge { below: 300 }),
        Family::new("node_sockstat_TCP_tw", Kind::SmallGauge { below: 150 }),
        Family::new(
            "node_nf_conntrack_entries",
            Kind::SmallGauge { below: 6_000 },
        ),
        Family::new("node_nf_conntrack_entries_limit", Kind::Constant(262_144.0)),
    ]
}

fn clock_and_sensors() -> Vec<Family> {
    vec![
        Family::new("node_timex_offset_seconds", Kind::RatioGauge),
        Family::new("node_timex_sync_status", Kind::Constant(1.0)),
        Family::new("node_uname_info", Kind::Constant(1.0))
            .by("release", &["6.1.0-32-amd64"])
            .by("sysname", &["Linux"])
            .by("machine", &["x86_64"]),
        Family::new(
            "node_hwmon_temp_celsius",
            Kind::HundredthsGauge { below: 90.0 },
        )
        .by("chip", &["platform_coretemp_0"])
        .by("sensor", &["temp1", "temp2", "temp3", "temp4"]),
        Family::new(
            "node_pressure_cpu_waiting_seconds_total",
            Kind::NanosecondCounter { per_scrape: 0.3 },
        ),
        Family::new(
            "node_pressure_io_waiting_seconds_total",
            Kind::NanosecondCounter { per_scrape: 0.1 },
        ),
        Family::new("node_scrape_collector_duration_seconds", Kind::RatioGauge)
            .by("collector", COLLECTORS),
        Family::new("node_scrape_collector_success", Kind::Constant(1.0))
            .by("collector", COLLECTORS),
    ]
}

/// The families that are nothing but a name.
fn by_name() -> impl Iterator<Item = Family> {
    let net = Kind::Counter { per_scrape: 400.0 };
    let vm = Kind::Counter {
        per_scrape: 25_000.0,
    };

    [
        (MEMORY_BUSY, Kind::PagesGauge),
        (MEMORY_FIXED, Kind::Capacity),
        (MEMORY_ZERO, Kind::Constant(0.0)),
        (NET_COUNTERS, net),
        (VM_COUNTERS, vm),
    ]
    .into_iter()
    .flat_map(|(names, kind)| names.iter().map(move |name| Family::new(name, kind)))
}

fn disks(families: &mut Vec<Family>) {
    let counters = [
        ("node_disk_reads_completed_total", 60.0),
        ("node_disk_writes_completed_total", 350.0),
        ("node_disk_read_bytes_total", 2_400_000.0),
        ("node_disk_written_bytes_total", 9_500_000.0),
    ];

    for (name, per_scrape) in counters {
        families.push(Family::new(name, Kind::Counter { per_scrape }).by("device", DISKS));
    }

    for name in [
        "node_disk_io_time_seconds_total",
        "node_disk_write_time_seconds_total",
        "node_disk_read_time_seconds_total",
    ] {
        families.push(
            Family::new(name, Kind::NanosecondCounter { per_scrape: 0.4 }).by("device", DISKS),
        );
    }

    families
        .push(Family::new("node_disk_io_now", Kind::SmallGauge { below: 3 }).by("device", DISKS));
    let sizes = [
        ("node_filesystem_avail_bytes", Kind::PagesGauge),
        ("node_filesystem_free_bytes", Kind::PagesGauge),
        ("node_filesystem_size_bytes", Kind::Capacity),
        ("node_filesystem_files", Kind::Capacity),
        (
            "node_filesystem_files_free",
            Kind::SmallGauge { below: 3_000_000 },
        ),
        ("node_filesystem_readonly", Kind::Constant(0.0)),
    ];

    for (name, kind) in sizes {
        families.push(
            Family::new(name, kind)
                .by("fstype", &["ext4"])
                .by("mountpoint", MOUNTS),
        );
    }
}

fn links(families: &mut Vec<Family>) {
    let kinds = [
        (
            "node_network_receive_bytes_total",
            Kind::Counter {
                per_scrape: 3_000_000.0,
            },
        ),
        (
            "node_network_transmit_bytes_total",
            Kind::Counter {
                per_scrape: 2_500_000.0,
            },
        ),
        (
            "node_network_receive_packets_total",
            Kind::Counter {
                per_scrape: 7_000.0,
            },
        ),
        (
            "node_network_transmit_packets_total",
            Kind::Counter {
                per_scrape: 6_000.0,
            },
        ),
        ("node_network_receive_errs_total", Kind::Constant(0.0)),
        ("node_network_transmit_errs_total", Kind::Constant(0.0)),
        (
            "node_network_receive_drop_total",
            Kind::Counter { per_scrape: 0.02 },
        ),
        ("node_network_transmit_drop_total", Kind::Constant(0.0)),
        ("node_network_receive_multicast_total", Kind::Constant(0.0)),
        ("node_network_mtu_bytes", Kind::Constant(1_500.0)),
        ("node_network_speed_bytes", Kind::Constant(1_250_000_000.0)),
        ("node_network_up", Kind::Constant(1.0)),
    ];
    for (name, kind) in kinds {
        families.push(Family::new(name, kind).by("device", LINKS));
    }
}
