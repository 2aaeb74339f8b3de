//! The query API: parameters in, shapes out.

use actix_web::test::TestRequest;
use serde_json::json;
use trireme_base::ErrorKind;
use trireme_model::STALE_NAN;
use trireme_query::{QueryError, TenantLimits, TenantLimitsTable};

use super::fakes::{NOW_MS, Node};
use crate::ApiSettings;

#[actix_web::test]
async fn instant_queries_take_get_and_post() {
    let node = Node::new();
    let reply = node.get("/api/v1/query?query=up%7B%7D&time=1.5").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(reply.json()["data"]["result"][1]["metric"]["job"], "b");
    assert_eq!(
        node.form("/api/v1/query", "query=up+%2B+1").await.status,
        200
    );
    assert_eq!(
        node.asked(),
        [
            "default-tenant instant up{} 1500".to_owned(),
            format!("default-tenant instant up + 1 {NOW_MS}")
        ]
    );
}

#[actix_web::test]
async fn the_tenant_of_a_query_comes_from_its_header() {
    let node = Node::new();
    node.send(
        TestRequest::get()
            .uri("/api/v1/query?query=up")
            .insert_header(("thanos-tenant", "t1")),
    )
    .await;

    assert!(node.asked()[0].starts_with("t1 "));
}

#[actix_web::test]
async fn range_queries_check_their_parameters_as_prometheus_does() {
    let node = Node::new();
    let path = |rest: &str| format!("/api/v1/query_range?query=up&{rest}");
    assert_eq!(node.get(&path("start=0&end=60&step=15")).await.status, 200);
    assert_eq!(node.asked(), ["default-tenant range up 0 60000 15000"]);

    let bad = [
        ("end=60&step=15", "invalid parameter \"start\""),
        ("start=0&end=60", "invalid parameter \"step\""),
        (
            "start=60&end=0&step=15",
            "end timestamp must not be before start time",
        ),
        (
            "start=0&end=60&step=0",
            "zero or negative query resolution step widths",
        ),
        (
            "start=0&end=11001&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries",
        ),
        (
            "start=0&end=60&step=15&limit=-1",
            "limit must be non-negative",
        ),
        (
            "start=0&end=60&step=15&timeout=x",
            "invalid parameter \"timeout\"",
        ),
    ];

    for (rest, want) in bad {
        let reply = node.get(&path(rest)).await;
        let json = reply.json();
        assert_eq!(
            (reply.status, &json["status"], &json["errorType"]),
            (400, &json!("error"), &json!("bad_data"))
        );
        assert!(
            json["error"].as_str().is_some_and(|e| e.contains(want)),
            "{json}"
        );
    }

    assert!(node.asked().is_empty());
}

#[actix_web::test]
async fn the_queries_of_a_tenant_keep_to_its_limits() {
    let day = std::time::Duration::from_secs(86_400);
    let own = TenantLimits {
        samples_max: 7,
        places_max: 1,
        range_max: day,
    };

    let small = trireme_model::Tenant::new("small").expect("valid");
    let table = TenantLimitsTable::new(TenantLimits::default(), [(small, own)]);
    let node = Node::with(ApiSettings {
        tenant_limits: table.into(),
        ..Default::default()
    });
    let range = async |tenant: &'static str, end: u64| {
        let path = format!("/api/v1/query_range?query=up&start=0&end={end}&step=60");
        node.send(
            TestRequest::get()
                .uri(&path)
                .insert_header(("thanos-tenant", tenant)),
        )
        .await
    };

    assert_eq!(range("small", 86_400).await.status, 200);
    assert_eq!(*node.queries.samples_max.lock(), 7);
    let refused = range("small", 86_460).await;

    assert_eq!(
        (refused.status, &refused.json()["errorType"]),
        (422, &json!("execution"))
    );

    assert!(
        refused.text().contains("query_range_max"),
        "{}",
        refused.text()
    );

    assert_eq!(range("large", 86_460).await.status, 200);
    assert_eq!(*node.queries.samples_max.lock(), 0);
}

#[actix_web::test]
async fn kinds_of_errors_have_their_status_and_type() {
    let cases = [
        (
            QueryError::invalid("1:4: parse error: x"),
            400,
            "bad_data",
            "invalid parameter \"query\": 1:4: parse error: x",
        ),
        (
            QueryError::execution("many-to-many"),
            422,
            "execution",
            "many-to-many",
        ),
        (
            QueryError::execution("invalid expression type \"string\" for range query"),
            400,
            "bad_data",
            "invalid parameter \"query\": invalid expression type \"string\" for range query",
        ),
        (
            QueryError::new(ErrorKind::TooLarge, "too many samples"),
            422,
            "execution",
            "too many samples",
        ),
        (
            QueryError::new(ErrorKind::Timeout, "timed out"),
            503,
            "timeout",
            "timed out",
        ),
        (
            QueryError::new(ErrorKind::Cancelled, "gone"),
            499,
            "canceled",
            "gone",
        ),
        (
            QueryError::new(ErrorKind::Unavailable, "later"),
            503,
            "unavailable",
            "later",
        ),
        (
            QueryError::new(ErrorKind::Internal, "oops"),
            500,
            "internal",
            "oops",
        ),
    ];
    for (error, status, error_type, text) in cases {
        let node = Node::new();
        *node.queries.error.lock() = Some(error);
        let reply = node.get("/api/v1/query?query=x").await;
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.json(),
            json!({ "status": "error", "errorType": error_type, "error": text })
        );
    }
}

#[actix_web::test]
async fn numbers_without_a_meaning_are_as_if_absent_where_prometheus_takes_them_so() {
    let node = Node::new();
    for (path, status) in [
        ("query?query=up&lookback_delta=0", 200),
        ("query?query=up&lookback_delta=x", 400),
        ("metadata?limit=-1", 200),
        ("metadata?limit=x", 400),
        ("metadata?limit_per_metric=-1", 200),
        ("metadata?limit_per_metric=x", 400),
    ] {
        assert_eq!(
            node.get(&format!("/api/v1/{path}")).await.status,
            status,
            "{path}"
        );
    }
}

#[actix_web::test]
async fn parameters_that_cannot_be_read_are_told_in_prometheus_words() {
    let node = Node::new();
    let no_time = |name: &str| {
        format!(
            "invalid parameter \"{name}\": Invalid time value for '{name}': cannot parse \"x\" to a valid timestamp"
        )
    };

    let no_number = |why: &str| format!("invalid parameter \"limit\": strconv.Atoi: parsing {why}");
    for (path, error) in [
        ("query?query=up&time=x", no_time("time")),
        ("series?match[]=up&start=x", no_time("start")),
        ("labels?end=x", no_time("end")),
        ("label/job/values?start=x", no_time("start")),
        ("query_exemplars?query=up&end=x", no_time("end")),
        (
            "query_range?query=up&start=x&end=1&step=1",
            "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp".to_owned(),
        ),
        ("labels?limit=x", no_number("\"x\": invalid syntax")),
        (
            "labels?limit=9223372036854775808",
            no_number("\"9223372036854775808\": value out of range"),
        ),
        (
            "metadata?limit_per_metric=x",
            "limit_per_metric must be a number".to_owned(),
        ),
        (
            "query?query=up%25zz&time=%zz",
            "error parsing form values: invalid URL escape \"%zz\"".to_owned(),
        ),
        (
            "status/tsdb?limit=x",
            "limit must be a positive number".to_owned(),
        ),
        (
            "scrape_pools/config",
            "no scrapePool parameter provided".to_owned(),
        ),
    ] {
        let reply = node.get(&format!("/api/v1/{path}")).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (400, &json!(error)),
            "{path}"
        );
    }

    let reply = node.get("/api/v1/scrape_pools/config?scrapePool=a").await;
    assert_eq!(
        (reply.status, &reply.json()["errorType"]),
        (404, &json!("not_found"))
    );
}

#[actix_web::test]
async fn signals_and_not_requests_reload_and_stop_a_node() {
    let node = Node::new();
    for path in ["/-/reload", "/-/quit"] {
        for request in [TestRequest::post(), TestRequest::put()] {
            let reply = node.send(request.uri(path)).await;
            assert_eq!(
                (reply.status, reply.text()),
                (403, "Lifecycle API is not enabled.")
            );
        }
        assert_eq!(node.get(path).await.status, 405);
    }
}

#[actix_web::test]
async fn a_label_of_replicas_has_no_values() {
    let node = Node::new();
    for (parameter, values) in [
        ("", json!(["a", "b"])),
        ("replicaLabels[]=job", json!([])),
        ("replicaLabels[]=job&dedup=false", json!(["a", "b"])),
        ("replicaLabels[]=other", json!(["a", "b"])),
    ] {
        let reply = node
            .get(&format!("/api/v1/label/job/values?{parameter}"))
            .await;
        assert_eq!(reply.json()["data"], values, "{parameter}");
    }

    let reply = node
        .get("/api/v1/query_exemplars?query=up&replicaLabels[]=job")
        .await;

    assert_eq!(
        reply.json()["data"][0]["seriesLabels"],
        json!({ "__name__": "up" })
    );
}

#[actix_web::test]
async fn what_would_narrow_an_answer_and_is_not_known_is_refused() {
    let node = Node::new();
    for (parameter, status) in [
        ("shard_info=%7B%22total_shards%22%3A2%7D", 400),
        ("storeMatch[]=%7Baddress%3D%22a%22%7D", 400),
        ("shard_info=&storeMatch[]=", 200),
        ("engine=prometheus&analyze=false", 200),
    ] {
        for path in ["query?query=up", "series?match[]=up", "labels?limit=0"] {
            let reply = node.get(&format!("/api/v1/{path}&{parameter}")).await;
            assert_eq!(reply.status, status, "{path} {parameter}: {}", reply.text());
        }
    }
}

#[actix_web::test]
async fn a_limit_cuts_the_answer_and_says_so() {
    let node = Node::new();
    for path in [
        "query?query=up&limit=1",
        "series?match[]=up&limit=1",
        "labels?limit=1",
        "label/job/values?limit=1",
    ] {
        let json = node.get(&format!("/api/v1/{path}")).await.json();
        let items = if path.starts_with("query") {
            &json["data"]["result"]
        } else {
            &json["data"]
        };
        assert_eq!(items.as_array().map(Vec::len), Some(1), "{path}");
        assert_eq!(
            json["warnings"],
            json!(["results truncated due to limit"]),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn warnings_are_bounded() {
    let node = Node::new();
    *node.queries.warnings.lock() = (0..13).map(|i| format!("w{i}")).collect();
    let json = node.get("/api/v1/query?query=up").await.json();
    let warnings = json["warnings"].as_array().expect("there are some");

    assert_eq!(
        (warnings.len(), &warnings[10]),
        (11, &json!("3 more warning annotations omitted"))
    );
}

#[actix_web::test]
async fn selectors_must_say_something() {
    let node = Node::new();
    assert_eq!(
        node.get("/api/v1/series").await.json()["error"],
        "no match[] parameter provided"
    );

    let reply = node.get("/api/v1/series?match[]=%7Bx%3D~%22.*%22%7D").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .text()
            .contains("match[] must contain at least one non-empty matcher")
    );

    let reply = node.get("/api/v1/labels?match[]=up%7B").await;
    assert!(
        reply.status == 400 && reply.text().contains("parse error"),
        "{}",
        reply.text()
    );
}

#[actix_web::test]
async fn series_and_labels_have_their_shapes() {
    let node = Node::new();
    let json = node
        .form("/api/v1/series", "match[]=up&start=1&end=2")
        .await
        .json();

    assert_eq!(
        json["data"],
        json!([{ "__name__": "up", "job": "a" }, { "__name__": "up", "job": "b" }])
    );
    assert_eq!(
        node.get("/api/v1/labels?start=1&end=2").await.json()["data"],
        json!(["__name__", "job"])
    );
    assert_eq!(
        node.get("/api/v1/label/U__a_2e_b/values").await.json()["data"],
        json!(["a", "b"])
    );

    let asked = node.asked();
    assert_eq!(
        asked[1..],
        [
            "default-tenant names 1000 2000",
            "default-tenant values a.b"
        ]
    );
}

#[actix_web::test]
async fn metadata_and_exemplars_have_their_shapes() {
    let node = Node::new();
    let json = node.get("/api/v1/metadata?metric=up").await.json();
    assert_eq!(
        json["data"],
        json!({ "up": [{ "type": "gauge", "help": "Is it \"up\"?", "unit": "" }] })
    );
    assert_eq!(
        node.get("/api/v1/metadata?limit=0").await.json()["data"],
        json!({})
    );

    let json = node
        .get("/api/v1/query_exemplars?query=up&start=1&end=2")
        .await
        .json();
    let exemplar =
        json!({ "labels": { "trace_id": "x" }, "value": "6", "timestamp": 1_600_096_945.479 });

    assert_eq!(
        json["data"],
        json!([{ "seriesLabels": { "__name__": "up", "job": "a" }, "exemplars": [exemplar] }])
    );
}

#[actix_web::test]
async fn expressions_are_formatted_and_taken_apart() {
    let node = Node::new();
    let json = node
        .get("/api/v1/format_query?query=sum(up)by(job)")
        .await
        .json();

    assert_eq!(json["data"], "sum by (job) (up)");
    let json = node
        .get("/api/v1/parse_query?query=sum(up)by(job)")
        .await
        .json();

    assert_eq!(
        (
            &json["data"]["type"],
            &json["data"]["expr"]["type"],
            &json["data"]["grouping"]
        ),
        (
            &json!("aggregation"),
            &json!("vectorSelector"),
            &json!(["job"])
        )
    );

    let json = node.get("/api/v1/format_query?query=sum(").await.json();
    assert_eq!(
        json["error"],
        "invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"
    );
}

#[actix_web::test]
async fn export_writes_lines_and_names_what_json_cannot_say() {
    let node = Node::new();
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(STALE_NAN),
        0.1,
        1e300,
    ];

    *node.queries.samples.lock() = odd
        .iter()
        .enumerate()
        .map(|(i, v)| (i as i64, *v))
        .collect();

    let reply = node
        .get("/api/v1/export?match[]=up&start=0&end=1000&local=true")
        .await;
    let first = r#"{"metric":{"__name__":"up","job":"a"},"values":["NaN","Infinity","-Infinity","StaleNaN",0.1,1e+300],"timestamps":[0,1,2,3,4,5]}"#;

    assert_eq!(reply.text().lines().next(), Some(first));
    assert_eq!(reply.text().lines().count(), 2);
}

#[actix_web::test]
async fn a_long_export_comes_in_pieces_and_complete() {
    let node = Node::new();
    *node.queries.samples.lock() = (0..25_000).map(|t| (t, t as f64 / 7.0)).collect();
    let reply = node.get("/api/v1/export?match[]=up&match[]=up").await;
    let lines: Vec<serde_json::Value> = reply
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();

    let count = |job: &str| -> usize {
        let of = lines.iter().filter(|l| l["metric"]["job"] == job);
        of.map(|l| l["timestamps"].as_array().map_or(0, Vec::len))
            .sum()
    };

    assert_eq!((lines.len(), count("a"), count("b")), (6, 25_000, 25_000));
}

#[actix_web::test]
async fn federation_shows_the_newest_sample_of_each_series() {
    let node = Node::new();
    *node.queries.samples.lock() = vec![(NOW_MS - 60_000, 1.0), (NOW_MS - 1_000, 2.0)];
    let reply = node.get("/federate?match[]=up").await;
    let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

    assert_eq!(reply.header("content-type"), Some(text));
    let t = NOW_MS - 1_000;
    let want = format!(
        "# TYPE up untyped\nup{{job=\"a\",instance=\"\"}} 2 {t}\nup{{job=\"b\",instance=\"\"}} 2 {t}\n"
    );

    assert_eq!(reply.text(), want);
    let refused = node.get("/federate?match[]=up%7B").await;
    assert_eq!(
        (refused.status, &refused.text()[..16]),
        (400, "1:4: parse error")
    );
    *node.queries.lacks.lock() = true;

    let refused = node.get("/federate?match[]=up").await;
    assert_eq!(
        refused.status, 503,
        "a hole would be taken for series that are gone"
    );
    assert_eq!(
        node.get("/federate?match[]=up&partial_response=true")
            .await
            .status,
        200
    );

    *node.queries.lacks.lock() = false;
    // Here a selector may choose everything.
    assert_eq!(node.get("/federate?match[]=%7B%7D").await.status, 200);
}

#[actix_web::test]
async fn the_timeout_of_a_request_cannot_be_longer_than_the_servers() {
    let node = Node::with(ApiSettings {
        query_timeout: std::time::Duration::ZERO,
        ..Default::default()
    });
    let reply = node.get("/api/v1/query?query=up&timeout=1h").await;

    assert_eq!(
        (reply.status, &reply.json()["errorType"]),
        (503, &json!("timeout"))
    );
}

#[actix_web::test]
async fn statistics_list_steps_where_the_switch_allows_it() {
    let features = crate::Features {
        per_step_stats: true,
        ..Default::default()
    };
    let node = Node::with(ApiSettings {
        features,
        ..Default::default()
    });

    node.queries
        .steps
        .lock()
        .extend([(1_500, 8, 4), (3_000, 6, 2)]);

    for (path, listed) in [("&stats=all", true), ("&stats=true", false)] {
        let json = node
            .get(&format!("/api/v1/query?query=up{path}"))
            .await
            .json();
        let samples = &json["data"]["stats"]["samples"];
        let want = |list| {
            if listed {
                list
            } else {
                serde_json::Value::Null
            }
        };

        assert_eq!(
            samples["totalQueryableSamplesPerStep"],
            want(json!([[1.5, 8], [3, 6]]))
        );
        assert_eq!(
            samples["samplesReadPerStep"],
            want(json!([[1.5, 4], [3, 2]]))
        );
        assert_eq!(samples["seriesTouched"], 0);
    }
}

#[actix_web::test]
async fn statistics_are_given_on_request() {
    let node = Node::new();
    let json = node.get("/api/v1/query?query=up&stats=all").await.json();
    assert_eq!(json["data"]["stats"]["samples"]["samplesRead"], 0);

    assert!(json["data"]["stats"]["timings"]["evalTotalTime"].is_number());
    assert!(
        node.get("/api/v1/query?query=up").await.json()["data"]
            .get("stats")
            .is_none()
    );
}

/// A node that limits what queries cost.
fn thrifty() -> Node {
    let ceilings = crate::CostCeilings {
        series: 100,
        samples_read: 1_000,
        duration: std::time::Duration::from_secs(30),
    };

    let features = crate::Features {
        query_cost: Some(ceilings),
        ..Default::default()
    };

    Node::with(ApiSettings {
        features,
        ..Default::default()
    })
}

#[actix_web::test]
async fn what_a_query_costs_is_estimated_with_the_switch_only() {
    for path in [
        "/api/v1/query_cost?query=up",
        "/api/v1/query_range_cost?query=up&start=0&end=60&step=15",
    ] {
        assert_eq!(Node::new().get(path).await.status, 404, "{path}");
        let node = thrifty();
        *node.queries.samples.lock() = vec![(0, 1.0), (NOW_MS, 1.0)];

        let json = node.get(path).await.json();
        assert_eq!(json["data"]["estimate"]["seriesTouched"], 2, "{json}");
        assert_eq!(
            node.form(
                &path[..path.find('?').unwrap()],
                &path[path.find('?').unwrap() + 1..]
            )
            .await
            .json(),
            json
        );
    }

    let node = thrifty();
    let json = node.get("/api/v1/query?query=up&cost=true").await.json();
    assert_eq!(
        json["data"]["cost"]["estimated"],
        json!({ "seriesTouched": 2, "samplesRead": 2 })
    );
    assert_eq!(
        json["data"]["cost"]["actual"],
        json!({ "seriesTouched": 0, "samplesRead": 0, "peakSamples": 0 })
    );

    assert!(
        node.get("/api/v1/query?query=up&cost=0").await.json()["data"]
            .get("cost")
            .is_none()
    );

    assert!(
        Node::new()
            .get("/api/v1/query?query=up&cost=x")
            .await
            .json()["data"]
            .get("cost")
            .is_none()
    );
}

#[actix_web::test]
async fn a_request_may_only_lower_what_a_query_may_cost() {
    let node = thrifty();
    let cases = [
        (
            "max_series=101",
            "requested max_series of 101 exceeds the server limit of 100",
        ),
        (
            "max_samples_read=1001",
            "requested max_samples_read of 1001 exceeds the server limit of 1000",
        ),
        (
            "max_query_duration=31",
            "requested max_query_duration of 31s exceeds the server limit of 30s",
        ),
        (
            "max_series=-1",
            "error parsing max_series: strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        (
            "max_query_duration=-1",
            "error parsing max_query_duration: must not be negative, got -1s",
        ),
        (
            "cost=maybe",
            "invalid parameter \"cost\": must be a boolean",
        ),
    ];

    for (parameter, text) in cases {
        let reply = node
            .get(&format!("/api/v1/query?query=up&{parameter}"))
            .await;

        assert_eq!(
            (reply.status, reply.json()["error"].as_str()),
            (400, Some(text)),
            "{parameter}"
        );

        // Without the switch nobody looks.
        assert_eq!(
            Node::new()
                .get(&format!("/api/v1/query?query=up&{parameter}"))
                .await
                .status,
            200
        );
    }

    for (parameters, series_max, samples_read_max) in [
        ("", 100, 1_000),
        ("&max_series=7&max_samples_read=100", 7, 100),
        ("&max_series=0", 100, 1_000),
    ] {
        node.get(&format!("/api/v1/query?query=up{parameters}"))
            .await;
        let limits = trireme_query::CostLimits {
            series_max,
            samples_read_max,
        };
        assert_eq!(*node.queries.cost_limits.lock(), limits, "{parameters}");
    }

    let too_many = QueryError::cost_limit("max_samples_read", "query would read too many samples");
    *node.queries.error.lock() = Some(too_many);
    let reply = node.get("/api/v1/query?query=up").await;

    assert_eq!(
        (reply.status, &reply.json()["errorType"]),
        (422, &json!("cost_limit"))
    );

    let shown = node.metrics.render();
    for line in [
        "prometheus_engine_query_rejected_total{reason=\"max_samples_read\"} 1\n",
        "prometheus_engine_query_series_touched_count 3\n",
        "prometheus_engine_query_samples_read_bucket{le=\"100\"} 3\n",
    ] {
        assert!(shown.contains(line), "{line}");
    }

    assert!(
        !Node::new()
            .metrics
            .render()
            .contains("prometheus_engine_query")
    );
}
