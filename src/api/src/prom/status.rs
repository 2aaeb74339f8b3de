//! `status/*`.

use actix_web::HttpResponse;
use actix_web::web::Path;
use serde_json::{Value, json};
use trireme_base::ErrorKind;
use trireme_promql::PROMETHEUS_VERSION;
use trireme_query::{QueryError, TsdbTop};

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::put;

/// Lines of a ranking in `status/tsdb` unless the client says.
const TSDB_LINES: usize = 10;
/// Lines at most, as in Prometheus.
const TSDB_LINES_MAX: usize = 10_000;

pub(super) fn value(value: &Value) -> Answer {
    Ok(answer::success(&[], &[], |out| {
        put(out, format_args!("{value}"))
    }))
}

/// The version is that of the Prometheus whose API this is, because clients such as Grafana decide by it what they may ask;
/// ours stands behind the hyphen. Without `features`: Grafana takes a server that lists them for Mimir and asks it for a ruler.
pub(crate) async fn build_info(_: Ask) -> Answer {
    let build = trireme_telemetry::build_info();
    value(&json!({
        "version": format!("{PROMETHEUS_VERSION}-trireme.{}", build.version),
        "revision": build.revision,
        "branch": "main",
        "buildUser": "",
        "buildDate": "",
        "goVersion": format!("rust{}", build.rust_version),
    }))
}

pub(crate) async fn runtime_info(ask: Ask) -> Answer {
    let start = timestamp(ask.state.started_ms);
    let now = timestamp(ask.state.clock.now_ms());
    let flags = &ask.state.settings.flags;
    let retention = flags
        .iter()
        .find(|(name, _)| name == "storage.tsdb.retention.time");
    let retention = retention.map_or("", |(_, value)| value.as_str());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    value(&json!({
        "startTime": start,
        "CWD": std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default(),
        "hostname": hostname(),
        "serverTime": now,
        "reloadConfigSuccess": true,
        "lastConfigTime": start,
        "corruptionCount": 0,
        "goroutineCount": threads(),
        "GOMAXPROCS": cores,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention,
    }))
}

fn timestamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |t| t.to_string())
}

/// Where the system does not say, nothing is said.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}

/// Threads stand for goroutines.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

pub(crate) async fn config(ask: Ask) -> Answer {
    value(&json!({ "yaml": ask.state.settings.config_yaml }))
}

pub(crate) async fn flags(ask: Ask) -> Answer {
    let flags = ask
        .state
        .settings
        .flags
        .iter()
        .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
        .collect();
    value(&Value::Object(flags))
}

pub(crate) async fn tsdb(ask: Ask) -> Answer {
    let limit = tsdb_limit(&ask)?;

    let (context, entry) = ask.enter("status/tsdb")?;
    let s = ask.run(move |q| q.tsdb_status(&context, limit)).await?;
    drop(entry);

    value(&json!({
        "headStats": {
            "numSeries": s.series,
            "numLabelPairs": s.label_pairs,
            "chunkCount": s.chunks,
            "minTime": s.min_time_ms,
            "maxTime": s.max_time_ms,
        },
        "seriesCountByMetricName": ranking(&s.series_by_metric),
        "labelValueCountByLabelName": ranking(&s.values_by_label),
        "memoryInBytesByLabelName": ranking(&s.memory_by_label),
        "seriesCountByLabelValuePair": ranking(&s.series_by_pair),
    }))
}

fn tsdb_limit(ask: &Ask) -> Result<usize, ApiError> {
    let limit = match ask.params.get("limit") {
        None => TSDB_LINES,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit: &usize| *limit > 0);
            limit.ok_or_else(|| ApiError::invalid("limit must be a positive number"))?
        }
    };

    if limit > TSDB_LINES_MAX {
        return Err(ApiError::invalid(format!(
            "limit must not exceed {TSDB_LINES_MAX}"
        )));
    }
    Ok(limit)
}

fn ranking(top: &[TsdbTop]) -> Vec<Value> {
    top.iter()
        .map(|t| json!({ "name": t.name, "value": t.value }))
        .collect()
}

/// Replay happens behind the ready gate; what is left to know is whether it is over.
pub(crate) async fn wal_replay(ask: Ask) -> Answer {
    let replay = ask.state.health.replay();
    let state = if replay.done { "done" } else { "in progress" };
    value(
        &json!({ "min": replay.first, "max": replay.last, "current": replay.current, "state": state }),
    )
}

/// The tenant's queries in progress.
pub(crate) async fn queries(ask: Ask) -> Answer {
    let now = ask.state.clock.now_ms();
    let list: Vec<Value> = (ask.state.running.of(ask.tenant.as_str()).into_iter())
        .map(|(id, q)| json!({ "id": id, "query": q.text, "elapsedMs": now - q.started_ms }))
        .collect();
    value(&Value::Array(list))
}

/// Cancels one of the tenant's queries.
pub(crate) async fn cancel_query(ask: Ask, id: Path<u64>) -> Answer {
    if ask.state.running.cancel(ask.tenant.as_str(), *id) {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(ApiError(QueryError::new(
        ErrorKind::NotFound,
        format!("there is no query {id} in progress"),
    )))
}

/// What can be asked here, for programs that make clients of it.
pub(crate) async fn open_api() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/yaml; charset=utf-8")
        .body(include_str!("openapi.yaml"))
}
