//! Appends series to the batch.

use std::collections::BTreeSet;

use trireme_model::{
    Exemplar, FloatSample, HistogramSample, METRIC_NAME, MetricMetadata, MetricType, SeriesKey,
    push_label,
};

use super::labels::LabelMap;
use super::warnings::Warnings;
use crate::prompb::{DecodeError, DecodeLimits, Decoded, Lend, Room, bound, check_histogram};
use crate::rw1::labels::{display, over_bound};
use trireme_wire::batch::BatchSeries;

/// The batch that is being built, and its bounds.
pub(super) struct Builder<'a> {
    seed: u64,
    limits: &'a DecodeLimits,
    out: Decoded,
    families: BTreeSet<String>,
    /// Oldest and newest point of the present resource (ms, inclusive).
    pub(super) times: Option<(i64, i64)>,
    pub(super) warnings: Warnings,
    /// What the request may still hold.
    pub(super) room: Room<'a>,
}

/// Time, start timestamp (both ms, start 0 if unset) and value.
pub(super) type FloatPoint = (i64, i64, f64);

impl<'a> Builder<'a> {
    pub(super) fn new(seed: u64, limits: &'a DecodeLimits, lender: &'a mut dyn Lend) -> Self {
        let out = Decoded::default();
        let families = BTreeSet::new();
        let room = Room::new(limits, lender);

        Self {
            seed,
            limits,
            out,
            families,
            times: None,
            warnings: Warnings::default(),
            room,
        }
    }

    pub(super) fn reject(
        &mut self,
        reason: &'static str,
        count: u64,
        example: impl FnOnce() -> String,
    ) {
        self.out.rejections.add(reason, count, example);
    }

    /// Notes when a point of the present resource is (ms).
    pub(super) fn note_time(&mut self, t: i64) {
        let (oldest, newest) = self.times.unwrap_or((t, t));
        self.times = Some((oldest.min(t), newest.max(t)));
    }

    pub(super) fn metadata(
        &mut self,
        family: &str,
        kind: MetricType,
        unit: String,
        help: String,
    ) -> Result<(), DecodeError> {
        if self.families.insert(family.to_owned()) {
            self.room
                .metadata(2 * family.len() + unit.len() + help.len())?;
            self.out
                .batch
                .metadata
                .push((family.to_owned(), MetricMetadata { kind, unit, help }));
        }
        bound(
            self.families.len(),
            self.limits.metadata_max,
            "metric families",
        )
    }

    /// Adds one float sample; `extra` are labels such as `le`.
    pub(super) fn float(
        &mut self,
        labels: &LabelMap,
        name: &str,
        extra: &[(&str, &str)],
        (t, st, v): FloatPoint,
        exemplars: &[Exemplar],
    ) -> Result<(), DecodeError> {
        let Some(range) = self.labels(labels, name, extra)? else {
            return Ok(());
        };
        self.push_float(t, st, v)?;
        self.series(range, 1, 0, exemplars)
    }

    /// Adds one series with the value 1 at each of `times` (ms).
    pub(super) fn ones(
        &mut self,
        labels: &LabelMap,
        name: &str,
        times: impl Iterator<Item = i64>,
    ) -> Result<(), DecodeError> {
        let Some(range) = self.labels(labels, name, &[])? else {
            return Ok(());
        };

        let mut count = 0;
        for t in times {
            self.push_float(t, 0, 1.0)?;
            count += 1;
        }

        self.series(range, count, 0, &[])
    }

    fn push_float(&mut self, t: i64, st: i64, v: f64) -> Result<(), DecodeError> {
        self.room.sample()?;

        let batch = &mut self.out.batch;
        if st != 0 && batch.start_timestamps.is_empty() {
            batch.start_timestamps.resize(batch.samples.len(), 0);
        }

        if st != 0 || !batch.start_timestamps.is_empty() {
            batch.start_timestamps.push(st);
        }

        batch.samples.push(FloatSample { t, v });
        Ok(())
    }

    /// Adds one native histogram sample, if it is consistent.
    pub(super) fn histogram(
        &mut self,
        labels: &LabelMap,
        name: &str,
        mut sample: HistogramSample,
        buckets: usize,
        exemplars: &[Exemplar],
    ) -> Result<(), DecodeError> {
        self.room.histogram()?;
        for _ in 0..buckets {
            self.room.bucket()?;
        }

        if let Err(why) = check_histogram(&mut sample) {
            self.reject("invalid histogram", 1, || format!("{name}: {why}"));
            return Ok(());
        }
        let Some(range) = self.labels(labels, name, &[])? else {
            return Ok(());
        };

        self.out.batch.histograms.push(sample);
        self.series(range, 0, 1, exemplars)
    }

    /// Appends canonical label bytes; `None` if they are over a bound, which is counted.
    fn labels(
        &mut self,
        labels: &LabelMap,
        name: &str,
        extra: &[(&str, &str)],
    ) -> Result<Option<std::ops::Range<u32>>, DecodeError> {
        let all = all_labels(labels, name, extra);

        let bytes = &mut self.out.batch.label_bytes;
        let start = bytes.len();

        for (n, v) in &all {
            push_label(bytes, n.as_bytes(), v.as_bytes());
        }

        if let Some((reason, detail)) = over_bound(all.len(), bytes.len() - start, self.limits) {
            let example = format!("{}: {detail}", display(&bytes[start..]));
            bytes.truncate(start);
            self.reject(reason, 1, || example);
            return Ok(None);
        }

        let end = bytes.len();
        bound(end, self.limits.label_bytes_max, "bytes of labels")?;
        self.room.series(2 * (end - start))?;

        Ok(Some(start as u32..end as u32))
    }

    fn series(
        &mut self,
        labels: std::ops::Range<u32>,
        floats: u32,
        histograms: u32,
        exemplars: &[Exemplar],
    ) -> Result<(), DecodeError> {
        let batch = &mut self.out.batch;
        let key = SeriesKey::of(
            self.seed,
            &batch.label_bytes[labels.start as usize..labels.end as usize],
        );
        let first_exemplar = batch.exemplars.len() as u32;

        for exemplar in exemplars {
            self.room.exemplar(exemplar.labels.as_bytes().len())?;
        }

        batch.exemplars.extend_from_slice(exemplars);
        let samples = batch.samples.len() as u32;
        let all_histograms = batch.histograms.len() as u32;

        batch.series.push(BatchSeries {
            key,
            labels,
            samples: samples - floats..samples,
            histograms: all_histograms - histograms..all_histograms,
            exemplars: first_exemplar..batch.exemplars.len() as u32,
        });

        bound(batch.series.len(), self.limits.series_max, "series")
    }

    pub(super) fn finish(mut self) -> Decoded {
        self.out.otlp_warnings = self.warnings.counts();
        self.out
    }
}

/// The labels that are not empty, in order; those of `extra` go before others.
fn all_labels<'a>(
    labels: &'a LabelMap,
    name: &'a str,
    extra: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = labels
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();

    all.retain(|(n, _)| *n != METRIC_NAME && extra.iter().all(|(e, _)| e != n));
    all.push((METRIC_NAME, name));
    all.extend_from_slice(extra);
    all.retain(|(_, v)| !v.is_empty());
    all.sort_unstable();
    all
}
