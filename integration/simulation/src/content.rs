//! What a node would answer from its own head and blocks.

use std::collections::{BTreeMap, BTreeSet};

use trireme_model::{AnyHistogram, HistogramSample, Labels, Tenant, prefer};

use crate::history::{Place, histogram, sum_of};
use crate::process::Process;

/// Values by place; of a histogram its sum.
pub type Content = BTreeMap<Place, u64>;

fn insert(content: &mut Content, series: &str, times: &[i64], values: &[f64]) {
    for (t, v) in times.iter().zip(values) {
        let kept = content
            .entry((series.to_owned(), *t))
            .or_insert(v.to_bits());
        *kept = prefer(f64::from_bits(*kept), *v).to_bits();
    }
}

fn insert_histograms(
    content: &mut Content,
    series: &str,
    histograms: &[HistogramSample],
) -> Result<(), String> {
    for sample in histograms {
        let (AnyHistogram::Int(found), AnyHistogram::Int(sent)) =
            (&sample.h, histogram(sample.t).h)
        else {
            return Err(format!(
                "a histogram of {series} at {} has another form than was sent",
                sample.t
            ));
        };

        if (found.count, &found.positive_buckets) != (sent.count, &sent.positive_buckets) {
            return Err(format!(
                "a histogram of {series} at {} has other buckets than were sent",
                sample.t
            ));
        }

        insert(content, series, &[sample.t], &[sum_of(sample)]);
    }
    Ok(())
}

fn name(tenant: &Tenant, labels: &Labels) -> String {
    let of = |wanted: &str| {
        labels
            .iter()
            .find(|(name, _)| *name == wanted)
            .map_or("", |(_, value)| value)
    };
    format!("{tenant}/{}/{}", of("sender"), of("series"))
}

/// Everything that a node would answer from its own head and blocks.
pub fn content(process: &Process, tenants: &BTreeSet<Tenant>) -> Result<Content, String> {
    let mut content = Content::new();
    for (shard, tenant) in process
        .shards
        .iter()
        .flat_map(|s| tenants.iter().map(move |t| (s, t)))
    {
        for series in shard.select(tenant, &[], i64::MIN, i64::MAX) {
            let mut times = Vec::new();
            let mut values = Vec::new();
            let mut histograms = Vec::new();
            series
                .read(i64::MIN, i64::MAX, &mut times, &mut values)
                .map_err(|e| e.to_string())?;
            series
                .read_histograms(i64::MIN, i64::MAX, &mut histograms)
                .map_err(|e| e.to_string())?;
            let name = name(tenant, &series.labels);
            insert(&mut content, &name, &times, &values);
            insert_histograms(&mut content, &name, &histograms)?;
        }
    }

    for entry in process.local_blocks.blocks() {
        let block = &entry.block;
        for series in block
            .select(&[], i64::MIN, i64::MAX)
            .map_err(|e| e.to_string())?
        {
            let mut samples = trireme_block::Samples::default();
            block
                .read_series(&series, i64::MIN, i64::MAX, &mut samples)
                .map_err(|e| e.to_string())?;
            let name = name(&entry.tenant, &series.labels);
            insert(&mut content, &name, &samples.times, &samples.values);
            insert_histograms(&mut content, &name, &samples.histograms)?;
        }
    }

    Ok(content)
}

/// Names of a node's blocks, which depend on their bytes alone, with the start of their windows.
pub fn blocks(process: &Process) -> Vec<(i64, String)> {
    let local_blocks = process.local_blocks.blocks();
    let mut names: Vec<_> = local_blocks
        .iter()
        .map(|b| (b.meta().min_time, b.meta().ulid.to_string()))
        .collect();
    names.sort();
    names
}

/// The first place in which two contents differ.
pub fn difference(a: &Content, b: &Content) -> Option<String> {
    let places = a.keys().chain(b.keys());
    let first = places
        .filter(|place: &&Place| a.get(*place) != b.get(*place))
        .min()?;
    let text = |content: &Content| content.get(first).map(|bits| f64::from_bits(*bits));
    Some(format!("{first:?} is {:?} and {:?}", text(a), text(b)))
}
