//! What the head's tests share.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_head::{IngestLimits, IngestOutput, Shard, ShardOptions};
use trireme_model::{FloatSample, MatchOp, Matcher, SeriesKey, Tenant, push_label};
use trireme_wire::batch::{Batch, BatchSeries};
use trireme_wire::record::{Record, RecordDraft};

/// Now, in the middle of window 236_111 of two hours.
pub const NOW: i64 = 1_700_003_600_000;
pub const WINDOW: i64 = 7_200_000;

pub fn stream(n: u64) -> StreamId {
    StreamId {
        incarnation: Incarnation(n),
        boot: Boot(1),
    }
}

pub fn tenant() -> Tenant {
    Tenant::default()
}

pub fn options(dir: &Path, own: u64) -> ShardOptions {
    ShardOptions::new(0, 1, WINDOW, dir.to_owned(), stream(own))
}

pub fn shard(dir: &Path, own: u64) -> Arc<Shard> {
    Shard::new(options(dir, own)).unwrap()
}

/// Builds batches of one tenant.
#[derive(Default)]
pub struct Maker {
    pub batch: Batch,
}

impl Maker {
    pub fn series(mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let from = self.batch.label_bytes.len();
        labels
            .iter()
            .for_each(|(n, v)| push_label(&mut self.batch.label_bytes, n.as_bytes(), v.as_bytes()));

        let key = SeriesKey::of(tenant().seed(), &self.batch.label_bytes[from..]);
        let first = self.batch.samples.len() as u32;
        self.batch
            .samples
            .extend(samples.iter().map(|(t, v)| FloatSample { t: *t, v: *v }));
        self.batch.series.push(BatchSeries {
            key,
            labels: from as u32..self.batch.label_bytes.len() as u32,
            samples: first..self.batch.samples.len() as u32,
            histograms: 0..0,
            exemplars: 0..0,
        });

        self
    }

    pub fn up(self, job: &str, samples: &[(i64, f64)]) -> Self {
        self.series(&[("__name__", "up"), ("job", job)], samples)
    }

    pub fn idx(&self) -> Vec<u32> {
        (0..self.batch.series.len() as u32).collect()
    }

    pub fn ingest(self, shard: &Shard, now_ms: i64) -> IngestOutput {
        self.ingest_with(shard, now_ms, &IngestLimits::default())
    }

    pub fn ingest_with(self, shard: &Shard, now_ms: i64, limits: &IngestLimits) -> IngestOutput {
        let mut out = IngestOutput::default();
        let idx = self.idx();
        shard.ingest(&tenant(), &self.batch, &idx, limits, now_ms, &mut out);
        out
    }
}

/// Gives drafts seqs as the log would.
pub struct Origin {
    pub stream: StreamId,
    pub records: Vec<Record>,
}

impl Origin {
    pub fn new(n: u64) -> Self {
        Self {
            stream: stream(n),
            records: Vec::new(),
        }
    }

    pub fn log(&mut self, shard: &Shard, drafts: impl IntoIterator<Item = RecordDraft>) {
        for draft in drafts {
            let record = draft.seal(self.stream, self.records.len() as u64 + 1);
            shard.own_written(&record);
            self.records.push(record);
        }
    }
}

pub fn equal(name: &str, value: &str) -> Matcher {
    Matcher::new(name, MatchOp::Equal, value).unwrap()
}

/// Values of the label `job` of the series that match.
pub fn jobs(shard: &Shard, matchers: &[Matcher], start: i64, end: i64) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    shard.label_values(&tenant(), "job", matchers, start, end, |value| {
        found.extend([value.to_owned()])
    });
    found
}

/// All samples of all series, by label text.
pub fn dump(shard: &Arc<Shard>) -> Vec<(String, Vec<(i64, u64)>)> {
    let mut out = Vec::new();
    for series in shard.select(&tenant(), &[], i64::MIN, i64::MAX) {
        let mut times = Vec::new();
        let mut values = Vec::new();
        series
            .read(i64::MIN, i64::MAX, &mut times, &mut values)
            .unwrap();
        out.push((
            series.labels.to_string(),
            times
                .into_iter()
                .zip(values.iter().map(|v| v.to_bits()))
                .collect(),
        ));
    }

    out.sort();
    out
}
