//! The settings of the HTTP API and the head, taken from the node's.

use std::sync::Arc;

use anyhow::Context;
use trireme_api::{ApiSettings, CostCeilings, Features};
use trireme_head::IngestLimits;
use trireme_model::Tenant;
use trireme_promql::ParserOptions;
use trireme_query::{TenantLimits, TenantLimitsTable};
use trireme_remote::otlp::OtlpOptions;
use trireme_settings::{Limits, Settings, Tenants};
use trireme_storage::LimitsTable;

use crate::machine;

/// What an active series takes at most in the usual case, its samples of a window included.
const SERIES_BYTES: u64 = 1 << 10;

pub(crate) fn api_settings(settings: &Settings) -> ApiSettings {
    let http = &settings.http;
    let tenants = &settings.tenants;
    let query = &settings.query;
    let features = settings.features_in_force();

    ApiSettings {
        tenant_headers: [tenants.header.clone(), tenants.header_alias.clone()],
        tenant_default: tenants.default.clone(),
        body_bytes_max: http.body_bytes_max.0 as usize,
        inflated_bytes_max: http.inflated_bytes_max.0 as usize,
        body_timeout: http.body_timeout.as_duration(),
        route_prefix: http.prefix().to_owned(),
        cors_origins: http.cors_origins().expect("BUG: settings were checked"),
        query_timeout: query.timeout.as_duration(),
        query_places: query.max_concurrency,
        stream_places: query.max_streams,
        queued_max: query.max_queued,
        metric_tenants_max: settings.telemetry.metric_tenants_max,
        answer_bytes_max: query.answer_bytes_max.0 as usize,
        write_idle_timeout: http.write_idle_timeout.as_duration(),
        lookback_delta: query.lookback_delta.as_duration(),
        otlp: OtlpOptions {
            target_info_interval_ms: query.lookback_delta.as_duration().as_millis() as i64 / 2,
            ..OtlpOptions::default()
        },
        tenant_limits: Arc::new(query_limits(tenants)),
        remote_read_samples_max: query.max_samples,
        replica_labels: query.replica_labels.clone(),
        config_yaml: as_prometheus(settings),
        settings_text: shown(settings),
        flags: vec![
            (
                "storage.tsdb.retention.time".to_owned(),
                settings.storage.retention.to_string(),
            ),
            (
                "query.lookback-delta".to_owned(),
                query.lookback_delta.to_string(),
            ),
            ("query.timeout".to_owned(), query.timeout.to_string()),
            (
                "query.max-concurrency".to_owned(),
                query.max_concurrency.to_string(),
            ),
            (
                "query.max-samples".to_owned(),
                query.max_samples.to_string(),
            ),
            ("enable-feature".to_owned(), enabled(&features)),
            ("web.external-url".to_owned(), http.external_url.clone()),
            ("web.route-prefix".to_owned(), http.prefix().to_owned()),
            (
                "web.max-connections".to_owned(),
                http.connections_max.to_string(),
            ),
        ],
        parser: parser_options(settings),
        features: Features {
            start_timestamps: features.use_start_timestamps,
            delayed_name_removal: query.delayed_name_removal,
            type_and_unit_labels: query.type_and_unit_labels,
            search_api: features.search_api,
            per_step_stats: features.promql_per_step_stats,
            query_cost: features.query_cost.then(|| CostCeilings {
                series: query.max_series,
                samples_read: query.max_samples_read,
                duration: query.max_duration.as_duration(),
            }),
        },
        ..ApiSettings::default()
    }
}

/// What the queries of each tenant may take.
fn query_limits(tenants: &Tenants) -> TenantLimitsTable {
    let of = |limits: &Limits| TenantLimits {
        samples_max: limits.query_samples_max,
        places_max: limits.query_concurrency_max,
        range_max: limits.query_range_max.as_duration(),
    };

    let own = tenants.overrides.iter().map(|(name, over)| {
        let tenant = Tenant::new(name).expect("BUG: settings were checked");
        (tenant, of(&over.over(&tenants.limits)))
    });

    TenantLimitsTable::new(of(&tenants.limits), own)
}

/// Which parts of the language are taken.
pub(crate) fn parser_options(settings: &Settings) -> ParserOptions {
    let features = settings.features_in_force();
    ParserOptions {
        experimental_functions: features.promql_experimental_functions,
        fill_modifiers: features.promql_binop_fill_modifiers,
        unquoted_utf8_names: features.promql_unquoted_utf8_names,
        ..ParserOptions::default()
    }
}

/// The names of the switches that are on, as Prometheus's flag lists them.
fn enabled(features: &trireme_settings::Features) -> String {
    let table = toml::Table::try_from(features).unwrap_or_default();
    let on = table
        .iter()
        .filter(|(_, value)| value.as_bool() == Some(true));
    on.map(|(name, _)| name.as_str())
        .collect::<Vec<_>>()
        .join(",")
}

/// What there is of Prometheus's own configuration. Its clients read the external labels: of a block, and so of the
/// samples, they are those of the bucket. A sidecar of Thanos wants at least one.
fn as_prometheus(settings: &Settings) -> String {
    // A text in JSON's form is one in YAML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out =
        "global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n  evaluation_interval: 1m\n"
            .to_owned();

    let query = &settings.query;
    if query.max_series > 0 {
        out.push_str(&format!("  query_max_series: {}\n", query.max_series));
    }

    if query.max_samples_read > 0 {
        out.push_str(&format!(
            "  query_max_samples_read: {}\n",
            query.max_samples_read
        ));
    }

    if !query.max_duration.as_duration().is_zero() {
        out.push_str(&format!("  query_max_duration: {}\n", query.max_duration));
    }

    if !settings.bucket.external_labels.is_empty() {
        out.push_str("  external_labels:\n");
    }

    for (name, value) in &settings.bucket.external_labels {
        out.push_str(&format!("    {}: {}\n", quoted(name), quoted(value)));
    }

    out
}

/// The settings as TOML, with secrets blotted out.
fn shown(settings: &Settings) -> String {
    let mut copy = settings.clone();
    for secret in [&mut copy.bucket.access_key, &mut copy.bucket.secret_key] {
        if !secret.is_empty() {
            *secret = "<secret>".to_owned();
        }
    }
    toml::to_string(&copy).unwrap_or_default()
}

pub(crate) fn limits_table(settings: &Settings) -> anyhow::Result<Arc<LimitsTable>> {
    let of_all = match settings.storage.series_max {
        0 => machine::memory_bytes() / 2 / SERIES_BYTES,
        series => series,
    };

    let mut overrides = Vec::new();
    for (name, limits) in &settings.tenants.overrides {
        let tenant = Tenant::new(name).with_context(|| format!("tenants.overrides.{name}"))?;
        let limits = limits.over(&settings.tenants.limits);
        overrides.push((tenant, ingest_limits(settings, &limits, of_all)));
    }

    let of_others = ingest_limits(settings, &settings.tenants.limits, of_all);
    Ok(Arc::new(LimitsTable::new(of_others, overrides)))
}

/// `of_all` is how many series all tenants may have together.
fn ingest_limits(settings: &Settings, limits: &Limits, of_all: u64) -> IngestLimits {
    let storage = &settings.storage;
    // Series spread evenly by hash: a shard's share and a tenth for the spread.
    let share = |series: u64| {
        let share = series.div_ceil(u64::from(storage.shards));
        (share + share / 10).max(1) as usize
    };

    IngestLimits {
        out_of_order_window_ms: storage.out_of_order_window.as_millis_i64(),
        backfill_window_ms: storage.backfill_window.as_millis_i64(),
        max_future_ms: storage.max_future.as_millis_i64(),
        label_count_max: limits.labels_max,
        label_name_bytes_max: limits.label_name_bytes_max,
        label_value_bytes_max: limits.label_value_bytes_max,
        shard_series_max: if limits.series_max == 0 {
            0
        } else {
            share(limits.series_max)
        },
        shard_series_of_all_max: share(of_all),
    }
}

#[cfg(test)]
mod tests {
    use trireme_settings::Sources;

    use super::*;

    #[test]
    fn a_tenants_queries_have_its_own_limits_and_else_those_of_all() {
        let set = [
            "tenants.limits.query_samples_max=1000",
            "tenants.limits.query_range_max=7d",
            "tenants.overrides.small.query_concurrency_max=2",
            "tenants.overrides.small.query_range_max=1d",
        ];

        let sources = Sources {
            set: set.map(str::to_owned).to_vec(),
            ..Sources::default()
        };
        let settings = trireme_settings::load(&sources).expect("good");
        let table = api_settings(&settings).tenant_limits;
        let day = |days: u64| std::time::Duration::from_secs(days * 86_400);
        let want = |places_max, days| TenantLimits {
            samples_max: 1000,
            places_max,
            range_max: day(days),
        };

        assert_eq!(table.of(&Tenant::new("small").expect("valid")), want(2, 1));
        assert_eq!(table.of(&Tenant::default()), want(0, 7));
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut settings = Settings::default();
        settings.bucket.secret_key = "hunter2".into();
        let shown = api_settings(&settings);
        assert!(
            !shown.settings_text.contains("hunter2") && shown.settings_text.contains("secret_key")
        );
        assert!(!shown.config_yaml.contains("secret"));
    }

    #[test]
    fn prometheus_clients_read_the_external_labels() {
        let mut settings = Settings::default();
        settings
            .bucket
            .external_labels
            .insert("cluster".into(), "a \"b\": c".into());

        let yaml = api_settings(&settings).config_yaml;
        assert!(
            yaml.starts_with("global:\n") && yaml.contains("evaluation_interval: 1m"),
            "{yaml}"
        );
        assert!(
            yaml.contains("  external_labels:\n    \"cluster\": \"a \\\"b\\\": c\"\n"),
            "{yaml}"
        );
    }
}
