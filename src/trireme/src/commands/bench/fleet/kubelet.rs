//! What a kubelet exposes about itself and its volumes.

use super::family::Family;
use super::value::Kind;

const OPERATIONS: &[&str] = &[
    "container_status",
    "create_container",
    "exec_sync",
    "image_status",
    "list_containers",
    "list_images",
    "list_podsandbox",
    "podsandbox_status",
    "pull_image",
    "remove_container",
    "run_podsandbox",
    "start_container",
    "status",
    "stop_container",
    "version",
];
const SLOW_OPERATIONS: &[&str] = &[
    "container_status",
    "exec_sync",
    "list_containers",
    "podsandbox_status",
    "status",
];
const BOUNDS: &[&str] = &[
    "0.005",
    "0.0125",
    "0.03125",
    "0.078125",
    "0.1953125",
    "0.48828125",
    "1.220703125",
    "3.0517578125",
    "7.62939453125",
    "+Inf",
];
const CLAIMS: &[&str] = &[
    "data-checkout-0",
    "data-ledger-0",
    "data-search-0",
    "cache-gateway-0",
];

/// All families of the kubelet.
pub fn families() -> Vec<Family> {
    let mut families = runtime();
    families.extend(pods());
    families.extend(go());
    families.extend(process());
    families.extend(volumes());
    families
}

fn runtime() -> Vec<Family> {
    vec![
        Family::new(
            "kubelet_runtime_operations_total",
            Kind::Counter { per_scrape: 12.0 },
        )
        .by("operation_type", OPERATIONS),
        Family::new(
            "kubelet_runtime_operations_errors_total",
            Kind::Counter { per_scrape: 0.01 },
        )
        .by("operation_type", SLOW_OPERATIONS),
        Family::new(
            "kubelet_runtime_operations_duration_seconds_bucket",
            Kind::Counter { per_scrape: 12.0 },
        )
        .by("operation_type", SLOW_OPERATIONS)
        .buckets(BOUNDS),
        Family::new(
            "kubelet_runtime_operations_duration_seconds_sum",
            Kind::NanosecondCounter { per_scrape: 0.7 },
        )
        .by("operation_type", SLOW_OPERATIONS),
        Family::new(
            "kubelet_runtime_operations_duration_seconds_count",
            Kind::Counter { per_scrape: 12.0 },
        )
        .by("operation_type", SLOW_OPERATIONS),
    ]
}

fn pods() -> Vec<Family> {
    vec![
        Family::new(
            "kubelet_pleg_relist_duration_seconds_bucket",
            Kind::Counter { per_scrape: 15.0 },
        )
        .buckets(BOUNDS),
        Family::new(
            "kubelet_pleg_relist_duration_seconds_sum",
            Kind::NanosecondCounter { per_scrape: 0.2 },
        ),
        Family::new(
            "kubelet_pleg_relist_duration_seconds_count",
            Kind::Counter { per_scrape: 15.0 },
        ),
        Family::new("kubelet_running_pods", Kind::SmallGauge { below: 14 }),
        Family::new("kubelet_running_containers", Kind::SmallGauge { below: 30 })
            .by("container_state", &["created", "exited", "running"]),
        Family::new("kubelet_node_name", Kind::Constant(1.0)),
        Family::new(
            "rest_client_requests_total",
            Kind::Counter { per_scrape: 8.0 },
        )
        .by("code", &["200", "201", "404"])
        .by("host", &["kubernetes.default.svc:443"])
        .by("method", &["GET", "PATCH", "POST", "PUT"]),
    ]
}

fn go() -> Vec<Family> {
    vec![
        Family::new("go_goroutines", Kind::SmallGauge { below: 600 }),
        Family::new("go_gc_duration_seconds", Kind::RatioGauge)
            .by("quantile", &["0", "0.25", "0.5", "0.75", "1"]),
        Family::new(
            "go_gc_duration_seconds_sum",
            Kind::NanosecondCounter { per_scrape: 0.002 },
        ),
        Family::new(
            "go_gc_duration_seconds_count",
            Kind::Counter { per_scrape: 0.6 },
        ),
        Family::new("go_memstats_alloc_bytes", Kind::PagesGauge),
        Family::new(
            "go_memstats_alloc_bytes_total",
            Kind::Counter {
                per_scrape: 7_000_000.0,
            },
        ),
        Family::new("go_memstats_heap_inuse_bytes", Kind::PagesGauge),
        Family::new(
            "go_memstats_heap_objects",
            Kind::SmallGauge { below: 700_000 },
        ),
        Family::new("go_memstats_next_gc_bytes", Kind::PagesGauge),
        Family::new("go_threads", Kind::SmallGauge { below: 40 }),
    ]
}

fn process() -> Vec<Family> {
    vec![
        Family::new(
            "process_cpu_seconds_total",
            Kind::CentisecondCounter { per_scrape: 0.6 },
        ),
        Family::new("process_max_fds", Kind::Constant(1_000_000.0)),
        Family::new("process_open_fds", Kind::SmallGauge { below: 200 }),
        Family::new("process_resident_memory_bytes", Kind::PagesGauge),
        Family::new("process_start_time_seconds", Kind::StartTime),
    ]
}

fn volumes() -> impl Iterator<Item = Family> {
    [
        ("kubelet_volume_stats_available_bytes", Kind::PagesGauge),
        ("kubelet_volume_stats_capacity_bytes", Kind::Capacity),
        ("kubelet_volume_stats_used_bytes", Kind::PagesGauge),
        ("kubelet_volume_stats_inodes", Kind::Capacity),
        (
            "kubelet_volume_stats_inodes_free",
            Kind::SmallGauge { below: 2_000_000 },
        ),
        (
            "kubelet_volume_stats_inodes_used",
            Kind::SmallGauge { below: 40_000 },
        ),
    ]
    .into_iter()
    .map(|(name, kind)| Family::new(name, kind).by("persistentvolumeclaim", CLAIMS))
}
