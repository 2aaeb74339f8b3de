//! Dashboard-like queries over the generated fleet.

use super::super::fleet::node_name;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An expression at the end of the range.
    Instant(String),
    /// An expression over the range.
    Range(String),
    /// The values of a label, perhaps only of series that match.
    LabelValues(&'static str, Option<&'static str>),
    /// All label names.
    LabelNames,
    /// The series that match.
    Series(&'static str),
}

/// A question with a name.
#[derive(Clone, Debug)]
pub struct Question {
    pub name: &'static str,
    pub ask: Ask,
}

/// All questions: one host, the fleet, containers, histograms, joins, lists.
pub fn questions() -> Vec<Question> {
    let mut questions = of_a_host();
    questions.extend(of_the_fleet());
    questions.extend(of_containers());
    questions.extend(of_lists());
    questions
}

fn range(name: &'static str, text: &str) -> Question {
    Question {
        name,
        ask: Ask::Range(with_node(text)),
    }
}

fn instant(name: &'static str, text: &str) -> Question {
    Question {
        name,
        ask: Ask::Instant(with_node(text)),
    }
}

/// The node of these questions is the only one that every fleet has.
fn with_node(text: &str) -> String {
    text.replace("$node", &node_name(0))
}

fn of_a_host() -> Vec<Question> {
    vec![
        range(
            "host_cpu_modes",
            r#"sum by (mode) (rate(node_cpu_seconds_total{node="$node"}[5m]))"#,
        ),
        range(
            "host_cpu_busy",
            r#"1 - avg(rate(node_cpu_seconds_total{node="$node", mode="idle"}[5m]))"#,
        ),
        range("host_load", r#"node_load1{node="$node"}"#),
        range(
            "host_memory",
            r#"node_memory_MemTotal_bytes{node="$node"} - node_memory_MemAvailable_bytes{node="$node"}"#,
        ),
        range(
            "host_disk_io",
            r#"rate(node_disk_io_time_seconds_total{node="$node"}[5m])"#,
        ),
        range(
            "host_net",
            r#"rate(node_network_receive_bytes_total{node="$node", device!~"lo|veth.*"}[5m]) * 8"#,
        ),
        instant(
            "host_fs_predict",
            r#"predict_linear(node_filesystem_avail_bytes{node="$node"}[1h], 86400)"#,
        ),
    ]
}

fn of_the_fleet() -> Vec<Question> {
    vec![
        range(
            "fleet_cpu_by_node",
            r#"sum by (node) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))"#,
        ),
        range(
            "fleet_cpu_quantile",
            r#"quantile(0.9, rate(node_cpu_seconds_total{mode="user"}[5m]))"#,
        ),
        range(
            "fleet_mem_ratio",
            "1 - sum(node_memory_MemAvailable_bytes) / sum(node_memory_MemTotal_bytes)",
        ),
        range(
            "fleet_net_total",
            r#"sum(rate(node_network_receive_bytes_total{device!="lo"}[5m]))"#,
        ),
        instant("fleet_up", "count by (job) (up == 1)"),
        instant(
            "fleet_topk_cpu",
            "topk(10, sum by (pod) (rate(container_cpu_usage_seconds_total[5m])))",
        ),
        instant("fleet_resets", "sum(resets(process_cpu_seconds_total[6h]))"),
        instant("fleet_avg_6h", "avg_over_time(node_load1[6h])"),
        instant(
            "fleet_max_subquery",
            "max_over_time((avg by (cluster) (node_load1))[1h:1m])",
        ),
    ]
}

fn of_containers() -> Vec<Question> {
    vec![
        range(
            "ns_cpu",
            "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))",
        ),
        instant(
            "ns_mem",
            "sum by (namespace, pod) (container_memory_working_set_bytes)",
        ),
        instant(
            "pod_throttle",
            "topk(20, rate(container_cpu_cfs_throttled_periods_total[5m]) / rate(container_cpu_cfs_periods_total[5m]))",
        ),
        range(
            "pod_cpu_regex",
            r#"sum(rate(container_cpu_usage_seconds_total{namespace="shop", pod=~"checkout-.*"}[5m]))"#,
        ),
        range(
            "ops_p99",
            "histogram_quantile(0.99, sum by (le) (rate(kubelet_runtime_operations_duration_seconds_bucket[5m])))",
        ),
        instant(
            "ops_p99_by_node",
            "histogram_quantile(0.99, sum by (node, le) (rate(kubelet_runtime_operations_duration_seconds_bucket[5m])))",
        ),
        range(
            "api_errors",
            "sum by (code) (rate(rest_client_requests_total[5m]))",
        ),
        instant(
            "join_info",
            "node_load1 * on (node) group_left (release) node_uname_info",
        ),
        instant("all_count", r#"count({__name__!=""})"#),
        instant("absent", r#"absent(up{job="nothing"})"#),
    ]
}

fn of_lists() -> Vec<Question> {
    vec![
        Question {
            name: "names",
            ask: Ask::LabelValues("__name__", Some(r#"{job="kubelet"}"#)),
        },
        Question {
            name: "instances",
            ask: Ask::LabelValues("instance", None),
        },
        Question {
            name: "label_names",
            ask: Ask::LabelNames,
        },
        Question {
            name: "find_series",
            ask: Ask::Series(r#"container_cpu_usage_seconds_total{namespace="shop"}"#),
        },
    ]
}

#[cfg(test)]
mod tests {
    use trireme_promql::{ParserOptions, parse, parse_selector};

    use super::*;

    #[test]
    fn every_question_can_be_parsed() {
        let options = ParserOptions::default();
        for question in questions() {
            match &question.ask {
                Ask::Instant(text) | Ask::Range(text) => {
                    drop(parse(text, &options).expect(question.name))
                }
                Ask::Series(text) | Ask::LabelValues(_, Some(text)) => {
                    drop(parse_selector(text, &options).expect(question.name));
                }
                Ask::LabelValues(_, None) | Ask::LabelNames => {}
            }
        }
    }
}
