//! What senders sent and what they were told, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trireme_model::{
    AnyHistogram, FloatSample, Histogram, HistogramSample, MatchOp, Matcher, MetricMetadata,
    MetricType, SeriesKey, Span, Tenant, prefer, push_label,
};
use trireme_wire::batch::{Batch, BatchSeries};

use crate::content::Content;
use crate::process::{Process, WINDOW_MS};

/// A series, as `TENANT/SENDER/NUMBER`, and a time (ms).
pub type Place = (String, i64);

struct Sent {
    value: f64,
    is_acked: bool,
}

/// One request, sent until it is decided.
pub struct SentBatch {
    /// Whose data.
    pub tenant: Tenant,
    /// What goes out.
    pub batch: Arc<Batch>,
    samples: Vec<(Place, f64)>,
}

/// What a request is made of.
pub struct Wanted {
    /// Whose data.
    pub tenant: Tenant,
    /// Who sends it.
    pub sender: usize,
    /// Series with a sample each.
    pub series: usize,
    /// Their time (ms).
    pub t: i64,
    /// Every other series has histograms.
    pub has_histograms: bool,
    /// Text about the metric, if any.
    pub help: Option<String>,
}

/// Everything that was ever sent.
#[derive(Default)]
pub struct History {
    samples: BTreeMap<Place, Vec<Sent>>,
    /// By number.
    pub batches: Vec<SentBatch>,
    /// Whoever has sent anything.
    pub tenants: BTreeSet<Tenant>,
    /// Samples acknowledged.
    pub acked: u64,
}

impl History {
    /// A new request with one sample for each series of a sender. Histograms follow from their time, so that there is one
    /// only for each time.
    pub fn make(&mut self, wanted: &Wanted, value: impl Fn(usize) -> f64) -> usize {
        let Wanted {
            tenant, sender, t, ..
        } = wanted;
        let mut batch = Batch::default();

        let mut samples = Vec::with_capacity(wanted.series);
        for n in 0..wanted.series {
            let from = batch.label_bytes.len();
            for (name, text) in [
                ("__name__", "m"),
                ("sender", &sender.to_string()[..]),
                ("series", &n.to_string()[..]),
            ] {
                push_label(&mut batch.label_bytes, name.as_bytes(), text.as_bytes());
            }

            let key = SeriesKey::of(tenant.seed(), &batch.label_bytes[from..]);
            let floats = batch.samples.len() as u32;
            let histograms = batch.histograms.len() as u32;
            let value = if wanted.has_histograms && n % 2 == 1 {
                batch.histograms.push(histogram(*t));
                sum_of(&batch.histograms[histograms as usize])
            } else {
                batch.samples.push(FloatSample { t: *t, v: value(n) });
                value(n)
            };

            batch.series.push(BatchSeries {
                key,
                labels: from as u32..batch.label_bytes.len() as u32,
                samples: floats..batch.samples.len() as u32,
                histograms: histograms..batch.histograms.len() as u32,
                exemplars: 0..0,
            });

            let place = (format!("{tenant}/{sender}/{n}"), *t);
            self.samples.entry(place.clone()).or_default().push(Sent {
                value,
                is_acked: false,
            });
            samples.push((place, value));
        }

        let about = |help: &String| MetricMetadata {
            kind: MetricType::Gauge,
            unit: "s".to_owned(),
            help: help.clone(),
        };

        batch.metadata.extend(
            wanted
                .help
                .iter()
                .map(|help| (format!("m{sender}"), about(help))),
        );

        self.tenants.insert(tenant.clone());
        self.batches.push(SentBatch {
            tenant: tenant.clone(),
            batch: Arc::new(batch),
            samples,
        });

        self.batches.len() - 1
    }

    /// Samples of a request that a node certainly does not have: it runs, has applied everything it was sent, and has cut
    /// no window that they could be in.
    pub fn lacks(&self, batch: usize, process: &Process) -> bool {
        if !process.store.replay().is_done() || process.has_apply_work() {
            return false;
        }

        let SentBatch {
            tenant, samples, ..
        } = &self.batches[batch];

        samples.iter().any(|((series, t), _)| {
            let cut = process
                .shards
                .iter()
                .filter_map(|shard| shard.last_cut())
                .max();

            let mut parts = series.rsplit('/');
            let number = parts.next().unwrap_or_default();
            let sender = parts.next().unwrap_or_default();
            let equal = |name, value| Matcher::new(name, MatchOp::Equal, value).ok();
            let matchers: Vec<Matcher> = [equal("sender", sender), equal("series", number)]
                .into_iter()
                .flatten()
                .collect();
            let mut times = Vec::new();
            let mut values = Vec::new();

            let mut histograms = Vec::new();
            for shard in &process.shards {
                for found in shard.select(tenant, &matchers, *t, *t) {
                    let read = found.read(*t, *t, &mut times, &mut values);
                    let read = read.and_then(|_| found.read_histograms(*t, *t, &mut histograms));
                    // What cannot be read is not certain.
                    if read.is_err() {
                        return false;
                    }
                }
            }

            times.is_empty()
                && histograms.is_empty()
                && cut.is_none_or(|cut| cut < t.div_euclid(WINDOW_MS))
        })
    }

    /// A request was answered 2xx.
    pub fn acknowledge(&mut self, batch: usize) {
        for (place, value) in &self.batches[batch].samples {
            let sent = self.samples.get_mut(place).into_iter().flatten();
            for one in sent.filter(|one| one.value.to_bits() == value.to_bits()) {
                self.acked += u64::from(!one.is_acked);
                one.is_acked = true;
            }
        }
    }

    /// Every acknowledged sample is there with the value that the rule prefers, and nothing that nobody sent.
    pub fn check(&self, node: usize, content: &Content) -> Result<(), String> {
        for (place, sent) in &self.samples {
            let found = content.get(place).map(|bits| f64::from_bits(*bits));
            let acked = sent.iter().filter(|one| one.is_acked);
            let Some(best) = acked.map(|one| one.value).reduce(prefer) else {
                continue;
            };

            match found {
                None => {
                    return Err(format!(
                        "acknowledged sample {place:?}={best} is missing on n{node}"
                    ));
                }
                Some(value) if prefer(value, best).to_bits() != value.to_bits() => {
                    return Err(format!(
                        "{place:?} is {value} on n{node}, but {best} was acknowledged"
                    ));
                }
                Some(_) => {}
            }
        }

        for (place, bits) in content {
            let sent = self.samples.get(place).map_or(&[][..], Vec::as_slice);
            if !sent.iter().any(|one| one.value.to_bits() == *bits) {
                return Err(format!(
                    "{place:?}={} on n{node} was never sent",
                    f64::from_bits(*bits)
                ));
            }
        }

        Ok(())
    }
}

/// The sum of a histogram, by which it is known.
pub fn sum_of(sample: &HistogramSample) -> f64 {
    match &sample.h {
        AnyHistogram::Int(h) => h.sum,
        AnyHistogram::Float(h) => h.sum,
    }
}

/// The only histogram of a time.
pub fn histogram(t: i64) -> HistogramSample {
    let step = t.unsigned_abs() / 500 % 100_000;
    let histogram = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: step % 7,
        count: step % 7 + 3 * step + 1,
        sum: t as f64 / 8.0,
        positive_spans: vec![Span {
            offset: 0,
            length: 1 + u32::from(step % 2 == 1),
        }],
        positive_buckets: match step % 2 {
            1 => vec![step as i64, step as i64 + 1],
            _ => vec![3 * step as i64 + 1],
        },
        ..Histogram::default()
    };

    HistogramSample {
        t,
        st: 0,
        h: AnyHistogram::Int(Arc::new(histogram)),
    }
}
