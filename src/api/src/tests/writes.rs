//! Remote write: the outcome table of the replication design, header by header.

use std::time::Duration;

use actix_web::test::TestRequest;
use trireme_model::{Rejections, RetryLater, WriteOutcome};
use trireme_remote::prompb::{v1, v2};
use trireme_remote::snappy;

use super::fakes::{FakeSink, Node, Reply, Steps};
use crate::ApiSettings;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn v1_body(series: usize) -> Vec<u8> {
    let label = |name: &str, value: String| v1::Label {
        name: name.into(),
        value,
    };
    let timeseries = (0..series).map(|i| v1::TimeSeries {
        labels: vec![label("__name__", "up".into()), label("i", i.to_string())],
        samples: vec![v1::Sample {
            value: 1.0,
            timestamp: 5,
        }],
        ..Default::default()
    });

    let request = v1::WriteRequest {
        timeseries: timeseries.collect(),
        metadata: vec![],
    };

    snappy::deflate(&prost::Message::encode_to_vec(&request)).expect("small")
}

fn v2_body() -> Vec<u8> {
    let sample = v2::Sample {
        value: 1.0,
        timestamp: 5,
        start_timestamp: 0,
    };

    let ts = v2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![sample],
        ..Default::default()
    };

    let symbols = ["", "__name__", "up"].map(str::to_owned).to_vec();
    let request = v2::Request {
        symbols,
        timeseries: vec![ts],
    };

    snappy::deflate(&prost::Message::encode_to_vec(&request)).expect("small")
}

async fn post(node: &Node, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> Reply {
    let mut request = TestRequest::post().uri("/api/v1/write").set_payload(body);
    for header in headers {
        request = request.insert_header(*header);
    }
    node.send(request).await
}

fn written(reply: &Reply) -> Option<(&str, &str, &str)> {
    let of = |kind| reply.header(&format!("x-prometheus-remote-write-{kind}-written"));
    Some((of("samples")?, of("histograms")?, of("exemplars")?))
}

#[actix_web::test]
async fn a_stored_request_is_answered_204_on_all_three_paths() {
    let node = Node::new();
    for path in ["/api/v1/write", "/api/v1/receive", "/api/v1/push"] {
        let reply = node
            .send(TestRequest::post().uri(path).set_payload(v1_body(2)))
            .await;
        assert_eq!((reply.status, reply.text()), (204, ""), "{path}");
        assert_eq!(
            written(&reply),
            None,
            "version 1 senders must not see counts"
        );
    }

    let batches = node.sink.batches.lock();
    assert_eq!(batches.len(), 3);
    assert_eq!(
        (batches[0].0.as_str(), batches[0].1.series.len()),
        ("default-tenant", 2)
    );
}

#[actix_web::test]
async fn version_two_is_chosen_by_content_type_and_gets_counts() {
    let node = Node::new();
    let headers = [
        ("content-type", V2),
        ("content-encoding", "snappy"),
        ("x-scope-orgid", "team-a"),
    ];

    let reply = post(&node, &headers, v2_body()).await;
    assert_eq!(
        (reply.status, written(&reply)),
        (204, Some(("1", "0", "0")))
    );
    assert_eq!(node.sink.batches.lock()[0].0.as_str(), "team-a");
    post(&node, &[], v1_body(1)).await;

    let counted = "prometheus_api_remote_write_without_metadata_appended_samples_total 1\n";
    assert!(
        node.metrics.render().contains(counted),
        "of version 2 alone"
    );
}

#[actix_web::test]
async fn what_is_not_understood_is_415_before_it_is_decoded() {
    let node = Node::new();
    for headers in [
        [
            ("content-encoding", "zstd"),
            ("content-type", "application/x-protobuf"),
        ],
        [
            ("content-encoding", "snappy"),
            ("content-type", "application/json"),
        ],
    ] {
        assert_eq!(
            post(&node, &headers, b"not snappy at all".to_vec())
                .await
                .status,
            415
        );
    }

    assert!(node.sink.batches.lock().is_empty());
}

#[actix_web::test]
async fn bad_bodies_are_400() {
    let node = Node::new();
    let reply = post(&node, &[], vec![0xff; 10]).await;
    assert_eq!(reply.status, 400);

    assert!(reply.text().starts_with("snappy: "), "{}", reply.text());
    let reply = post(
        &node,
        &[("content-type", V2)],
        snappy::deflate(&[0x2a, 0x7f]).expect("small"),
    )
    .await;

    assert_eq!(
        (reply.status, written(&reply)),
        (400, Some(("0", "0", "0")))
    );

    assert!(
        reply.text().contains("malformed protobuf at byte 2"),
        "{}",
        reply.text()
    );

    assert_eq!(
        post(&node, &[("thanos-tenant", "a/b")], v1_body(1))
            .await
            .status,
        400
    );
}

#[actix_web::test]
async fn bounds_of_the_body_are_400_and_name_their_key() {
    let node = Node::with(ApiSettings {
        body_bytes_max: 20,
        ..Default::default()
    });
    let reply = post(&node, &[], vec![1; 21]).await;

    assert_eq!(reply.status, 400);
    assert!(
        reply
            .text()
            .contains("the limit is 20 (http.body_bytes_max)"),
        "{}",
        reply.text()
    );

    let node = Node::with(ApiSettings {
        inflated_bytes_max: 1_000,
        ..Default::default()
    });
    let reply = post(&node, &[], snappy::deflate(&[0; 1_001]).expect("small")).await;

    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("1001 bytes") && reply.text().contains("http.inflated_bytes_max")
    );
}

#[actix_web::test]
async fn metadata_alone_and_nothing_at_all_are_fine() {
    let node = Node::new();
    let metadata = vec![v1::MetricMetadata {
        metric_family_name: "up".into(),
        ..Default::default()
    }];
    let request = v1::WriteRequest {
        timeseries: vec![],
        metadata,
    };
    let body = snappy::deflate(&prost::Message::encode_to_vec(&request)).expect("small");

    assert_eq!(post(&node, &[], body).await.status, 204);
    assert_eq!(node.sink.batches.lock()[0].1.metadata[0].0, "up");
    assert_eq!(
        post(&node, &[], snappy::deflate(&[]).expect("small"))
            .await
            .status,
        204
    );
}

fn later(secs: u64) -> Option<RetryLater> {
    Some(RetryLater {
        message: "no quorum".into(),
        after: Duration::from_secs(secs),
    })
}

#[actix_web::test]
async fn outcomes_become_statuses_as_the_table_says() {
    let mut rejections = Rejections::default();
    rejections.add("too old", 3, || "up{i=\"0\"}\nis old".into());
    let stored = WriteOutcome {
        samples: 5,
        duplicates: 5,
        ..Default::default()
    };

    let some = WriteOutcome {
        rejections,
        ..stored.clone()
    };
    let cases = [
        (stored.clone(), 204, None, ""),
        (
            some.clone(),
            400,
            None,
            "too old: 3 refused, for example up{i=\"0\"} is old\n",
        ),
        (
            WriteOutcome {
                unavailable: later(7),
                ..some.clone()
            },
            503,
            Some("7"),
            "no quorum\ntoo old: 3",
        ),
        (
            WriteOutcome {
                limited: later(0),
                ..Default::default()
            },
            429,
            Some("1"),
            "no quorum",
        ),
    ];

    for (outcome, status, retry_after, text) in cases {
        let node = Node::new();
        let samples = outcome.samples.to_string();
        *node.sink.outcome.lock() = Some(outcome);
        let reply = post(&node, &[("content-type", V2)], v2_body()).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (status, retry_after)
        );
        assert!(reply.text().starts_with(text), "{}", reply.text());
        assert_eq!(written(&reply), Some((samples.as_str(), "0", "0")));
    }
}

#[actix_web::test]
async fn what_the_decoder_refuses_is_reported_and_the_rest_is_stored() {
    let mut settings = ApiSettings::default();
    settings.decode.labels_per_series_max = 1;
    let node = Node::with(settings);
    let reply = post(&node, &[], v1_body(2)).await;

    assert_eq!(reply.status, 400);
    assert!(
        reply.text().starts_with("too many labels: 2 refused"),
        "{}",
        reply.text()
    );

    let metrics = node.metrics.render();
    let line =
        "trireme_api_rejected_items_total{reason=\"too many labels\",tenant=\"default-tenant\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[actix_web::test]
async fn too_many_bytes_in_flight_are_503_not_a_queue() {
    let node = Node::with(ApiSettings {
        in_flight_bytes_max: 1 << 10,
        ..Default::default()
    });
    let reply = post(&node, &[], v1_body(200)).await;

    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(post(&node, &[], v1_body(1)).await.status, 204);
}

#[actix_web::test]
async fn only_post_is_a_write() {
    assert_eq!(Node::new().get("/api/v1/write").await.status, 405);
}

#[actix_web::test]
async fn a_client_that_goes_away_does_not_stop_its_write_half_way() {
    let sink = FakeSink {
        steps: Some(Steps::default()),
        ..Default::default()
    };
    let node = Node::over(sink, ApiSettings::default());
    let steps = node.sink.steps.as_ref().expect("set above");

    tokio::select! {
        _ = post(&node, &[], v1_body(1)) => panic!("the write waits"),
        () = steps.begun.notified() => {}
    }

    // The handler's future is dropped now, as actix does when the connection closes.
    assert!(node.sink.batches.lock().is_empty());
    steps.go_on.notify_one();
    steps.done.notified().await;
    actix_web::rt::task::yield_now().await;
    assert_eq!(node.sink.batches.lock().len(), 1);
}

#[actix_web::test]
async fn metrics_name_so_many_tenants_and_count_the_others_together() {
    let node = Node::with(ApiSettings {
        metric_tenants_max: 2,
        ..Default::default()
    });

    for tenant in ["a", "b", "c", "d", "a"] {
        assert_eq!(
            post(&node, &[("thanos-tenant", tenant)], v1_body(1))
                .await
                .status,
            204
        );
    }

    let shown = node.metrics.render();
    for name in ["a", "b", "other"] {
        assert!(
            shown.contains(&format!("tenant=\"{name}\"")),
            "{name} in {shown}"
        );
    }

    assert!(!shown.contains("tenant=\"c\""), "{shown}");
}
