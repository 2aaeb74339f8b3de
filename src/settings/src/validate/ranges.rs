//! Values that no node could start or work with.

use std::time::Duration;

use trireme_model::Tenant;

use crate::sections::Settings;

/// Most threads of a kind: beyond it they take more memory than they give speed.
const THREADS_MAX: usize = 1_024;
/// Most uploads side by side: beyond it they wait for each other.
const UPLOADS_MAX: usize = 64;
/// Longest window, in days: the head counts its windows for the time it holds.
const WINDOW_DAYS_MAX: u64 = 40;
/// Most bytes of a log segment.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;

impl Settings {
    /// Numbers, lengths of time and sizes.
    pub(super) fn check_ranges(&self, problems: &mut Vec<String>) {
        self.check_storage_ranges(problems);
        self.check_intervals(problems);
        self.check_timeouts(problems);
        self.check_sizes(problems);
        self.check_counts(problems);
    }

    fn check_storage_ranges(&self, problems: &mut Vec<String>) {
        let storage = &self.storage;
        let second = Duration::from_secs(1);
        let longest = Duration::from_secs(WINDOW_DAYS_MAX * 86_400);
        if !(second..=longest).contains(&storage.window.as_duration()) {
            problems.push(format!(
                "storage.window: is {}; 1s to {WINDOW_DAYS_MAX}d are possible",
                storage.window
            ));
        }

        // A window that never closes is never cut: memory grows until there is none.
        if storage.window_grace.as_duration() > longest {
            problems.push(format!(
                "storage.window_grace: is {}; at most {WINDOW_DAYS_MAX}d are possible",
                storage.window_grace
            ));
        }

        if self.log.segment_bytes.0 > SEGMENT_BYTES_MAX {
            problems.push(format!(
                "log.segment_bytes: is {}; must be at most 4GiB: the disk has room set aside for a segment at once",
                self.log.segment_bytes
            ));
        }
    }

    fn check_intervals(&self, problems: &mut Vec<String>) {
        // With nothing between two rounds there would be nothing else: a core would do only this.
        let intervals = [
            ("storage.tick", self.storage.tick),
            ("bucket.upload_interval", self.bucket.upload_interval),
            ("bucket.sync_interval", self.bucket.sync_interval),
            ("compaction.interval", self.compaction.interval),
            ("checkpoint.interval", self.checkpoint.interval),
            (
                "cluster.heartbeat_interval",
                self.cluster.heartbeat_interval,
            ),
            ("log.sync_interval", self.log.sync_interval),
            (
                "telemetry.self_monitoring_interval",
                self.telemetry.self_monitoring_interval,
            ),
        ];

        let least = Duration::from_millis(10);
        for (key, interval) in intervals
            .iter()
            .filter(|(_, interval)| interval.as_duration() < least)
        {
            problems.push(format!("{key}: is {interval}; must be at least 10ms"));
        }
    }

    fn check_timeouts(&self, problems: &mut Vec<String>) {
        let http = &self.http;
        let query = &self.query;
        // Whatever has no time at all never succeeds.
        let timeouts = [
            ("http.request_timeout", http.request_timeout),
            ("http.body_timeout", http.body_timeout),
            ("http.write_idle_timeout", http.write_idle_timeout),
            ("query.timeout", query.timeout),
            ("query.lookback_delta", query.lookback_delta),
            ("cluster.ack_timeout", self.cluster.ack_timeout),
            ("cluster.peer_timeout", self.cluster.peer_timeout),
            ("storage.retention", self.storage.retention),
        ];

        for (key, _) in timeouts
            .iter()
            .filter(|(_, timeout)| timeout.as_duration().is_zero())
        {
            problems.push(format!("{key}: must be more than 0s"));
        }
    }

    fn check_sizes(&self, problems: &mut Vec<String>) {
        let sizes = [
            ("http.body_bytes_max", self.http.body_bytes_max),
            ("log.queue_bytes", self.log.queue_bytes),
            ("cluster.window_bytes", self.cluster.window_bytes),
            ("query.answer_bytes_max", self.query.answer_bytes_max),
        ];

        for (key, _) in sizes.iter().filter(|(_, size)| size.0 < 1 << 10) {
            problems.push(format!("{key}: must be at least 1KiB"));
        }
    }

    fn check_counts(&self, problems: &mut Vec<String>) {
        let http = &self.http;
        let query = &self.query;
        let limits = &self.tenants.limits;
        let counts = [
            ("http.workers", http.workers, 0, THREADS_MAX),
            ("http.connections_max", http.connections_max, 1, usize::MAX),
            (
                "bucket.uploads_at_once",
                self.bucket.uploads_at_once,
                1,
                UPLOADS_MAX,
            ),
            (
                "query.max_concurrency",
                query.max_concurrency,
                1,
                THREADS_MAX,
            ),
            ("query.max_streams", query.max_streams, 1, THREADS_MAX),
            ("query.max_queued", query.max_queued, 1, 1_000_000),
            ("query.max_samples", query.max_samples, 1, usize::MAX),
            (
                "tenants.limits.labels_max",
                limits.labels_max,
                1,
                usize::MAX,
            ),
            (
                "tenants.limits.label_name_bytes_max",
                limits.label_name_bytes_max,
                "__name__".len(),
                usize::MAX,
            ),
            (
                "tenants.limits.label_value_bytes_max",
                limits.label_value_bytes_max,
                1,
                usize::MAX,
            ),
        ];

        for (key, count, least, most) in counts {
            if count < least {
                problems.push(format!("{key}: is {count}; must be at least {least}"));
            } else if count > most {
                problems.push(format!("{key}: is {count}; must be at most {most}"));
            }
        }
    }

    /// Names: of tenants, headers, labels, and words of a fixed list.
    pub(super) fn check_tenants(&self, problems: &mut Vec<String>) {
        let tenants = &self.tenants;
        if let Err(error) = Tenant::new(&tenants.default) {
            problems.push(format!("tenants.default: {error}"));
        }

        for name in tenants.overrides.keys() {
            if let Err(error) = Tenant::new(name) {
                problems.push(format!("tenants.overrides.{name}: {error}"));
            }
        }

        if tenants.label.is_empty() {
            problems.push("tenants.label: must not be empty".into());
        }

        self.check_tenant_headers(problems);
        self.check_addresses_outside(problems);
        self.check_words(problems);
    }

    fn check_tenant_headers(&self, problems: &mut Vec<String>) {
        let tenants = &self.tenants;
        if !is_header(&tenants.header) {
            problems.push(format!(
                "tenants.header: {:?} is no name of an HTTP header",
                tenants.header
            ));
        }

        if !tenants.header_alias.is_empty() && !is_header(&tenants.header_alias) {
            let alias = &tenants.header_alias;
            problems.push(format!(
                "tenants.header_alias: {alias:?} is no name of an HTTP header"
            ));
        }
    }

    /// How others reach this node, and which pages of others may.
    fn check_addresses_outside(&self, problems: &mut Vec<String>) {
        if !self.http.is_external_url_valid() {
            problems.push(format!(
                "http.external_url: is {:?}; must be an address like https://metrics.example.org/eu, or nothing",
                self.http.external_url
            ));
        }

        let prefix = &self.http.route_prefix;
        let is_path = prefix.starts_with('/')
            && !prefix.ends_with('/')
            && prefix.bytes().all(|b| b.is_ascii_graphic());

        if !prefix.is_empty() && !is_path {
            problems.push(format!(
                "http.route_prefix: is {prefix:?}; must be a path like /metrics/eu, or nothing"
            ));
        }

        if let Err(error) = self.http.cors_origins() {
            problems.push(format!(
                "http.cors_origin: must be a regular expression of origins, *, or nothing: {error}"
            ));
        }
    }

    fn check_words(&self, problems: &mut Vec<String>) {
        let words: [(&str, &str, &[&str]); 2] = [
            (
                "telemetry.log_format",
                &self.telemetry.log_format,
                &["auto", "terminal", "json"],
            ),
            (
                "telemetry.log_level",
                &self.telemetry.log_level,
                &["error", "warn", "info", "debug", "trace"],
            ),
        ];

        for (key, word, known) in words {
            if !known.contains(&word) {
                problems.push(format!(
                    "{key}: {word:?} is unknown; use one of {}",
                    known.join(", ")
                ));
            }
        }
    }
}

/// True if it may be the name of an HTTP header.
fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b))
}
