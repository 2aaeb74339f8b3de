//! Many connections that do little.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::victim::{Victim, either};

/// What a connection is answered at the end, at most.
const ANSWER_BYTES_MAX: u64 = 4_096;
/// A connection has to end within this.
const END_BOUND: Duration = Duration::from_secs(90);

fn connections() -> usize {
    let wanted = either(300, 2_000);
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };

    // SAFETY: reads and writes the structure; raising the soft limit of this process harms nobody.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }

    wanted
}

/// Opens connections that say `first` and nothing more.
async fn open(victim: &Victim, first: &str) -> anyhow::Result<Vec<TcpStream>> {
    let mut all = Vec::new();
    for _ in 0..connections() {
        let mut stream = TcpStream::connect(victim.client().address()).await?;
        stream.write_all(first.as_bytes()).await?;
        all.push(stream);
    }
    Ok(all)
}

/// Sends `drop` now and then on every connection until the node ends it; answers what the node said on them.
async fn drip(streams: Vec<TcpStream>, drop: &'static str) -> anyhow::Result<Vec<String>> {
    let one = async move |stream: TcpStream| -> anyhow::Result<String> {
        let (reader, mut writer) = stream.into_split();
        let dripping = async {
            while writer.write_all(drop.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            std::future::pending::<()>().await;
        };

        let mut said = Vec::new();
        let mut bounded = reader.take(ANSWER_BYTES_MAX);
        tokio::select! {
            // An end by reset is an end.
            read = bounded.read_to_end(&mut said) => drop_error(read),
            () = dripping => {}
        }

        Ok(String::from_utf8_lossy(&said).into_owned())
    };

    let all = futures::future::join_all(streams.into_iter().map(one));
    let all = tokio::time::timeout(END_BOUND, all)
        .await
        .context("connections were not ended")?;

    all.into_iter().collect()
}

fn drop_error(read: std::io::Result<usize>) {
    let _ = read;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_disturb_nobody() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group).await?;
    let before = victim.resident_bytes().await?;
    let idle = open(&victim, "").await?;

    victim.innocent_goes_on().await?;
    let grown = victim.resident_bytes().await? - before;
    println!("{} idle connections cost {grown} bytes", idle.len());

    ensure!(
        grown < 100e6,
        "{grown} bytes for {} idle connections",
        idle.len()
    );

    victim.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end_are_cut_off_with_408() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group.set("http.request_timeout=2s")).await?;
    let slow = open(&victim, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\n").await?;
    victim.innocent_goes_on().await?;

    let said = drip(slow, "X-A: b\r\n").await?;
    let timeouts = said.iter().filter(|answer| answer.contains("408")).count();
    println!("{timeouts} of {} slow heads got 408", said.len());

    ensure!(
        timeouts * 10 >= said.len() * 9,
        "only {timeouts} of {} got 408: {:?}",
        said.len(),
        said.first()
    );

    victim.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_take_no_memory_and_are_cut_off_with_503() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group.set("http.body_timeout=3s")).await?;
    for path in ["/api/v1/receive", "/api/v1/otlp/v1/metrics"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nTHANOS-TENANT: bomber\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: {}\r\nContent-Length: 30000000\r\n\r\n",
            if path.ends_with("receive") {
                "snappy"
            } else {
                "gzip"
            },
        );

        let slow = open(&victim, &head).await?;
        victim.innocent_goes_on().await?;

        // Thirty megabytes were announced on each.
        victim.stays_below(600).await?;
        let said = drip(slow, "x").await?;
        let cut = said
            .iter()
            .filter(|answer| answer.contains("503") && answer.contains("http.body_timeout"))
            .count();

        println!("{path}: {cut} of {} slow bodies got 503", said.len());
        ensure!(
            cut * 10 >= said.len() * 9,
            "only {cut} of {} got 503: {:?}",
            said.len(),
            said.first()
        );
    }

    victim.finish().await
}
