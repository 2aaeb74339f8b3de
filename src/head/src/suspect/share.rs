//! A shard's share of a client's request, and how it is known again when it comes again.

use std::ops::Range;

use trireme_model::{AnyHistogram, HistogramSample, MetricMetadata, Tenant};
use trireme_wire::batch::{Batch, BatchSeries};
use xxhash_rust::xxh3::Xxh3;

/// What a client's request brought for one shard.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    pub tenant: &'a Tenant,
    pub items: Items<'a>,
}

/// What is in a share.
#[derive(Clone, Copy)]
pub(crate) enum Items<'a> {
    /// These of a batch, by index.
    Series(&'a Batch, &'a [u32]),
    Metadata(&'a [(String, MetricMetadata)]),
}

impl Share<'_> {
    /// Samples, histograms and exemplars; a series without any counts as one.
    pub fn count(self) -> u64 {
        match self.items {
            Items::Series(batch, idx) => picked(batch, idx)
                .map(|series: &BatchSeries| {
                    let items =
                        series.samples.len() + series.histograms.len() + series.exemplars.len();
                    items.max(1) as u64
                })
                .sum(),
            Items::Metadata(metadata) => metadata.len() as u64,
        }
    }

    /// The same for the same share in every process, and different for others, as far as 64 bits can tell.
    ///
    /// Called while a panic unwinds, so nothing in here may panic: a range that lies outside its vector has no items.
    pub fn fingerprint(self) -> u64 {
        let mut hash = Hash(Xxh3::new());
        hash.text(self.tenant.as_str().as_bytes());

        match self.items {
            Items::Series(batch, idx) => {
                picked(batch, idx).for_each(|series| hash.series(batch, series))
            }
            Items::Metadata(metadata) => metadata.iter().for_each(|(metric, metadata)| {
                hash.text(metric.as_bytes());
                hash.number(metadata.kind as u64);
                hash.text(metadata.unit.as_bytes());
                hash.text(metadata.help.as_bytes());
            }),
        }

        hash.0.digest()
    }
}

fn picked<'a>(batch: &'a Batch, idx: &'a [u32]) -> impl Iterator<Item = &'a BatchSeries> {
    idx.iter().filter_map(|at| batch.series.get(*at as usize))
}

fn part<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

struct Hash(Xxh3);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// With its length, so that what follows cannot be taken for a part of it.
    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn series(&mut self, batch: &Batch, series: &BatchSeries) {
        self.text(part(&batch.label_bytes, &series.labels));

        let samples = part(&batch.samples, &series.samples);
        self.number(samples.len() as u64);

        for sample in samples {
            self.number(sample.t as u64);
            self.number(sample.v.to_bits());
        }

        // Empty, or one for each sample.
        for start in part(&batch.start_timestamps, &series.samples) {
            self.number(*start as u64);
        }

        let histograms = part(&batch.histograms, &series.histograms);
        self.number(histograms.len() as u64);

        for sample in histograms {
            self.histogram(sample);
        }

        let exemplars = part(&batch.exemplars, &series.exemplars);
        self.number(exemplars.len() as u64);

        for exemplar in exemplars {
            self.text(exemplar.labels.as_bytes());
            self.number(exemplar.t as u64);
            self.number(exemplar.v.to_bits());
        }
    }

    /// Buckets need no looking at: who sends other ones for the same series and time has another count or sum.
    fn histogram(&mut self, sample: &HistogramSample) {
        let (count, sum) = match &sample.h {
            AnyHistogram::Int(histogram) => (histogram.count, histogram.sum),
            AnyHistogram::Float(histogram) => (histogram.count.to_bits(), histogram.sum),
        };
        for number in [sample.t as u64, sample.st as u64, count, sum.to_bits()] {
            self.number(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::{Exemplar, FloatSample, Histogram, HistogramSample, Labels, SeriesKey};

    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for (n, name) in ["up", "down"].into_iter().enumerate() {
            let n = n as u32;
            let labels = Labels::from_pairs([("__name__", name)]);
            let from = batch.label_bytes.len() as u32;

            batch.label_bytes.extend_from_slice(labels.as_bytes());
            batch.series.push(BatchSeries {
                key: SeriesKey::of(0, labels.as_bytes()),
                labels: from..batch.label_bytes.len() as u32,
                samples: n..n + 1,
                histograms: n..n + 1,
                exemplars: n..n + 1,
            });

            batch.samples.push(FloatSample { t: 5, v: 1.0 });
            batch.start_timestamps.push(2);
            let h = AnyHistogram::Int(
                Histogram {
                    count: 3,
                    sum: 4.0,
                    ..Histogram::default()
                }
                .into(),
            );

            batch.histograms.push(HistogramSample { t: 6, st: 0, h });
            batch.exemplars.push(Exemplar {
                labels: Labels::from_pairs([("id", "a")]),
                v: 1.0,
                t: 5,
            });
        }

        batch
    }

    fn fingerprint(batch: &Batch, idx: &[u32]) -> u64 {
        Share {
            tenant: &Tenant::default(),
            items: Items::Series(batch, idx),
        }
        .fingerprint()
    }

    #[test]
    fn a_share_is_known_by_all_that_is_in_it() {
        let same = fingerprint(&batch(), &[0, 1]);
        assert_eq!(same, fingerprint(&batch(), &[0, 1]));
        assert_ne!(same, fingerprint(&batch(), &[0]), "a part of it");
        assert_ne!(same, fingerprint(&batch(), &[1, 0]));

        let changes: [fn(&mut Batch); 9] = [
            |b| b.label_bytes[3] ^= 1,
            |b| b.samples[1].t += 1,
            |b| b.samples[1].v = -1.0,
            |b| b.start_timestamps[1] = 3,
            |b| b.start_timestamps.clear(),
            |b| b.histograms[1].t += 1,
            |b| b.histograms[0].h = AnyHistogram::Int(Histogram::default().into()),
            |b| b.exemplars[0].v = 2.0,
            |b| b.exemplars[1].labels = Labels::from_pairs([("id", "b")]),
        ];

        for (n, change) in changes.into_iter().enumerate() {
            let mut other = batch();
            change(&mut other);
            assert_ne!(fingerprint(&other, &[0, 1]), same, "change {n}");
        }

        let batch = batch();
        let tenant = Tenant::new("other").expect("a name");
        let share = Share {
            tenant: &tenant,
            items: Items::Series(&batch, &[0, 1]),
        };

        assert_ne!(share.fingerprint(), same, "of another tenant");
        assert_eq!(share.count(), 6);
    }

    #[test]
    fn of_a_broken_batch_a_fingerprint_is_made_too() {
        let broken = Batch {
            samples: Vec::new(),
            exemplars: Vec::new(),
            ..batch()
        };
        fingerprint(&broken, &[0, 1, 2]);
    }

    #[test]
    fn metadata_is_known_again() {
        let metadata = |help: &str| {
            vec![(
                "up".to_owned(),
                MetricMetadata {
                    help: help.to_owned(),
                    ..MetricMetadata::default()
                },
            )]
        };

        let share = |metadata: &[(String, MetricMetadata)]| {
            let share = Share {
                tenant: &Tenant::default(),
                items: Items::Metadata(metadata),
            };
            (share.fingerprint(), share.count())
        };

        assert_eq!(share(&metadata("a")), share(&metadata("a")));
        assert_ne!(share(&metadata("a")).0, share(&metadata("b")).0);
        assert_eq!(share(&metadata("a")).1, 1);
    }
}
