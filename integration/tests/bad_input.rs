//! Whatever arrives gets a clear answer, and the node lives on.

use anyhow::{Context, ensure};
use reqwest::RequestBuilder;
use trireme_integration::{
    Client, Group, SampleSet, Series, first_differences, now_ms, write_body, write_request,
};

const YEAR_MS: i64 = 365 * 86_400_000;

struct Case {
    name: &'static str,
    request: RequestBuilder,
    status: u16,
    /// Part of the answer, so that its reader learns what to change.
    says: &'static str,
}

fn case(name: &'static str, request: RequestBuilder, status: u16, says: &'static str) -> Case {
    Case {
        name,
        request,
        status,
        says,
    }
}

/// Requests whose envelope is wrong.
fn malformed(client: &Client) -> anyhow::Result<Vec<Case>> {
    let good = write_body(&[Series::new("never_stored", &[], &[(now_ms(), 1.0)])])?;
    let write = |body: Vec<u8>| client.write_builder("/api/v1/write", body);
    let plain = |body: Vec<u8>| client.post("/api/v1/write").body(body);
    let snappy = |bytes: &[u8]| {
        snap::raw::Encoder::new()
            .compress_vec(bytes)
            .context("snappy")
    };

    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt.truncate(middle);

    // A header that announces one gibibyte, and a body that would really inflate to it if anybody tried.
    let mut bomb = vec![0x80, 0x80, 0x80, 0x80, 0x04];
    bomb.extend([0x00, b'a']);

    for _ in 0..1 << 20 {
        bomb.extend([0xfe, 0x01, 0x00]);
    }

    let mut long_label = write_request(&[Series::new("never_stored", &[], &[(now_ms(), 1.0)])]);
    long_label.truncate(long_label.len() - 3);
    Ok(vec![
        case("corrupt snappy", write(corrupt), 400, "snappy"),
        case("no snappy at all", write(b"up 1\n".to_vec()), 400, "snappy"),
        case("empty body", write(Vec::new()), 400, "snappy"),
        case("wrong protobuf", write(snappy(&[0xff; 64])?), 400, ""),
        case("protobuf cut short", write(snappy(&long_label)?), 400, ""),
        case(
            "a gibibyte of snappy",
            write(bomb),
            400,
            "http.inflated_bytes_max",
        ),
        case(
            "a body over the limit",
            write(vec![0x55; 33 << 20]),
            400,
            "http.body_bytes_max",
        ),
        case(
            "JSON",
            plain(good.clone())
                .header("Content-Type", "application/json")
                .header("Content-Encoding", "snappy"),
            415,
            "application/json",
        ),
        case(
            "zstd, as vmagent tries first",
            plain(good.clone())
                .header("Content-Type", "application/x-protobuf")
                .header("Content-Encoding", "zstd"),
            415,
            "zstd",
        ),
        case(
            "gzip",
            plain(good.clone())
                .header("Content-Type", "application/x-protobuf")
                .header("Content-Encoding", "gzip"),
            415,
            "gzip",
        ),
        case(
            "a message nobody knows",
            plain(good.clone())
                .header(
                    "Content-Type",
                    "application/x-protobuf;proto=some.other.Message",
                )
                .header("Content-Encoding", "snappy"),
            415,
            "some.other.Message",
        ),
        case(
            "a tenant that is no name",
            write(good.clone()).header("THANOS-TENANT", "../../etc"),
            400,
            "tenant",
        ),
    ])
}

/// Requests that hold one sample no node may take.
fn refused(client: &Client) -> anyhow::Result<Vec<Case>> {
    let now = now_ms();
    let write = |series: Series| {
        Ok::<_, anyhow::Error>(client.write_builder("/api/v1/write", write_body(&[series])?))
    };
    let labels = |pairs: &[(&str, &str)]| Series {
        labels: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        samples: vec![(now, 1.0)],
    };

    let at = |timestamp| Series::new("refused", &[], &[(timestamp, 1.0)]);
    let duplicate = labels(&[("__name__", "refused"), ("twice", "1"), ("twice", "2")]);
    let big = "x".repeat(1 << 20);

    Ok(vec![
        case("a label name twice", write(duplicate)?, 400, "twice"),
        case(
            "an empty label name",
            write(labels(&[("", "x"), ("__name__", "refused")]))?,
            400,
            "empty",
        ),
        case(
            "no metric name",
            write(labels(&[("job", "refused")]))?,
            400,
            "name",
        ),
        case(
            "an empty metric name",
            write(labels(&[("__name__", ""), ("job", "refused")]))?,
            400,
            "name",
        ),
        case("no labels", write(labels(&[]))?, 400, ""),
        case("ten years old", write(at(now - 10 * YEAR_MS))?, 400, ""),
        case("a year ahead", write(at(now + YEAR_MS))?, 400, ""),
        case(
            "the first timestamp there is",
            write(at(i64::MIN))?,
            400,
            "",
        ),
        case("the last timestamp there is", write(at(i64::MAX))?, 400, ""),
        case(
            "a label of a mebibyte",
            write(labels(&[("__name__", "refused"), ("big", &big)]))?,
            400,
            "",
        ),
        case(
            "a label name of a mebibyte",
            write(labels(&[("__name__", "refused"), (&big, "x")]))?,
            400,
            "",
        ),
    ])
}

/// Samples of now, so that what is old is old for this tenant: one that has none may start anywhere in the past.
async fn write_something_new(client: &Client) -> anyhow::Result<SampleSet> {
    let now = now_ms();
    let series: Vec<Series> = (0..100)
        .map(|i: u32| Series::new("new", &[("i", &i.to_string())], &[(now, f64::from(i))]))
        .collect();

    client
        .write(&series)
        .await?
        .success()
        .context("a write of now")?;

    let mut written = SampleSet::default();
    series.iter().for_each(|series| series.add_to(&mut written));
    Ok(written)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_clear_answers_and_store_nothing() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let client = group.client(0).clone();
    let expected = write_something_new(&client).await?;

    for case in malformed(&client)?.into_iter().chain(refused(&client)?) {
        let answer = client
            .send(case.request)
            .await
            .with_context(|| format!("{}: no answer", case.name))?;
        ensure!(
            answer.status == case.status,
            "{}: {}, not {}: {}",
            case.name,
            answer.status,
            case.status,
            answer.body
        );

        let body = answer.body.to_lowercase();
        ensure!(
            body.contains(&case.says.to_lowercase()),
            "{} is answered {:?}",
            case.name,
            answer.body
        );

        ensure!(
            !body.trim().is_empty(),
            "{} is answered without a word",
            case.name
        );

        ensure!(
            body.len() < 16 << 10,
            "{} is answered with {} bytes",
            case.name,
            body.len()
        );

        ensure!(group.node(0).is_running(), "{} ended the node", case.name);
    }

    first_differences(
        ("the good write", &expected),
        ("held", &group.converged().await?),
    )?;

    let good = [Series::new("good", &[], &[(now_ms(), 1.0)])];
    client
        .write(&good)
        .await?
        .success()
        .context("a good write afterwards")?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_part_of_a_request_is_stored_and_the_rest_reported() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let mut expected = write_something_new(group.client(1)).await?;
    let now = now_ms();
    let good = Series::new("good", &[("i", "1")], &[(now, 1.0), (now + 1, 2.0)]);
    let old = Series::new("refused", &[], &[(now - 10 * YEAR_MS, 1.0)]);
    let nameless = Series {
        labels: vec![("job".into(), "refused".into())],
        samples: vec![(now, 1.0)],
    };
    let answer = group
        .client(1)
        .write(&[old.clone(), good.clone(), nameless, old])
        .await?;
    ensure!(answer.status == 400, "answered {answer:?}");

    ensure!(
        answer.body.lines().count() == 2,
        "one line a reason, not {:?}",
        answer.body
    );

    good.add_to(&mut expected);
    first_differences(
        ("the good part", &expected),
        ("held", &group.converged().await?),
    )?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_in_any_order_are_one_series() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let now = now_ms();
    let sorted = Series::new("ordered", &[("a", "1"), ("b", "2")], &[(now, 1.0)]);
    let mut reversed = sorted.clone();

    reversed.labels.reverse();
    reversed.samples = vec![(now + 1, 2.0)];
    group
        .client(0)
        .write(std::slice::from_ref(&sorted))
        .await?
        .success()?;

    group
        .client(1)
        .write(std::slice::from_ref(&reversed))
        .await?
        .success()?;

    let mut expected = SampleSet::default();
    sorted.add_to(&mut expected);
    reversed.add_to(&mut expected);

    ensure!(expected.series_count() == 1, "the test itself is wrong");
    first_differences(("sent", &expected), ("held", &group.converged().await?))?;
    group.stop().await
}

#[tokio::test]
async fn bad_queries_are_answered_in_prometheus_form() -> anyhow::Result<()> {
    let group = Group::of(1).start().await?;

    let client = group.client(0);
    for path in [
        "/api/v1/query?query=sum(",
        "/api/v1/query",
        "/api/v1/query?query=up&time=yesterday",
        "/api/v1/query_range?query=up&start=1&end=2",
        "/api/v1/query_range?query=up&start=2&end=1&step=1",
        "/api/v1/query_range?query=up&start=0&end=100000&step=0.001",
        "/api/v1/series",
        "/api/v1/export",
        "/api/v1/export?match[]={",
    ] {
        let answer = client.send(client.get(path)).await?;
        ensure!(
            answer.status == 400,
            "{path}: {}: {}",
            answer.status,
            answer.body
        );

        let json: serde_json::Value =
            serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
        ensure!(
            json["status"] == "error" && json["errorType"] == "bad_data",
            "{path}: {json}"
        );
        ensure!(
            json["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{path}: {json}"
        );
    }

    group.stop().await
}
