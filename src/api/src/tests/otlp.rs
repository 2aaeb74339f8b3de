//! OTLP over HTTP.

use std::io::Write;
use std::time::Duration;

use actix_web::test::TestRequest;
use prost::Message;
use trireme_model::{RetryLater, WriteOutcome};
use trireme_remote::otlp::proto::{ExportResponse, NumberDataPoint, Status};

use super::fakes::{Node, Reply};
use crate::ApiSettings;

/// A gauge `x` with one point, or with `temporality` a sum.
fn body(temporality: Option<u8>) -> Vec<u8> {
    let field =
        |number: u8, content: &[u8]| [&[(number << 3) | 2, content.len() as u8], content].concat();
    let point = NumberDataPoint {
        time_unix_nano: 5_000_000,
        ..Default::default()
    }
    .encode_to_vec();

    let data = match temporality {
        None => field(5, &field(1, &point)),
        Some(t) => field(7, &[field(1, &point), vec![0x10, t]].concat()),
    };

    field(1, &field(2, &field(2, &[field(1, b"x"), data].concat())))
}

async fn post(node: &Node, encoding: Option<&str>, body: Vec<u8>) -> Reply {
    let mut request = TestRequest::post()
        .uri("/v1/metrics")
        .insert_header(("content-type", "application/x-protobuf"));
    if let Some(encoding) = encoding {
        request = request.insert_header(("content-encoding", encoding.to_owned()));
    }
    node.send(request.set_payload(body)).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("in memory");
    writer.finish().expect("in memory")
}

#[actix_web::test]
async fn plain_and_gzip_bodies_are_stored() {
    let node = Node::new();
    for (encoding, body) in [(None, body(None)), (Some("gzip"), gzip(&body(None)))] {
        let reply = post(&node, encoding, body).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
    }
    let batches = node.sink.batches.lock();
    assert_eq!((batches.len(), batches[1].1.samples[0].t), (2, 5));
}

#[actix_web::test]
async fn refused_points_are_a_partial_success() {
    let node = Node::new();
    let reply = post(&node, None, body(Some(1))).await;
    let partial = ExportResponse::decode(reply.body.as_slice())
        .expect("a message")
        .partial_success
        .expect("partial");

    assert_eq!((reply.status, partial.rejected_data_points), (200, 1));
    assert!(partial.error_message.contains("delta temporality"));
}

#[actix_web::test]
async fn oddities_of_stored_requests_are_counted_under_prometheus_names() {
    let node = Node::new();
    let histogram = |count: u64, more: &str| {
        let point = format!(r#""timeUnixNano":"5000000","count":"{count}",{more}"#);
        format!(
            r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{point}}},{{{point}}}]}}}}"#
        )
    };

    let metrics = [
        r#"{"name":"none","gauge":{"dataPoints":[]}}"#.to_owned(),
        r#"{"name":"none","summary":{"dataPoints":[]}}"#.to_owned(),
        r#"{"name":"neither","sum":{"aggregationTemporality":2}}"#.to_owned(),
        r#"{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"5000000","asInt":"7","attributes":[
            {"key":"a.b","value":{"stringValue":"1"}},{"key":"a_b","value":{"stringValue":"2"}}]}]}}"#
            .to_owned(),
        histogram(0, r#""sum":2.5"#),
        histogram(0, r#""sum":0"#),
        histogram(6, r#""sum":9,"explicitBounds":[1,"Infinity"],"bucketCounts":["1","2","3"]"#),
    ];

    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{}]}}]}}]}}"#,
        metrics.join(",")
    );
    let post = async || {
        let request = TestRequest::post()
            .uri("/v1/metrics")
            .insert_header(("content-type", "application/json"));
        node.send(request.set_payload(body.clone())).await.status
    };

    assert_eq!(post().await, 200);
    let counted = |want: &[(&str, u64)]| {
        let rendered = node.metrics.render();
        for (category, n) in want {
            let line = format!(
                "prometheus_api_otlp_translation_warnings_total{{category=\"{category}\"}} {n}\n"
            );
            assert!(rendered.contains(&line), "{line}{rendered}");
        }
    };

    let once = [
        ("empty_data_points", 2),
        ("histogram_plus_inf_bound", 1),
        ("histogram_zero_count_non_zero_sum", 1),
        ("label_name_collision", 1),
    ];

    counted(&once);

    let mut outcome = WriteOutcome::default();
    outcome.dropped.add("exemplar_too_old", 3, String::new);
    outcome
        .dropped
        .add("exemplar_too_far_in_future", 1, String::new);
    *node.sink.outcome.lock() = Some(outcome);
    assert_eq!(post().await, 200);
    counted(&once.map(|(category, n)| (category, 2 * n)));

    assert!(
        node.metrics
            .render()
            .contains("prometheus_api_otlp_out_of_order_exemplars_total 3\n")
    );

    let later = RetryLater {
        message: "later".into(),
        after: Duration::from_secs(1),
    };

    *node.sink.outcome.lock() = Some(WriteOutcome {
        unavailable: Some(later),
        ..Default::default()
    });
    assert_eq!(post().await, 503);
    counted(&once.map(|(category, n)| (category, 2 * n)));
}

#[actix_web::test]
async fn json_is_answered_in_json() {
    let node = Node::new();
    let metric = |data: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"x",{data}}}]}}]}}]}}"#
        )
    };

    let post = async |body: String| {
        let request = TestRequest::post().uri("/otlp/v1/metrics");
        let request = request.insert_header(("content-type", "application/json; charset=utf-8"));
        let reply = node.send(request.set_payload(body)).await;
        let answer: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        (reply.status, answer)
    };

    let points = r#""dataPoints":[{"timeUnixNano":"5000000","asInt":"7"}]"#;
    let stored = post(metric(&format!(r#""gauge":{{{points}}}"#))).await;
    assert_eq!(stored, (200, serde_json::json!({})));
    assert_eq!(node.sink.batches.lock()[0].1.samples[0].v, 7.0);

    let delta =
        format!(r#""sum":{{{points},"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}}"#);
    let (status, answer) = post(metric(&delta)).await;

    assert_eq!(
        (status, &answer["partialSuccess"]["rejectedDataPoints"]),
        (200, &"1".into())
    );

    let (status, answer) = post("{".to_owned()).await;
    assert_eq!(status, 400);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|text| text.contains("malformed JSON")),
        "{answer}"
    );
}

#[actix_web::test]
async fn failures_tell_the_sender_whether_to_come_again() {
    let node = Node::with(ApiSettings {
        inflated_bytes_max: 1_000,
        ..Default::default()
    });

    assert_eq!(post(&node, Some("zstd"), body(None)).await.status, 415);
    assert_eq!(post(&node, Some("gzip"), body(None)).await.status, 400);
    let reply = post(&node, Some("gzip"), gzip(&[0; 1_001])).await;
    let status = Status::decode(reply.body.as_slice()).expect("a message");
    assert!(
        reply.status == 400 && status.message.contains("http.inflated_bytes_max"),
        "{}",
        status.message
    );

    let text = TestRequest::post()
        .uri("/v1/metrics")
        .insert_header(("content-type", "text/plain"));

    assert_eq!(node.send(text).await.status, 415);
    let unavailable = Some(RetryLater {
        message: "no quorum".into(),
        after: Duration::from_secs(3),
    });

    *node.sink.outcome.lock() = Some(WriteOutcome {
        unavailable,
        ..Default::default()
    });

    let reply = post(&node, None, body(None)).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("3"))
    );
}
