//! A real Prometheus reads what we write, and we read what it writes.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{END, START, has, run, series, write};
use trireme_block::{
    Block, Interval, Samples, SeriesInput, Tombstones, WriteOptions, verify_block,
};
use trireme_model::{AnyHistogram, is_stale};

/// A data directory with one block of ours in several chunk files, one series of it partly deleted.
fn data_dir() -> (tempfile::TempDir, PathBuf, Vec<SeriesInput>) {
    let dir = tempfile::tempdir().unwrap();
    let mut series = series(40, 11);
    let options = WriteOptions {
        segment_bytes_max: 30_000,
        external_labels: BTreeMap::from([("tenant_id".into(), "a".into())]),
        ..WriteOptions::default()
    };

    let (mut meta, path) = write(dir.path(), &series, &options);
    let id = Block::open(&path)
        .unwrap()
        .index()
        .all_postings()
        .unwrap()
        .get(0);

    let deleted = Interval {
        first: START + 1_000_000,
        last: START + 2_000_000,
    };
    let mut tombstones = Tombstones::default();

    tombstones.add(id, deleted);
    tombstones.write(&path).unwrap();
    meta.stats.num_tombstones = 1;
    meta.write(&path).unwrap();

    let gone = |t: &i64| (deleted.first..=deleted.last).contains(t);
    let floats: Vec<(i64, f64)> = series[0]
        .times
        .iter()
        .copied()
        .zip(series[0].values.iter().copied())
        .collect();

    (series[0].times, series[0].values) = floats.into_iter().filter(|(t, _)| !gone(t)).unzip();
    series[0].histograms.retain(|h| !gone(&h.t));
    (dir, path, series)
}

#[test]
fn promtool_reads_every_chunk_and_every_sample_of_ours() {
    if !has("promtool") {
        return;
    }

    let (dir, path, series) = data_dir();
    assert_eq!(verify_block(&path), []);
    let data = dir.path().to_str().unwrap();
    let ulid = path.file_name().unwrap().to_str().unwrap();
    assert!(Block::open(&path).unwrap().chunks().segment_count() > 1);

    let list = run("promtool", &["tsdb", "list", data]);
    assert!(list.contains(ulid), "{list}");

    // The only promtool command that reads all chunks and fails on a bad one.
    let analysis = run("promtool", &["tsdb", "analyze", "--extended", data, ulid]);
    assert!(
        analysis.contains(&format!("Series: {}", series.len())),
        "{analysis}"
    );

    fs::create_dir(dir.path().join("wal")).unwrap();
    let dump = run("promtool", &["tsdb", "dump", data]);

    // It leaves out histograms without saying so.
    let floats: usize = series.iter().map(|s| s.times.len()).sum();
    assert_eq!(dump.lines().count(), floats);

    let temperature = series
        .iter()
        .find(|s| s.labels.metric_name() == "temperature")
        .unwrap();
    let t = temperature.times[5];
    let v = temperature.values[5];
    assert!(
        dump.lines().any(|l| l.ends_with(&format!(" {v} {t}"))),
        "{v} at {t}"
    );
}

struct Server {
    child: Child,
    port: u16,
}

#[allow(clippy::disallowed_methods)]
impl Server {
    /// Starts Prometheus on a data directory and waits until it says that it is ready.
    fn start(data: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();

        let config = data.join("prometheus.yml");
        fs::write(&config, "global: {}\n").unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--storage.tsdb.retention.time=100y",
                "--enable-feature=native-histograms",
            ])
            .arg("--web.enable-admin-api")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();

        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();

        let mut said = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("Server is ready") => break,
                Some(Ok(line)) => said.push(line),
                _ => panic!("Prometheus ended: {}", said.join("\n")),
            }
        }

        // Its later messages must not fill the pipe.
        #[allow(clippy::disallowed_methods)] // it lives as long as the test
        std::thread::Builder::new()
            .spawn(move || lines.for_each(drop))
            .unwrap();

        Self { child, port }
    }

    /// Result of an instant query at `t` (ms).
    fn query(&self, query: &str, t: i64) -> Value {
        let escaped: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let path = format!(
            "/api/v1/query?query={escaped}&time={}.{:03}",
            t / 1000,
            t % 1000
        );

        let (_, body) = self.request("GET", &path);
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["status"], "success", "{body}");

        value["data"]["result"].clone()
    }
}

impl Server {
    /// Status and body of an answer.
    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();

        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();

        (status, body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(text: &Value) -> f64 {
    match text.as_str().unwrap() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        other => other.parse().unwrap(),
    }
}

fn millis(seconds: &Value) -> i64 {
    (seconds.as_f64().unwrap() * 1000.0).round() as i64
}

type LabelMap = BTreeMap<String, String>;

fn labels_of(series: &Value) -> LabelMap {
    serde_json::from_value(series["metric"].clone()).unwrap()
}

fn float_bits(v: f64) -> u64 {
    // The JSON answer does not tell NaNs apart.
    if v.is_nan() {
        f64::NAN.to_bits()
    } else {
        v.to_bits()
    }
}

/// Count, sum and the buckets that are not empty, the zero bucket first.
fn essence(h: &AnyHistogram) -> Vec<f64> {
    let (count, sum, zero, buckets): (f64, f64, f64, Vec<f64>) = match h {
        AnyHistogram::Float(h) => (h.count, h.sum, h.zero_count, h.positive_buckets.clone()),
        AnyHistogram::Int(h) => {
            let mut last = 0;
            let mut absolute = |d: &i64| {
                last += d;
                last as f64
            };
            let buckets = h.positive_buckets.iter().map(&mut absolute).collect();
            (h.count as f64, h.sum, h.zero_count as f64, buckets)
        }
    };
    [count, sum, zero]
        .into_iter()
        .chain(buckets.into_iter().filter(|n| *n != 0.0))
        .collect()
}

#[test]
fn a_prometheus_server_answers_the_same_numbers_from_our_block() {
    if !has("prometheus") {
        return;
    }

    let (dir, path, series) = data_dir();
    let server = Server::start(dir.path());
    let floats: Vec<&SeriesInput> = series.iter().filter(|s| !s.times.is_empty()).collect();
    let answer = server.query(
        "{__name__=~'requests_total|temperature|größe'}[2h]",
        END - 1,
    );
    let answer = answer.as_array().unwrap();

    assert_eq!(answer.len(), floats.len());
    for theirs in answer {
        let labels = labels_of(theirs);
        let ours = floats.iter().find(|s| label_map(s) == labels).unwrap();
        let theirs: Vec<(i64, u64)> = theirs["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p: &Value| (millis(&p[0]), float_bits(number(&p[1]))))
            .collect();

        // A range selector leaves stale markers out.
        let ours = ours
            .times
            .iter()
            .zip(&ours.values)
            .filter(|(_, v)| !is_stale(**v));

        assert_eq!(
            theirs,
            ours.map(|(t, v)| (*t, float_bits(*v))).collect::<Vec<_>>(),
            "{labels:?}"
        );
    }

    let found = server.query("count({zone='zürich ☃'})", END - 1);
    assert_eq!(number(&found[0]["value"][1]), 8.0);
    check_histograms(&server, &series);
    drop(server);

    assert!(path.is_dir(), "Prometheus kept the block");
}

fn label_map(series: &SeriesInput) -> LabelMap {
    series
        .labels
        .iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

/// Instant queries only: version 2.42 repeats one histogram over a whole range selector.
fn check_histograms(server: &Server, series: &[SeriesInput]) {
    let ours: Vec<&SeriesInput> = series.iter().filter(|s| !s.histograms.is_empty()).collect();
    for t in (START + 60_000..END).step_by(97_531) {
        let answer = server.query("latency_seconds", t);
        let answer = answer.as_array().unwrap();
        assert_eq!(answer.len(), ours.len());

        for theirs in answer {
            let labels = labels_of(theirs);
            let ours = ours.iter().find(|s| label_map(s) == labels).unwrap();
            let at = ours.histograms.partition_point(|h| h.t <= t) - 1;
            let h = &theirs["histogram"][1];
            let buckets = h["buckets"].as_array().unwrap();
            let seen: Vec<f64> = [&h["count"], &h["sum"]]
                .into_iter()
                .chain(buckets.iter().map(|b| &b[3]))
                .map(number)
                .collect();
            assert_eq!(seen, essence(&ours.histograms[at].h), "{labels:?} at {t}");
        }
    }
}

#[test]
fn we_read_histogram_chunks_that_prometheus_encoded() {
    if !has("prometheus") {
        return;
    }

    // A deletion in every series makes Prometheus encode their chunks again.
    let dir = tempfile::tempdir().unwrap();
    let series = series(24, 13);
    let (mut meta, path) = write(dir.path(), &series, &WriteOptions::default());
    let ids: Vec<u32> = Block::open(&path)
        .unwrap()
        .index()
        .all_postings()
        .unwrap()
        .iter()
        .collect();

    let mut tombstones = Tombstones::default();
    let every = 1_200_000;
    let holes: Vec<Interval> = (START..END)
        .step_by(every)
        .map(|t| Interval {
            first: t,
            last: t + 60_000,
        })
        .collect();

    for id in ids {
        holes.iter().for_each(|hole| tombstones.add(id, *hole));
    }

    tombstones.write(&path).unwrap();
    meta.stats.num_tombstones = tombstones.len() as u64;
    meta.write(&path).unwrap();

    let server = Server::start(dir.path());
    let (status, body) = server.request("POST", "/api/v1/admin/tsdb/clean_tombstones");
    assert_eq!(status, 204, "{body}");
    drop(server);

    let blocks = trireme_block::scan_blocks(dir.path()).unwrap().blocks;
    let theirs = blocks.iter().find(|b| b.meta().ulid != meta.ulid).unwrap();
    assert!(theirs.meta().trireme.is_none(), "it is not our block");

    assert_eq!(theirs.verify(), []);
    let kept = |t: i64| {
        !holes
            .iter()
            .any(|hole| (hole.first..=hole.last).contains(&t))
    };

    let found = theirs.select(&[], START, END).unwrap();
    assert_eq!(found.len(), series.len());

    for (found, want) in found.iter().zip(&series) {
        assert_eq!(found.labels, want.labels);
        let mut samples = Samples::default();
        theirs.read_series(found, START, END, &mut samples).unwrap();

        let floats = want
            .times
            .iter()
            .zip(&want.values)
            .filter(|(t, _)| kept(**t));

        let floats: Vec<(i64, u64)> = floats.map(|(t, v)| (*t, v.to_bits())).collect();
        let got = samples
            .times
            .iter()
            .zip(&samples.values)
            .map(|(t, v)| (*t, v.to_bits()));

        assert_eq!(got.collect::<Vec<_>>(), floats, "{}", want.labels);
        let histograms = want
            .histograms
            .iter()
            .filter(|h| kept(h.t))
            .map(|h| (h.t, essence(&h.h)));

        let got = samples.histograms.iter().map(|h| (h.t, essence(&h.h)));
        assert_eq!(
            got.collect::<Vec<_>>(),
            histograms.collect::<Vec<_>>(),
            "{}",
            want.labels
        );
    }
}

/// Encoding the samples of a chunk again gives the bytes that Prometheus wrote. It leaves an empty byte at the end
/// of some chunks whose last sample ends with a byte.
fn check_same_bytes(block: &Block, chunk: &trireme_block::ChunkMeta) {
    let (encoding, theirs) = block.read_chunk(chunk).unwrap();
    assert_eq!(encoding, trireme_chunk::Encoding::Xor);
    let mut ours = Vec::new();

    let mut appender = trireme_chunk::XorAppender::start(&mut ours);
    for sample in trireme_chunk::XorIterator::new(&theirs).unwrap() {
        let (t, v) = sample.unwrap();
        appender.append(&mut ours, t, v);
    }

    assert!(theirs.len() - ours.len() <= 1);
    ours.resize(theirs.len(), 0);
    assert!(ours == theirs, "{:02x?}\n{:02x?}", ours, &theirs[..]);
}

#[test]
fn we_read_a_block_that_promtool_made() {
    if !has("promtool") {
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let mut want = BTreeMap::new();

    let mut text = String::from("# TYPE jobs gauge\n");
    for host in ["a", "b", "ünï"] {
        for i in 0..500i64 {
            // Gaps and values of all sizes, so that every code of the encoding occurs.
            let gap = [0, 1, 40, 3_000][(i % 97 == 5) as usize + (i % 89 == 7) as usize * 2];
            let t = START / 1000 + i * 14 + gap.min(13) + i / 250 * 40_000;
            let v = if i % 7 == 0 {
                i as f64
            } else {
                (i as f64 * 1.1).exp2().sin() * 1e6
            };
            text.push_str(&format!("jobs{{host=\"{host}\"}} {v} {t}\n"));
            want.entry(host.to_owned())
                .or_insert_with(Vec::new)
                .push((t * 1000, v));
        }
    }

    text.push_str("# EOF\n");
    let file = dir.path().join("in.om");
    let out = dir.path().join("out");

    fs::write(&file, text).unwrap();
    let args = [
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        file.to_str().unwrap(),
        out.to_str().unwrap(),
    ];

    run("promtool", &args);
    let mut got: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    let scan = trireme_block::scan_blocks(&out).unwrap();
    assert!(scan.quarantined.is_empty());

    for block in &scan.blocks {
        assert_eq!(block.verify(), []);
        for s in block.select(&[], i64::MIN, i64::MAX).unwrap() {
            s.chunks
                .iter()
                .for_each(|chunk| check_same_bytes(block, chunk));
            let mut samples = Samples::default();
            block
                .read_series(&s, i64::MIN, i64::MAX, &mut samples)
                .unwrap();
            let list = got
                .entry(s.labels.get("host").unwrap().to_owned())
                .or_default();
            list.extend(samples.times.into_iter().zip(samples.values));
        }
    }

    assert_eq!(got, want);
}
