//! A node's HTTP API as its users see it.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::askers::encode_form;
use crate::protocol::{Series, write_body};
use crate::samples::{SampleSet, Value};

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Value of `Retry-After`.
    pub retry_after: Option<String>,
    /// Body as text.
    pub body: String,
}

impl Answer {
    /// True for 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer if it is a success, an error that shows it otherwise.
    pub fn success(self) -> anyhow::Result<Self> {
        ensure!(
            self.is_success(),
            "answered {}: {}",
            self.status,
            self.body.trim_end()
        );
        Ok(self)
    }
}

/// A client of one node.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct ExportLine {
    metric: BTreeMap<String, String>,
    values: Vec<Json>,
    timestamps: Vec<i64>,
}

impl Client {
    /// A client of the server at `http://127.0.0.1:port`.
    pub fn new(port: u16) -> anyhow::Result<Self> {
        Self::at(&format!("127.0.0.1:{port}"))
    }

    /// A client of the server at `http://host:port`.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        static PROVIDER: Once = Once::new();

        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        // Longer than any deadline of the node, so that the node answers first.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?;

        Ok(Self {
            url: format!("http://{address}"),
            http,
        })
    }

    /// Address without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Begins a GET of `path`.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// Begins a POST to `path`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// Begins a POST to `path` with parameters as a form.
    pub fn form(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<RequestBuilder> {
        let body = encode_form(parameters)?;
        Ok(self
            .post(path)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body))
    }

    /// Begins a PUT to `path`.
    pub fn put(&self, path: &str) -> RequestBuilder {
        self.http.put(format!("{}{path}", self.url))
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);

        let body = answer.bytes().await?;
        Ok(Answer {
            status,
            retry_after,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Begins a DELETE of `path`.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.http.delete(format!("{}{path}", self.url))
    }

    /// The ring as the node shows it.
    pub async fn ring(&self) -> anyhow::Result<Json> {
        let answer = self.send(self.get("/api/v1/admin/ring")).await?.success()?;
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// A POST to `path` with the headers of a remote write 1.0 sender.
    pub fn write_builder(&self, path: &str, body: Vec<u8>) -> RequestBuilder {
        self.post(path)
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .header("User-Agent", "trireme-integration")
            .body(body)
    }

    /// Remote-writes series for the default tenant.
    pub async fn write(&self, series: &[Series]) -> anyhow::Result<Answer> {
        self.send(self.write_builder("/api/v1/write", write_body(series)?))
            .await
    }

    /// Remote-writes series for a tenant.
    pub async fn write_as(&self, tenant: &str, series: &[Series]) -> anyhow::Result<Answer> {
        self.send(
            self.write_builder("/api/v1/receive", write_body(series)?)
                .header("THANOS-TENANT", tenant),
        )
        .await
    }

    /// `data` of a Prometheus API answer.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Json> {
        let answer = self
            .send(self.get(path).query(parameters))
            .await?
            .success()?;
        let mut json: Json =
            serde_json::from_str(&answer.body).with_context(|| format!("JSON of {path}"))?;
        ensure!(json["status"] == "success", "{path} answered {json}");

        Ok(json["data"].take())
    }

    /// Value of an instant query with a single result; nothing without a result.
    pub async fn instant(&self, query: &str) -> anyhow::Result<Option<f64>> {
        let data = self.api("/api/v1/query", &[("query", query)]).await?;
        let value = if data["resultType"] == "vector" {
            let result = data["result"].as_array().context("no result array")?;
            ensure!(result.len() <= 1, "{query} has {} results", result.len());
            result.first().map(|sample| sample["value"][1].clone())
        } else {
            Some(data["result"][1].clone())
        };

        value.map(|value| number(&value)).transpose()
    }

    /// Raw samples of all series of the default tenant that this replica holds itself.
    pub async fn export(&self) -> anyhow::Result<SampleSet> {
        self.exported(self.get("/api/v1/export").query(&[("local", "true")]))
            .await
    }

    /// Raw samples of all series of a tenant with timestamps in `start..end`, from wherever the node finds them.
    pub async fn export_of(&self, tenant: &str, start: i64, end: i64) -> anyhow::Result<SampleSet> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
        let range = [("start", seconds(start)), ("end", seconds(end - 1))];
        self.exported(
            self.get("/api/v1/export")
                .query(&range)
                .header("THANOS-TENANT", tenant),
        )
        .await
    }

    async fn exported(&self, request: RequestBuilder) -> anyhow::Result<SampleSet> {
        let answer = self
            .send(request.query(&[("match[]", r#"{__name__=~".+"}"#)]))
            .await?
            .success()?;

        let mut set = SampleSet::default();
        for line in answer.body.lines().filter(|line| !line.is_empty()) {
            let line: ExportLine =
                serde_json::from_str(line).with_context(|| format!("export line {line:.200}"))?;
            ensure!(
                line.values.len() == line.timestamps.len(),
                "values and timestamps differ in number"
            );
            for (timestamp, value) in line.timestamps.iter().zip(&line.values) {
                set.add(&line.metric, *timestamp, exported_value(value)?);
            }
        }

        Ok(set)
    }

    /// Sum over all label sets of a metric on the node's own `/metrics`; 0 if it has none.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        self.metric_with(name, "").await
    }

    /// As [`Client::metric`], of the label sets that contain `part`, for example `actor="front"`.
    pub async fn metric_with(&self, name: &str, part: &str) -> anyhow::Result<f64> {
        let text = self.send(self.get("/metrics")).await?.success()?.body;
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| {
                (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(part)
            })
        });

        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// True if `/-/ready` answers 200.
    pub async fn is_ready(&self) -> bool {
        let answer = self
            .get("/-/ready")
            .timeout(Duration::from_secs(2))
            .send()
            .await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }
}

fn exported_value(value: &Json) -> anyhow::Result<Value> {
    match value {
        Json::String(text) if text == "StaleNaN" => Ok(Value::STALE),
        other => number(other).map(Value::of),
    }
}

/// A number as JSON APIs give it: as such, or as text because JSON has no infinities.
fn number(value: &Json) -> anyhow::Result<f64> {
    match value {
        Json::Number(number) => number.as_f64().context("number out of range"),
        Json::Null => Ok(f64::NAN),
        Json::String(text) => match text.as_str() {
            "Infinity" | "+Inf" => Ok(f64::INFINITY),
            "-Infinity" | "-Inf" => Ok(f64::NEG_INFINITY),
            text => text
                .parse()
                .with_context(|| format!("{text:?} is no number")),
        },
        other => bail!("{other} is no number"),
    }
}
