//! What Grafana's Prometheus data source asks first.

use anyhow::ensure;
use serde_json::{Value as Json, json};
use trireme_integration::{Group, Series, now_ms};

#[tokio::test]
async fn answers_grafanas_first_calls_on_any_node() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let at = now_ms() - 1_000;
    let series: Vec<Series> = ["a", "b"]
        .map(|host| Series::new("grafana_test", &[("host", host)], &[(at, 1.0)]))
        .into();

    group.client(0).write(&series).await?.success()?;
    group.converged().await?;

    for client in group.clients() {
        // The health check: one plus one at four seconds after the epoch, by POST.
        let form = client
            .post("/api/v1/query")
            .header("Content-Type", "application/x-www-form-urlencoded");
        let answer = client
            .send(form.body("query=1%2B1&time=4"))
            .await?
            .success()?;
        let answer: Json = serde_json::from_str(&answer.body)?;
        ensure!(
            answer["data"] == json!({"resultType": "scalar", "result": [4, "2"]}),
            "1+1 is {answer}"
        );

        let by_get = client
            .send(client.get("/api/v1/query?query=1%2B1"))
            .await?
            .success()?;
        ensure!(by_get.body.contains(r#""2""#), "{}", by_get.body);

        let build = client.api("/api/v1/status/buildinfo", &[]).await?;
        ensure!(
            build["version"].as_str().is_some_and(|v| v
                .split(['-', '+'])
                .next()
                .is_some_and(|core| core.split('.').count() == 3)),
            "buildinfo is {build}"
        );

        // With a feature list Grafana would take the node for a Mimir with a ruler.
        ensure!(
            build["features"].is_null(),
            "buildinfo has features: {build}"
        );

        let labels = client.api("/api/v1/labels", &[]).await?;
        ensure!(labels == json!(["__name__", "host"]), "labels are {labels}");
        let values = client.api("/api/v1/label/host/values", &[]).await?;
        ensure!(values == json!(["a", "b"]), "values are {values}");

        let names = client
            .api(
                "/api/v1/label/__name__/values",
                &[("match[]", r#"{host="a"}"#)],
            )
            .await?;

        ensure!(names == json!(["grafana_test"]), "names are {names}");
        let found = client
            .api("/api/v1/series", &[("match[]", "grafana_test")])
            .await?;
        ensure!(
            found.as_array().map(Vec::len) == Some(2),
            "series are {found}"
        );

        let start = (at / 1_000 - 10).to_string();
        let end = (at / 1_000 + 10).to_string();
        let range = [
            ("query", "sum(grafana_test)"),
            ("start", &*start),
            ("end", &*end),
            ("step", "5"),
        ];

        let matrix = client.api("/api/v1/query_range", &range).await?;
        ensure!(
            matrix["result"][0]["values"][0][1] == "2",
            "the range is {matrix}"
        );

        client.api("/api/v1/metadata", &[("limit", "10")]).await?;
    }

    group.stop().await
}
