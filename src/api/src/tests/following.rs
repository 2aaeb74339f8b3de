//! What came with later releases of Prometheus: per-query switches, searches, formats of federation.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::fakes::{NOW_MS, Node, Reply};
use crate::{ApiSettings, Features};

fn searching() -> Node {
    let features = Features {
        search_api: true,
        ..Features::default()
    };
    Node::with(ApiSettings {
        features,
        ..ApiSettings::default()
    })
}

fn lines(reply: &Reply) -> Vec<Value> {
    let text = String::from_utf8(reply.body.clone()).expect("JSON is UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

#[actix_web::test]
async fn a_header_says_whether_start_timestamps_take_part() {
    let node = Node::new();
    let with = |value: &'static str| {
        let request = TestRequest::get().uri("/api/v1/query?query=up");
        node.send(request.insert_header(("X-Prometheus-Use-Start-Timestamps", value)))
    };

    for (value, want) in [("true", Some(true)), ("F", Some(false)), ("", None)] {
        assert_eq!(with(value).await.status, 200);
        assert_eq!(node.queries.start_timestamps.lock().take(), want, "{value}");
    }

    let refused = with("maybe").await;
    assert_eq!(
        (refused.status, &refused.json()["errorType"]),
        (400, &json!("bad_data"))
    );
    assert_eq!(
        refused.json()["error"],
        "error parsing X-Prometheus-Use-Start-Timestamps header: strconv.ParseBool: parsing \"maybe\": invalid syntax"
    );
}

#[actix_web::test]
async fn timeouts_must_be_positive_and_an_old_value_of_stats_is_told_so() {
    let node = Node::new();
    for (given, got) in [("0", "0s"), ("-1", "-1s")] {
        let reply = node
            .get(&format!("/api/v1/query?query=up&timeout={given}"))
            .await;
        let want = format!("invalid parameter \"timeout\": timeout must be positive, got {got}");
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!(want)));
    }

    let reply = node.get("/api/v1/query?query=up&lookback_delta=NaN").await;
    let error = reply.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        error.starts_with("error parsing lookback delta duration: "),
        "{error}"
    );

    let json = node.get("/api/v1/query?query=up&stats=foo").await.json();
    let warning = json["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(
        warning.starts_with("value \"foo\" for parameter \"stats\" is deprecated"),
        "{warning}"
    );

    assert_eq!(json["data"]["stats"]["samples"]["seriesTouched"], 0);
}

#[actix_web::test]
async fn searches_answer_lines_of_json_and_are_off_unless_switched_on() {
    let off = Node::new().get("/api/v1/search/metric_names").await;
    assert_eq!(
        (off.status, &off.json()["errorType"]),
        (500, &json!("unavailable"))
    );

    let node = searching();
    let reply = node
        .get("/api/v1/search/label_values?label=job&batch_size=1&include_score=true")
        .await;

    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson; charset=utf-8"))
    );
    assert_eq!(
        lines(&reply),
        [
            json!({ "results": [{ "value": "a", "score": 1.0 }] }),
            json!({ "results": [{ "value": "b", "score": 1.0 }] }),
            json!({ "status": "success", "has_more": false }),
        ]
    );

    let reply = node
        .get("/api/v1/search/metric_names?limit=1&sort_by=alpha&sort_dir=dsc")
        .await;

    assert_eq!(
        lines(&reply),
        [
            json!({ "results": [{ "name": "b" }] }),
            json!({ "status": "success", "has_more": true })
        ]
    );

    let reply = node
        .get("/api/v1/search/label_names?search[]=nothing")
        .await;

    assert_eq!(
        lines(&reply),
        [
            json!({ "results": [] }),
            json!({ "status": "success", "has_more": false })
        ]
    );

    let reply = node
        .form(
            "/api/v1/search/label_names",
            "search[]=JOB&case_sensitive=false",
        )
        .await;

    assert_eq!(lines(&reply)[0], json!({ "results": [{ "name": "job" }] }));
}

#[actix_web::test]
async fn parameters_of_searches_are_checked_in_the_words_of_prometheus() {
    let node = searching();
    let cases = [
        ("label_values", "missing required parameter \"label\""),
        (
            "metric_names?start=5&end=4",
            "end timestamp must not be before start timestamp",
        ),
        (
            "metric_names?limit=0",
            "invalid limit \"0\": must be a positive integer",
        ),
        (
            "metric_names?limit=20000",
            "limit 20000 exceeds the configured maximum (10000, see --web.search.max-limit)",
        ),
        (
            "metric_names?sort_by=x",
            "invalid sort_by \"x\" for metric_names: must be \"alpha\" or \"score\"",
        ),
        (
            "metric_names?sort_by=score",
            "sort_by=score requires search[] to be set",
        ),
        (
            "metric_names?sort_dir=asc",
            "sort_dir is only valid when sort_by is set",
        ),
        (
            "metric_names?sort_by=score&search[]=a&sort_dir=asc",
            "sort_dir is not supported for sort_by=score",
        ),
    ];

    for (path, want) in cases {
        let reply = node.get(&format!("/api/v1/search/{path}")).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (400, &json!(want)),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn federation_gives_the_format_that_is_accepted() {
    let node = Node::new();
    node.queries.samples.lock().push((NOW_MS, 1.5));
    let with = |accept: &'static str| {
        let request = TestRequest::get().uri("/federate?match[]=up");
        node.send(request.insert_header(("accept", accept)))
    };

    let text = with("text/plain;version=0.0.4;escaping=allow-utf-8").await;
    let want = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";
    assert_eq!(
        (text.status, text.header("content-type")),
        (200, Some(want))
    );

    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let protobuf = with(accept).await;
    let want = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                escaping=underscores";

    assert_eq!(
        (protobuf.status, protobuf.header("content-type")),
        (200, Some(want))
    );
    assert_eq!(
        usize::from(protobuf.body[0]),
        protobuf.body.len() - 1,
        "one family after its length"
    );
}
