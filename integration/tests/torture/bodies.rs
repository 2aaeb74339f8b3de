//! Bodies that are much larger than they look, and many of them.

use std::io::Write;

use anyhow::ensure;
use trireme_integration::{Answer, Client, empty_histograms_body};

use super::victim::{Victim, either};

/// A snappy block that says it holds this many bytes.
fn announced(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    prost::encode_length_delimiter(bytes, &mut body)?;
    body.extend([0_u8; 64]);
    Ok(body)
}

fn gzip_of_zeros(megabytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![0_u8; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&piece)?;
    }
    Ok(encoder.finish()?)
}

async fn otlp(client: &Client, body: Vec<u8>) -> anyhow::Result<Answer> {
    let request = client
        .post("/api/v1/otlp/v1/metrics")
        .header("Content-Type", "application/x-protobuf");
    client
        .send(
            request
                .header("Content-Encoding", "gzip")
                .header("THANOS-TENANT", "bomber")
                .body(body),
        )
        .await
}

async fn remote_write(client: &Client, body: Vec<u8>) -> anyhow::Result<Answer> {
    client
        .send(
            client
                .write_builder("/api/v1/receive", body)
                .header("THANOS-TENANT", "bomber"),
        )
        .await
}

/// Sends `count` bodies at once; every one is refused, with a word of explanation.
async fn all_refused(
    victim: &Victim,
    count: usize,
    body: &[u8],
    send: impl AsyncFn(&Client, Vec<u8>) -> anyhow::Result<Answer>,
) -> anyhow::Result<()> {
    let requests = (0..count).map(|_| send(victim.client(), body.to_vec()));

    let mut statuses = std::collections::BTreeMap::new();
    for answer in futures::future::join_all(requests).await {
        let answer = answer?;
        ensure!(
            answer.status == 400 || answer.status == 503,
            "answered {answer:?}"
        );
        ensure!(
            !answer.body.is_empty(),
            "no explanation with {}",
            answer.status
        );
        *statuses.entry(answer.status).or_insert(0) += 1;
    }

    println!("{count} bodies of {} bytes: {statuses:?}", body.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_inflate_enormously_are_refused_within_bounded_memory() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group).await?;
    let count = either(24, 200);
    all_refused(&victim, count, &announced(u32::MAX as usize)?, remote_write).await?;
    all_refused(&victim, count, &gzip_of_zeros(either(100, 127))?, otlp).await?;
    all_refused(&victim, count, &gzip_of_zeros(either(130, 1_000))?, otlp).await?;
    all_refused(
        &victim,
        count.min(40),
        &empty_histograms_body(2_000_000)?,
        remote_write,
    )
    .await?;

    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0_u8; either(60, 120) << 20])?;
    all_refused(&victim, count.min(64), &zeros, remote_write).await?;
    victim.innocent_goes_on().await?;
    victim.stays_below(1_200).await?;

    victim.finish().await
}
