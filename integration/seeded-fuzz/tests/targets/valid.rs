//! Valid inputs of each target, to be damaged.

use std::sync::Arc;

use bytes::BytesMut;
use prost::Message;
use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
use trireme_block::{BlockMeta, Interval, Tombstones};
use trireme_chunk::{HistogramAppender, Xor2Appender, XorAppender};
use trireme_log::{CompletionTag, Log, LogOptions, NoObserver};
use trireme_model::{AnyHistogram, Histogram, HistogramSample, Labels, ResetHint, Span, Tenant};
use trireme_remote::prompb::{v1, v2};
use trireme_remote::{DecodeLimits, rw1 as read_v1};
use trireme_wire::entry::encode_batch;
use trireme_wire::frame::{Ack, Frame, Heartbeat, Hello, Records, RequestHead, Welcome};
use trireme_wire::record::{HEADER_BYTES, Record, RecordDraft, RecordKind};

const NOW_MS: i64 = 1_700_000_000_000;

fn own() -> StreamId {
    StreamId {
        incarnation: Incarnation(9),
        boot: Boot(2),
    }
}

fn v1_request() -> v1::WriteRequest {
    let label = |name: &str, value: &str| v1::Label {
        name: name.into(),
        value: value.into(),
    };
    let span = v1::BucketSpan {
        offset: -2,
        length: 3,
    };
    let histogram = v1::Histogram {
        sum: 4.5,
        schema: 2,
        zero_threshold: 0.001,
        positive_spans: vec![span],
        positive_deltas: vec![1, 2, -1],
        timestamp: NOW_MS,
        ..Default::default()
    };

    let series = |i: i64| v1::TimeSeries {
        labels: vec![
            label("__name__", "up"),
            label("instance", &format!("host-{i}")),
            label("job", "größe"),
        ],
        samples: (0..i)
            .map(|n| v1::Sample {
                value: n as f64 * 1.5,
                timestamp: NOW_MS + n,
            })
            .collect(),
        exemplars: vec![v1::Exemplar {
            labels: vec![label("trace_id", "abc")],
            value: 1.0,
            timestamp: NOW_MS,
        }],
        histograms: if i == 2 {
            vec![histogram.clone()]
        } else {
            Vec::new()
        },
    };

    let metadata = v1::MetricMetadata {
        metric_family_name: "up".into(),
        help: "Whether it is up.".into(),
        ..Default::default()
    };

    v1::WriteRequest {
        timeseries: (1..5).map(series).collect(),
        metadata: vec![metadata],
    }
}

pub fn rw1() -> Vec<Vec<u8>> {
    vec![v1_request().encode_to_vec(), Vec::new()]
}

pub fn search() -> Vec<Vec<u8>> {
    [
        "search[]=total&search[]=Req&case_sensitive=false&sort_by=score&include_score=1&limit=7\nhttp_requests_total",
        "label=job&search%5B%5D=gr%C3%B6&fuzz_alg=jarowinkler&fuzz_threshold=40&start=0&end=60\ngröße",
        "batch_size=2000&sort_by=alpha&sort_dir=dsc&include_metadata=true\nup",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub fn federate() -> Vec<Vec<u8>> {
    let series = "up\0job\0api\0http.requests\0größe\0a\"b\\\n\0up\0le\0+Inf\0a b\0x-y\0_";
    let accepts = [
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "text/plain;escaping=allow-utf-8",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=values",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text;escaping=dots",
    ];

    accepts
        .map(|accept| format!("{accept}\0{series}").into_bytes())
        .to_vec()
}

pub fn rw2() -> Vec<Vec<u8>> {
    let symbols = [
        "", "__name__", "up", "job", "api", "help", "trace_id", "abc",
    ]
    .map(str::to_owned)
    .to_vec();

    let series = |n: i64| v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![v2::Sample {
            value: 1.0,
            timestamp: NOW_MS + n,
            start_timestamp: NOW_MS,
        }],
        exemplars: vec![v2::Exemplar {
            labels_refs: vec![6, 7],
            value: 1.0,
            timestamp: NOW_MS,
        }],
        metadata: Some(v2::Metadata {
            r#type: 1,
            help_ref: 5,
            unit_ref: 0,
        }),
        ..Default::default()
    };

    vec![
        v2::Request {
            symbols,
            timeseries: (0..3).map(series).collect(),
        }
        .encode_to_vec(),
    ]
}

/// A field of a protobuf message that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

pub fn otlp() -> Vec<Vec<u8>> {
    let text = |key: &str, value: &str| {
        [
            field(1, key.as_bytes()),
            field(2, &field(1, value.as_bytes())),
        ]
        .concat()
    };

    let mut point = field(7, &text("http.method", "GET"));
    point.push(3 << 3 | 1);
    point.extend((NOW_MS as u64 * 1_000_000).to_le_bytes());
    point.push(4 << 3 | 1);
    point.extend(1.5_f64.to_le_bytes());

    // Gauge, sum, histogram, exponential histogram and summary have the same outer form.
    let request = |kind: u8| {
        let sum = [field(1, &point), vec![2 << 3, 2, 3 << 3, 1]].concat();
        let metric = [
            field(1, b"http.requests"),
            field(2, b"help"),
            field(3, b"s"),
            field(kind, &sum),
        ]
        .concat();

        let resource = field(1, &text("service.name", "shop"));
        field(
            1,
            &[field(1, &resource), field(2, &field(2, &metric))].concat(),
        )
    };

    [5, 7, 9, 10, 11].map(request).to_vec()
}

pub fn snappy() -> Vec<Vec<u8>> {
    let compress = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    vec![
        compress(&v1_request().encode_to_vec()),
        compress(&[7; 100_000]),
        compress(b""),
    ]
}

fn records() -> Vec<Record> {
    (1..4)
        .map(|seq: u64| {
            let mut draft = RecordDraft::new(1, RecordKind::Samples);
            draft.payload_mut().extend(payload());
            draft.seal(own(), seq)
        })
        .collect()
}

fn payload() -> Vec<u8> {
    let body = v1_request().encode_to_vec();
    let batch = read_v1::decode(body, 7, &DecodeLimits::default())
        .unwrap()
        .batch;
    encode_batch(&Tenant::default(), &batch)
        .payload_mut()
        .split_off(HEADER_BYTES)
}

pub fn record() -> Vec<Vec<u8>> {
    vec![
        records()
            .iter()
            .flat_map(|record| record.bytes().to_vec())
            .collect(),
    ]
}

pub fn entry() -> Vec<Vec<u8>> {
    vec![payload()]
}

pub fn frame() -> Vec<Vec<u8>> {
    let hello = Hello {
        version: 1,
        version_min: 1,
        cluster: "c".into(),
        node: "n0".into(),
        ..Hello::default()
    };

    let frames = [
        Frame::Hello(hello),
        Frame::Welcome(Welcome { version: 1 }),
        Frame::Heartbeat(Heartbeat::default()),
        Frame::Ack(Ack {
            incarnation: 9,
            boot: 2,
            position: 77,
            epoch: 5,
        }),
        Frame::Records(Records::new(3, records()).unwrap()),
        Frame::Request(RequestHead::default(), payload().into()),
    ];

    let mut all = BytesMut::new();

    let mut inputs = Vec::new();
    for frame in frames {
        let mut one = BytesMut::from(&[5_u8][..]);
        frame.encode().write_to(&mut one);
        frame.encode().write_to(&mut all);
        inputs.push(one.to_vec());
    }

    inputs.push([&[200], &all[..]].concat());
    inputs
}

pub fn chunk_xor() -> Vec<Vec<u8>> {
    let mut chunk = Vec::new();

    let mut open = XorAppender::start(&mut chunk);
    for n in 0..40_i64 {
        open.append(
            &mut chunk,
            NOW_MS + n * 15_000 + n % 3,
            [1.0, 1.0, n as f64 * 0.3, f64::NAN][n as usize % 4],
        );
    }

    vec![chunk]
}

pub fn chunk_xor2() -> Vec<Vec<u8>> {
    let mut open = Xor2Appender::default();
    for n in 0..40_i64 {
        open.append(
            if n > 20 { NOW_MS } else { 0 },
            NOW_MS + n * 15_000,
            n as f64 * 0.3,
        )
        .unwrap();
    }

    vec![open.bytes().to_vec()]
}

pub fn chunk_histogram() -> Vec<Vec<u8>> {
    let sample = |n: u64| {
        let histogram = Histogram {
            schema: 2,
            zero_threshold: 0.001,
            zero_count: n,
            count: n * 4,
            sum: n as f64 * 0.7,
            positive_spans: vec![Span {
                offset: -2,
                length: 2,
            }],
            positive_buckets: vec![n as i64, n as i64],
            ..Histogram::default()
        };
        HistogramSample {
            t: NOW_MS + n as i64 * 15_000,
            st: 0,
            h: AnyHistogram::Int(Arc::new(histogram)),
        }
    };

    let mut open = HistogramAppender::start(&sample(1), ResetHint::Unknown).unwrap();
    for n in 2..20 {
        open.append(&sample(n)).unwrap();
    }

    vec![open.bytes().to_vec()]
}

pub fn remote_read() -> Vec<Vec<u8>> {
    let matcher = |kind: u8, name: &str, value: &str| {
        field(
            3,
            &[
                vec![1 << 3, kind],
                field(2, name.as_bytes()),
                field(3, value.as_bytes()),
            ]
            .concat(),
        )
    };

    let times = [vec![1 << 3, 5], vec![2 << 3, 0x80, 0x20]].concat();
    let query = [
        times,
        matcher(0, "__name__", "up"),
        matcher(2, "job", "a.*|b"),
    ]
    .concat();

    let request = [field(1, &query), field(1, &query), vec![2 << 3, 1]].concat();
    vec![
        snap::raw::Encoder::new().compress_vec(&request).unwrap(),
        request,
    ]
}

pub fn labels() -> Vec<Vec<u8>> {
    let labels = Labels::from_pairs([
        ("__name__", "up"),
        ("instance", "host:9100"),
        ("job", "größe"),
    ]);
    vec![labels.as_bytes().to_vec()]
}

pub fn promql() -> Vec<Vec<u8>> {
    let queries = [
        "sum by (job) (rate(http_requests_total{code=~\"5..\",job!=\"x\"}[5m] offset 1h)) / on (job) group_left up",
        "histogram_quantile(0.9, sum(rate(x_bucket[5m])) without (le)) > bool 1 and ignoring (a) b unless c or d",
        "max_over_time(deriv(rate(x[1m])[5m:10s])[10m:] @ start()) ^ 2 ^ -3 % 0x1f + 1e-3 - -Inf",
        "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")",
        "sum by (k8s.pod) (http.server.requests{région=~\"e.\"}) * on (x.y) group_left (équipe) 温度.x",
        "topk(5, {__name__=~\"a.+\", \"größe\"=`x`}) # comment",
    ];
    queries.map(|query| query.as_bytes().to_vec()).to_vec()
}

pub fn index() -> Vec<Vec<u8>> {
    // Symbols, an entry, postings and a table, each behind its length.
    let symbols = [&[0, 0, 0, 3][..], &[0], &[1, b'a'], &[1, b'b']].concat();
    let entry = vec![1, 1, 2, 1, 2, 10, 8, 1, 1];
    let postings = vec![0, 0, 0, 1, 0, 0, 0, 2];
    let table = [&[0, 0, 0, 1][..], &[2, 1, b'a', 1, b'b', 40]].concat();
    let parts = [symbols, entry, postings, table];

    vec![
        parts
            .iter()
            .flat_map(|part| [&[part.len() as u8][..], part].concat())
            .collect(),
    ]
}

pub fn block_files() -> Vec<Vec<u8>> {
    let meta = br#"{"ulid":"01GMRJQ4Y2T4K4T2Z2X5V8J9ZC","minTime":1,"maxTime":7200001,"stats":{"numSamples":5,
        "numSeries":1,"numChunks":1},"compaction":{"level":1,"sources":["01GMRJQ4Y2T4K4T2Z2X5V8J9ZC"]},"version":1}"#;
    let meta = BlockMeta::parse(meta).unwrap();
    let mut tombstones = Tombstones::default();

    tombstones.add(
        3,
        Interval {
            first: 1,
            last: 500,
        },
    );

    tombstones.add(
        9,
        Interval {
            first: -7,
            last: i64::MAX,
        },
    );

    let bytes = tombstones.to_bytes();
    // As a file, and as what a file has between its magic and its checksum.
    vec![
        meta.to_json(),
        bytes.clone(),
        bytes[5..bytes.len() - 4].to_vec(),
    ]
}

pub fn log() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 16,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(
        dir.path(),
        options,
        own(),
        &[],
        Arc::new(NoObserver),
        Arc::new(SystemClock::new()),
    )
    .unwrap();

    for record in records() {
        let mut draft = RecordDraft::new(record.shard(), record.kind());
        draft.payload_mut().extend_from_slice(record.payload());
        log.append_own(vec![draft], CompletionTag(record.seq()))
            .unwrap();
        log.flush().unwrap();
    }

    let mut segment = std::fs::read(dir.path().join("000000000001.log")).unwrap();
    drop(log);

    // The preallocated rest is of no interest.
    let used = segment.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    segment.truncate(used + 64);

    vec![segment]
}
