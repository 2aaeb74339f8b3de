//! Health, status, administration, CORS.

use actix_web::test::TestRequest;
use serde_json::json;
use trireme_base::Clock;
use trireme_model::Tenant;

use super::fakes::Node;
use crate::{ApiSettings, Readiness, ReplayStatus};

#[actix_web::test]
async fn readiness_says_why_not() {
    let node = Node::new();
    assert_eq!(node.get("/-/healthy").await.status, 200);
    assert_eq!(node.get("/-/ready").await.status, 200);
    *node.health.0.lock() = Readiness::NotReady("replaying the log".into());

    let reply = node.get("/-/ready").await;
    assert_eq!(
        (reply.status, reply.header("x-prometheus-stopping")),
        (503, Some("false"))
    );

    assert!(reply.text().contains("replaying the log"));
}

#[actix_web::test]
async fn the_replay_shows_its_segments() {
    let node = Node::new();
    let want = json!({ "min": 3, "max": 9, "current": 5, "state": "in progress" });
    *node.health.1.lock() = ReplayStatus {
        first: 3,
        last: 9,
        current: 5,
        done: false,
    };

    assert_eq!(
        node.get("/api/v1/status/walreplay").await.json()["data"],
        want
    );
    node.health.1.lock().done = true;
    assert_eq!(
        node.get("/api/v1/status/walreplay").await.json()["data"]["state"],
        "done"
    );
}

#[actix_web::test]
async fn grafana_finds_a_prometheus_and_no_mimir() {
    let json = Node::new().get("/api/v1/status/buildinfo").await.json();
    let version = json["data"]["version"].as_str().expect("a version");
    assert!(version.starts_with("3."), "{version}");
    assert!(json["data"].get("features").is_none());
}

#[actix_web::test]
async fn lists_of_scraping_and_alerting_are_empty_in_their_shapes() {
    let node = Node::new();
    let shapes = [
        (
            "targets",
            json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }),
        ),
        ("rules", json!({ "groups": [] })),
        ("alerts", json!({ "alerts": [] })),
        (
            "alertmanagers",
            json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }),
        ),
    ];

    for (path, want) in shapes {
        assert_eq!(
            node.get(&format!("/api/v1/{path}")).await.json()["data"],
            want
        );
    }

    for path in [
        "status/runtimeinfo",
        "status/config",
        "status/flags",
        "status/tsdb",
        "features",
        "metadata",
    ] {
        assert_eq!(
            node.get(&format!("/api/v1/{path}")).await.json()["status"],
            "success",
            "{path}"
        );
    }
}

#[actix_web::test]
async fn administration_reaches_its_owner() {
    let node = Node::new();
    assert_eq!(
        node.get("/api/v1/admin/ring").await.json(),
        json!({ "epoch": 1 })
    );
    assert_eq!(
        node.get("/api/v1/admin/windows?tenant=a").await.json(),
        json!({ "tenant": "a" })
    );
    assert_eq!(
        node.get("/api/v1/admin/windows?tenant=%2F").await.status,
        400
    );

    let post = |path: &str| TestRequest::post().uri(path);
    assert_eq!(
        node.send(post("/api/v1/admin/drain")).await.json(),
        json!({ "draining": true })
    );
    assert_eq!(
        node.send(post("/api/v1/admin/checkpoint")).await.status,
        503
    );

    let reply = node.send(post("/api/v1/admin/ring/members/n1/drain")).await;
    assert_eq!(
        reply.json(),
        json!({ "node": "n1", "action": "drain", "body": null })
    );

    let reply = node
        .send(TestRequest::delete().uri("/api/v1/admin/ring/members/n1"))
        .await;

    assert_eq!(reply.json(), json!({ "removed": "n1", "body": null }));
    let forced = TestRequest::delete().uri("/api/v1/admin/ring/members/n1?force=its+disk+burnt");
    let want = json!({ "removed": "n1", "body": { "force": "its disk burnt" } });

    assert_eq!(node.send(forced).await.json(), want);
    let reply = node
        .send(post("/api/v1/admin/ring/members").set_json(json!({ "name": "n3" })))
        .await;

    assert_eq!(reply.json(), json!({ "name": "n3" }));
    let reply = node
        .send(post("/api/v1/admin/ring/groups/g1/weigh").set_json(json!({ "weight": 2 })))
        .await;

    assert_eq!(
        reply.json(),
        json!({ "group": "g1", "action": "weigh", "body": { "weight": 2 } })
    );

    // As `curl -d` sends it, which calls it a form.
    let form = post("/api/v1/admin/ring/members/n1/drain").set_payload(r#"{"force":"burnt"}"#);
    let reply = node
        .send(form.insert_header(("content-type", "application/x-www-form-urlencoded")))
        .await;

    assert_eq!(reply.json()["body"], json!({ "force": "burnt" }));
    for body in ["force=burnt".to_owned(), " ".repeat((64 << 10) + 1)] {
        let reply = node
            .send(post("/api/v1/admin/ring/members/n1/drain").set_payload(body))
            .await;
        assert_eq!(reply.status, 400, "{}", reply.text());
    }

    let reply = node
        .send(TestRequest::delete().uri("/api/v1/admin/ring/groups/g1?force=burnt"))
        .await;

    assert_eq!(
        reply.json(),
        json!({ "group": "g1", "action": "remove", "body": { "force": "burnt" } })
    );
}

#[actix_web::test]
async fn an_operator_is_heard_by_a_node_that_senders_have_filled() {
    let node = Node::new();
    let mut held = node.state.budget.open(&Tenant::default());
    assert!(held.grow_to(ApiSettings::default().in_flight_bytes_max));

    assert_eq!(node.form("/api/v1/query", "query=1").await.status, 503);
    let drain = TestRequest::post().uri("/api/v1/admin/ring/members/n1/drain");
    let reply = node.send(drain.set_json(json!({ "force": "full" }))).await;

    assert_eq!(
        (reply.status, &reply.json()["body"]),
        (200, &json!({ "force": "full" }))
    );
}

#[actix_web::test]
async fn queries_in_progress_are_listed_and_canceled_for_their_tenant_only() {
    let node = Node::new();
    let cancel = trireme_promql::Cancel::never();
    let entry = node.state.running.enter(
        "default-tenant",
        "sleep()",
        node.clock.now_ms(),
        cancel.clone(),
    );

    let list = node.get("/api/v1/status/queries").await.json()["data"].clone();
    assert_eq!(
        (&list[0]["query"], list.as_array().map(Vec::len)),
        (&json!("sleep()"), Some(1))
    );

    let path = format!("/api/v1/status/queries/{}", list[0]["id"]);
    let foreign = TestRequest::delete()
        .uri(&path)
        .insert_header(("thanos-tenant", "other"));

    assert_eq!(node.send(foreign).await.status, 404);
    assert!(cancel.check().is_ok());
    assert_eq!(
        node.send(TestRequest::delete().uri(&path)).await.status,
        204
    );

    assert!(cancel.check().is_err());
    drop(entry);
}

#[actix_web::test]
async fn pages_of_the_origins_that_are_allowed_may_ask() {
    let cors_origins = Some(regex::Regex::new("^https://(grafana|ops)[.]example$").expect("valid"));
    let node = Node::with(ApiSettings {
        cors_origins,
        ..ApiSettings::default()
    });

    for (origin, allowed) in [
        ("https://ops.example", Some("https://ops.example")),
        ("https://x.example", None),
    ] {
        let of = |request: TestRequest| {
            node.send(
                request
                    .uri("/api/v1/labels")
                    .insert_header(("origin", origin)),
            )
        };
        for (method, status) in [
            (actix_web::http::Method::OPTIONS, 204),
            (actix_web::http::Method::GET, 200),
        ] {
            let reply = of(TestRequest::default().method(method)).await;
            assert_eq!(
                (reply.status, reply.header("access-control-allow-origin")),
                (status, allowed)
            );
            assert_eq!(reply.header("vary"), Some("Origin"));
        }
    }

    assert_eq!(
        node.get("/api/v1/labels")
            .await
            .header("access-control-allow-origin"),
        None
    );

    let default = Node::new();
    let asked = TestRequest::get()
        .uri("/api/v1/labels")
        .insert_header(("origin", "https://ops.example"));

    assert_eq!(
        default
            .send(asked)
            .await
            .header("access-control-allow-origin"),
        None,
        "nobody by default"
    );
}

#[actix_web::test]
async fn pages_of_other_hosts_change_nothing() {
    let node = Node::new();
    let post = |origin: &'static str| {
        let request = TestRequest::post().uri("/api/v1/admin/checkpoint");
        node.send(
            request
                .insert_header(("host", "n0.example:9090"))
                .insert_header(("origin", origin)),
        )
    };

    let reply = post("https://evil.example").await;
    assert_eq!(
        (reply.status, &reply.json()["errorType"]),
        (403, &json!("forbidden"))
    );
    assert_ne!(
        post("http://n0.example:9090").await.status,
        403,
        "its own page may"
    );

    let read = TestRequest::get()
        .uri("/api/v1/admin/ring")
        .insert_header(("origin", "https://evil.example"));

    assert_eq!(node.send(read).await.status, 200);
}

#[actix_web::test]
async fn what_the_description_of_the_api_lists_is_there() {
    let node = Node::new();
    let reply = node.get("/api/v1/openapi.yaml").await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/yaml; charset=utf-8")
    );

    let text = reply.text();
    let paths: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("  /")?.strip_suffix(':'))
        .collect();
    assert!(paths.len() >= 20, "{paths:?}");

    for path in paths {
        let status = node
            .get(&format!("/api/v1/{}", path.replace("{name}", "job")))
            .await
            .status;
        assert!(status != 404 && status != 405, "{path}: {status}");
    }
}

#[actix_web::test]
async fn paths_below_a_prefix_are_found() {
    let node = Node::with(ApiSettings {
        route_prefix: "/metrics/eu".to_owned(),
        ..ApiSettings::default()
    });

    for prefix in ["", "/metrics/eu", "/prometheus"] {
        let reply = node
            .get(&format!("{prefix}/api/v1/format_query?query=1"))
            .await;
        assert_eq!(
            (reply.status, &reply.json()["data"]),
            (200, &json!("1")),
            "{prefix}"
        );
    }

    assert_eq!(
        node.get("/metrics/asia/api/v1/format_query?query=1")
            .await
            .status,
        404
    );
}

#[actix_web::test]
async fn the_page_and_the_metrics_are_served() {
    let node = Node::new();
    assert!(
        node.get("/")
            .await
            .text()
            .contains("<title>Trireme</title>")
    );

    let text = node.get("/metrics").await;
    assert!(
        text.text()
            .contains("trireme_api_request_seconds_count{code=\"200\",handler=\"/\"} 1"),
        "{}",
        text.text()
    );

    assert_eq!(node.get("/nowhere").await.status, 404);
}
