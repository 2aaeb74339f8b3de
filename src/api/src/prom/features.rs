//! `features`: what this server can do, under Prometheus's names.

use serde_json::{Map, Value, json};
use trireme_promql::ast::{AggregateOp, BinaryOp, FUNCTIONS};

use super::Answer;
use super::status::value;
use crate::ApiSettings;
use crate::ask::Ask;

/// Words of the language that are neither operators nor functions and need no switch.
const KEYWORDS: [&str; 15] = [
    "anchored",
    "bool",
    "by",
    "end",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "range",
    "smoothed",
    "start",
    "step",
    "without",
    "duration_expr",
];

/// Operators beside those of the syntax tree.
const OTHER_OPERATORS: [&str; 3] = ["@", "=~", "!~"];

pub(crate) async fn features(ask: Ask) -> Answer {
    value(&listed(&ask.state.settings))
}

fn listed(settings: &ApiSettings) -> Value {
    let features = &settings.features;
    json!({
        "api": {
            "admin": false,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": false,
            "otlp_write_receiver": true,
            "query_cost": features.query_cost.is_some(),
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
            "search": features.search_api,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "otlp_receiver": { "delta_conversion": false, "native_delta_ingestion": false },
        "prometheus": { "stringlabels": false },
        "promql": promql(settings),
        "promql_functions": functions(settings),
        "promql_operators": operators(settings),
        "rules": {},
        "scrape": {},
        "service_discovery_providers": {},
        "templating_functions": {},
        "tsdb": {
            "delayed_compaction": false,
            "exemplar_storage": true,
            "histograms_st_encoding": features.start_timestamps,
            "isolation": false,
            "native_histograms": true,
            "st_storage": features.start_timestamps,
            "use_uncached_io": false,
            "xor2_encoding": true,
        },
        "ui": {},
    })
}

fn promql(settings: &ApiSettings) -> Map<String, Value> {
    let features = &settings.features;
    let parser = &settings.parser;
    let keywords = KEYWORDS.iter().map(|word| (*word, true));
    let fills = ["fill", "fill_left", "fill_right"].map(|word| (word, parser.fill_modifiers));
    let others = [
        ("at_modifier", true),
        ("delayed_name_removal", features.delayed_name_removal),
        ("negative_offset", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", features.per_step_stats),
        ("subqueries", true),
        ("type_and_unit_labels", features.type_and_unit_labels),
        ("unquoted_utf8_names", parser.unquoted_utf8_names),
        ("use_start_timestamps", features.start_timestamps),
    ];

    map(keywords.chain(fills).chain(others))
}

fn functions(settings: &ApiSettings) -> Map<String, Value> {
    let experimental = settings.parser.experimental_functions;
    map(FUNCTIONS
        .iter()
        .map(|f| (f.name, experimental || !f.experimental)))
}

fn operators(settings: &ApiSettings) -> Map<String, Value> {
    let experimental = settings.parser.experimental_functions;
    let binary = BinaryOp::ALL.iter().map(|op| (op.as_str(), true));
    let aggregations = AggregateOp::ALL
        .iter()
        .map(|op| (op.as_str(), experimental || !op.is_experimental()));

    map(binary
        .chain(aggregations)
        .chain(OTHER_OPERATORS.map(|op| (op, true))))
}

fn map<'a>(pairs: impl Iterator<Item = (&'a str, bool)>) -> Map<String, Value> {
    pairs
        .map(|(name, on)| (name.to_owned(), Value::Bool(on)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_show_and_what_is_stable_is_always_on() {
        let mut settings = ApiSettings::default();
        let on = listed(&settings);
        assert_eq!(on["promql_functions"]["integral"], true);
        assert_eq!(on["promql"]["unquoted_utf8_names"], false);

        settings.parser.experimental_functions = false;
        settings.parser.fill_modifiers = false;

        let off = listed(&settings);
        for (group, name, state) in [
            ("promql_functions", "integral", false),
            ("promql_functions", "rate", true),
            ("promql_operators", "limitk", false),
            ("promql", "fill_left", false),
            ("promql", "anchored", true),
            ("promql", "smoothed", true),
            ("promql", "duration_expr", true),
        ] {
            assert_eq!(off[group][name], state, "{group}.{name}");
        }
    }
}
