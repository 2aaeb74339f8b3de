//! What senders sent and what they were told, and what must follow from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{FloatSample, MatchOp, Matcher, SeriesKey, Tenant, prefer, push_label};
use trireme_wire::batch::{Batch, BatchSeries};

use crate::process::{Process, WINDOW_MS};

/// A series and a time (ms).
pub type Place = (String, i64);
/// Values by place.
pub type Content = BTreeMap<Place, u64>;

struct Sent {
    value: f64,
    is_acked: bool,
}

/// One request, sent until it is decided.
pub struct SentBatch {
    /// What goes out.
    pub batch: Arc<Batch>,
    samples: Vec<(Place, f64)>,
}

/// Everything that was ever sent.
#[derive(Default)]
pub struct History {
    samples: BTreeMap<Place, Vec<Sent>>,
    /// By number.
    pub batches: Vec<SentBatch>,
    /// Samples acknowledged.
    pub acked: u64,
}

impl History {
    /// A new request with one sample for each series of a sender.
    pub fn make(&mut self, sender: usize, series: usize, t: i64, value: impl Fn(usize) -> f64) -> usize {
        let mut batch = Batch::default();
        let mut samples = Vec::with_capacity(series);
        for n in 0..series {
            let from = batch.label_bytes.len();
            for (name, text) in
                [("__name__", "m"), ("sender", &sender.to_string()[..]), ("series", &n.to_string()[..])]
            {
                push_label(&mut batch.label_bytes, name.as_bytes(), text.as_bytes());
            }
            let key = SeriesKey::of(Tenant::default().seed(), &batch.label_bytes[from..]);
            let (first, value) = (batch.samples.len() as u32, value(n));
            batch.samples.push(FloatSample { t, v: value });
            batch.series.push(BatchSeries {
                key,
                labels: from as u32..batch.label_bytes.len() as u32,
                samples: first..first + 1,
                histograms: 0..0,
                exemplars: 0..0,
            });
            let place = (format!("{sender}/{n}"), t);
            self.samples.entry(place.clone()).or_default().push(Sent { value, is_acked: false });
            samples.push((place, value));
        }
        self.batches.push(SentBatch { batch: Arc::new(batch), samples });
        self.batches.len() - 1
    }

    /// Samples of a request that a node certainly does not have: it runs, has applied everything it was sent, and has cut
    /// no window that they could be in.
    pub fn lacks(&self, batch: usize, process: &Process) -> bool {
        if !process.store.replay().is_done() || process.has_lane_work() {
            return false;
        }
        self.batches[batch].samples.iter().any(|((series, t), _)| {
            let cut = process.shards.iter().filter_map(|shard| shard.last_cut()).max();
            let (sender, number) = series.split_once('/').unwrap_or_default();
            let equal = |name, value| Matcher::new(name, MatchOp::Equal, value).ok();
            let matchers: Vec<Matcher> =
                [equal("sender", sender), equal("series", number)].into_iter().flatten().collect();
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for shard in &process.shards {
                for found in shard.select(&Tenant::default(), &matchers, *t, *t) {
                    // What cannot be read is not certain.
                    if found.read(*t, *t, &mut times, &mut values).is_err() {
                        return false;
                    }
                }
            }
            times.is_empty() && cut.is_none_or(|cut| cut < t.div_euclid(WINDOW_MS))
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
            let Some(best) = acked.map(|one| one.value).reduce(prefer) else { continue };
            match found {
                None => return Err(format!("acknowledged sample {place:?}={best} is missing on n{node}")),
                Some(value) if prefer(value, best).to_bits() != value.to_bits() => {
                    return Err(format!("{place:?} is {value} on n{node}, but {best} was acknowledged"));
                }
                Some(_) => {}
            }
        }
        for (place, bits) in content {
            let sent = self.samples.get(place).map_or(&[][..], Vec::as_slice);
            if !sent.iter().any(|one| one.value.to_bits() == *bits) {
                return Err(format!("{place:?}={} on n{node} was never sent", f64::from_bits(*bits)));
            }
        }
        Ok(())
    }
}

fn insert(content: &mut Content, series: &str, times: &[i64], values: &[f64]) {
    for (t, v) in times.iter().zip(values) {
        let kept = content.entry((series.to_owned(), *t)).or_insert(v.to_bits());
        *kept = prefer(f64::from_bits(*kept), *v).to_bits();
    }
}

/// Everything that a node would answer from its own head and blocks.
pub fn content(process: &Process) -> Result<Content, String> {
    let mut content = Content::new();
    let name = |labels: &trireme_model::Labels| -> String {
        let of =
            |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        format!("{}/{}", of("sender"), of("series"))
    };
    for shard in &process.shards {
        for series in shard.select(&Tenant::default(), &[], i64::MIN, i64::MAX) {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            series.read(i64::MIN, i64::MAX, &mut times, &mut values).map_err(|e| e.to_string())?;
            insert(&mut content, &name(&series.labels), &times, &values);
        }
    }
    for entry in process.shelf.blocks() {
        let block = &entry.block;
        for series in block.select(&[], i64::MIN, i64::MAX).map_err(|e| e.to_string())? {
            let mut samples = trireme_block::Samples::default();
            block.read_series(&series, i64::MIN, i64::MAX, &mut samples).map_err(|e| e.to_string())?;
            insert(&mut content, &name(&series.labels), &samples.times, &samples.values);
        }
    }
    Ok(content)
}

/// Names of a node's blocks, which depend on their bytes alone, with the start of their windows.
pub fn blocks(process: &Process) -> Vec<(i64, String)> {
    let shelf = process.shelf.blocks();
    let mut names: Vec<_> = shelf.iter().map(|b| (b.meta().min_time, b.meta().ulid.to_string())).collect();
    names.sort();
    names
}

/// The first place in which two contents differ.
pub fn difference(a: &Content, b: &Content) -> Option<String> {
    let places = a.keys().chain(b.keys());
    let differs = |place: &&Place| a.get(*place) != b.get(*place);
    let first = places.filter(differs).min()?;
    let text = |content: &Content| content.get(first).map(|bits| f64::from_bits(*bits));
    Some(format!("{first:?} is {:?} and {:?}", text(a), text(b)))
}
