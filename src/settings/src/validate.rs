//! What settings must satisfy together.

mod ranges;

use std::collections::BTreeSet;

use trireme_model::Tenant;

use crate::Span;
use crate::sections::{BucketType, Settings};

/// Longest name of a node, in bytes; the ring takes no longer one.
const NAME_BYTES_MAX: usize = 128;

impl Settings {
    /// All problems, one sentence each, naming the keys; empty if the settings are valid.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_node(&mut problems);
        self.check_cluster(&mut problems);
        self.check_storage(&mut problems);
        self.check_bucket(&mut problems);
        self.check_ranges(&mut problems);
        self.check_tenants(&mut problems);

        problems
    }

    fn check_node(&self, problems: &mut Vec<String>) {
        if self.node.name.len() > NAME_BYTES_MAX {
            problems.push(format!(
                "node.name: has {} bytes, at most {NAME_BYTES_MAX}",
                self.node.name.len()
            ));
        } else if !is_name(&self.node.name) {
            problems.push(format!(
                "node.name: {:?}: use letters, digits and -_.",
                self.node.name
            ));
        }

        if self.node.data_dir.is_empty() {
            problems.push("node.data_dir: must not be empty".into());
        }

        self.check_addresses(problems);

        if self.http.inflated_bytes_max < self.http.body_bytes_max {
            problems.push("http.inflated_bytes_max: must be at least http.body_bytes_max".into());
        }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        for (key, address) in [
            ("http.listen", &self.http.listen),
            ("cluster.listen", &self.cluster.listen),
        ] {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                problems.push(format!(
                    "{key}: {address:?}: write host:port, for example 0.0.0.0:19291"
                ));
            }
        }
    }

    fn check_cluster(&self, problems: &mut Vec<String>) {
        let peers = &self.cluster.peers;
        if peers.is_empty() {
            if self.cluster.join {
                problems.push(
                    "cluster.join: name at least one member of the cluster in cluster.peers".into(),
                );
            }
            return;
        }

        let is_listed = peers.iter().any(|p| p.name == self.node.name);
        if !is_listed && !self.cluster.join {
            problems.push(format!(
                "cluster.peers: node.name {:?} is not among the peers; if it is to join them, set cluster.join=true",
                self.node.name
            ));
        }

        let names: BTreeSet<_> = peers.iter().map(|p| &p.name).collect();

        let addresses: BTreeSet<_> = peers.iter().map(|p| &p.address).collect();
        if names.len() != peers.len() || addresses.len() != peers.len() {
            problems.push("cluster.peers: a name or an address occurs twice".into());
        }

        // One that joins names some members only, and not itself.
        if (is_listed || !self.cluster.join) && self.cluster.replication_factor != peers.len() {
            problems.push(format!(
                "cluster.replication_factor: is {}, but cluster.peers has {} members; one group holds as many copies as it has members",
                self.cluster.replication_factor,
                peers.len()
            ));
        }

        self.check_cluster_times(problems);
    }

    fn check_cluster_times(&self, problems: &mut Vec<String>) {
        if self.cluster.heartbeat_interval.as_duration() * 2
            > self.cluster.peer_timeout.as_duration()
        {
            problems.push(
                "cluster.peer_timeout: must be at least twice cluster.heartbeat_interval".into(),
            );
        }

        if self.cluster.clock_offset_max.as_duration() < self.cluster.peer_timeout.as_duration() {
            problems.push("cluster.clock_offset_max: must be at least cluster.peer_timeout".into());
        }
    }

    fn check_storage(&self, problems: &mut Vec<String>) {
        let storage = &self.storage;
        if !(1..=1024).contains(&storage.shards) {
            problems.push(format!(
                "storage.shards: is {}; 1 to 1024 are possible",
                storage.shards
            ));
        }

        if storage.tenant_windows_max == 0 {
            problems.push("storage.tenant_windows_max: must be at least 1".into());
        }

        let scrub = storage.scrub_interval.as_duration();
        if !scrub.is_zero() && scrub.as_millis() < 1_000 {
            problems.push("storage.scrub_interval: must be at least 1s, or 0s for none".into());
        }

        if self.log.segment_bytes.0 < 1 << 20 {
            problems.push("log.segment_bytes: must be at least 1MiB".into());
        }
    }

    fn check_bucket(&self, problems: &mut Vec<String>) {
        let bucket = &self.bucket;
        let remote = matches!(
            bucket.kind,
            BucketType::S3 | BucketType::Gcs | BucketType::Azure
        );

        if remote && bucket.name.is_empty() {
            problems.push("bucket.name: must be set for this bucket.type".into());
        }

        if bucket.endpoint.starts_with("http://") && !bucket.allow_http {
            problems.push(
                "bucket.endpoint: is not TLS; set bucket.allow_http=true if that is meant".into(),
            );
        }

        if self.compaction.concurrency == 0 {
            problems.push("compaction.concurrency: must be at least 1".into());
        }

        let raw = self.compaction.retention_raw;
        if raw > Span::from_secs(0) && raw < self.storage.retention {
            problems.push(
                "compaction.retention_raw: must not be shorter than storage.retention, or nodes would have blocks that the bucket has \
                 deleted"
                    .into(),
            );
        }

        if bucket.external_labels.contains_key(&self.tenants.label) {
            problems.push(format!(
                "bucket.external_labels: {:?} is the tenant's label",
                self.tenants.label
            ));
        }

        if bucket.replica_labels.contains(&self.tenants.label) {
            problems.push(format!(
                "bucket.replica_labels: {:?} is the tenant's label",
                self.tenants.label
            ));
        }

        if !bucket.default_tenant.is_empty()
            && let Err(err) = Tenant::new(&bucket.default_tenant)
        {
            problems.push(format!("bucket.default_tenant: {err}"));
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use crate::{Settings, Sources, load};

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Settings::default().validate(), Vec::<String>::new());
    }

    #[test]
    fn what_a_node_cannot_start_with_is_refused() {
        let cases = [
            "storage.window=41d",
            "storage.window=0s",
            "storage.window_grace=41d",
            "storage.retention=0s",
            "log.segment_bytes=5GiB",
            "cluster.ack_timeout=0s",
            "cluster.peer_timeout=0s",
            "tenants.limits.label_name_bytes_max=0",
            "tenants.limits.label_value_bytes_max=0",
            "storage.tick=0s",
            "bucket.upload_interval=0s",
            "bucket.sync_interval=0s",
            "bucket.uploads_at_once=0",
            "compaction.interval=0s",
            "compaction.concurrency=0",
            "checkpoint.interval=0s",
            "cluster.heartbeat_interval=0s",
            "log.sync_interval=0s",
            "telemetry.self_monitoring_interval=0s",
            "log.queue_bytes=0",
            "http.body_bytes_max=0",
            "http.workers=100000",
            "http.connections_max=0",
            "http.write_idle_timeout=0s",
            "query.max_concurrency=0",
            "query.max_concurrency=1000000000",
            "query.max_streams=0",
            "query.max_queued=0",
            "query.max_samples=0",
            "query.timeout=0s",
            "query.lookback_delta=0s",
            "telemetry.log_level=inof",
            "telemetry.log_format=xml",
            "tenants.default=a/b",
            "tenants.header=",
            "tenants.header=a b",
            "tenants.label=",
            "tenants.limits.labels_max=0",
            "tenants.overrides.team-a.series_mx=10",
            "http.cors_origin=(a",
            "http.route_prefix=eu/",
            "http.external_url=metrics.example.org",
        ];
        for case in cases {
            let sources = Sources {
                set: vec![case.to_owned()],
                ..Sources::default()
            };
            let key = case.split('=').next().expect("a key");
            let problems = load(&sources).map_or_else(|e| e.problems, |_| Vec::new());
            let told = problems.iter().any(|problem| problem.starts_with(key));
            assert!(told, "{case}: {problems:?}");
        }
    }

    #[test]
    fn an_override_leaves_the_other_limits_as_they_are_configured() {
        let set = [
            "tenants.limits.labels_max=7",
            "tenants.overrides.team-a.series_max=10",
        ];
        let sources = Sources {
            set: set.map(str::to_owned).to_vec(),
            ..Sources::default()
        };
        let tenants = load(&sources).expect("valid").tenants;
        let limits = tenants.overrides["team-a"].over(&tenants.limits);

        assert_eq!((limits.series_max, limits.labels_max), (10, 7));
        assert_eq!(
            limits.label_value_bytes_max,
            tenants.limits.label_value_bytes_max
        );
    }

    #[test]
    fn reports_all_problems_together() {
        let set = [
            "node.name=a b",
            "storage.shards=0",
            "cluster.peers=n1=h:1,n2=h:1",
            "bucket.type=s3",
        ];

        let sources = Sources {
            set: set.map(str::to_owned).to_vec(),
            ..Sources::default()
        };

        let problems = load(&sources).expect_err("all wrong").problems;
        for key in [
            "node.name",
            "storage.shards",
            "cluster.peers",
            "cluster.replication_factor",
            "bucket.name",
        ] {
            assert!(
                problems.iter().any(|p| p.starts_with(key)),
                "{key} in {problems:?}"
            );
        }
    }
}
