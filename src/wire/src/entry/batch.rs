//! A whole batch as an entry payload: how a write travels to the member that takes it in another's place.

use trireme_model::{SeriesKey, Tenant};

use crate::batch::{Batch, BatchSeries};
use crate::entry::{EntryError, EntryReader, EntryWriter};
use crate::record::RecordDraft;

/// Encodes `batch` for [`decode_batch`]; label bytes travel as the sender wrote them.
pub fn encode_batch(tenant: &Tenant, batch: &Batch) -> RecordDraft {
    encode(tenant, batch, || batch.series.iter(), true)
}

/// Encodes the series of `batch` with these indexes, and its metadata if they are to go along.
pub fn encode_part(
    tenant: &Tenant,
    batch: &Batch,
    indexes: &[u32],
    with_metadata: bool,
) -> RecordDraft {
    encode(
        tenant,
        batch,
        || indexes.iter().filter_map(|i| batch.series.get(*i as usize)),
        with_metadata,
    )
}

fn encode<'a, I: Iterator<Item = &'a BatchSeries>>(
    tenant: &Tenant,
    batch: &'a Batch,
    chosen: impl Fn() -> I,
    with_metadata: bool,
) -> RecordDraft {
    let mut writer = EntryWriter::new(0, tenant.as_str());
    for (i, series) in (0_u32..).zip(chosen()) {
        writer.define(i, batch.labels_of(series));
    }

    for (i, series) in (0_u32..).zip(chosen()) {
        write_floats(&mut writer, i, batch, series);
    }

    for (i, series) in (0_u32..).zip(chosen()) {
        let range = series.histograms.start as usize..series.histograms.end as usize;
        for sample in &batch.histograms[range] {
            writer.histogram(i, sample);
        }
    }

    for (i, series) in (0_u32..).zip(chosen()) {
        let range = series.exemplars.start as usize..series.exemplars.end as usize;
        for exemplar in &batch.exemplars[range] {
            writer.exemplar(i, exemplar);
        }
    }

    if with_metadata {
        for (metric, metadata) in &batch.metadata {
            writer.metadata(metric, metadata);
        }
    }

    writer.finish()
}

#[inline]
fn write_floats(writer: &mut EntryWriter, i: u32, batch: &Batch, series: &BatchSeries) {
    for at in series.samples.start as usize..series.samples.end as usize {
        let sample = batch.samples[at];
        let start = batch.start_timestamps.get(at).copied().unwrap_or(0);
        writer.float_with_start(i, sample.t, sample.v, start);
    }
}

/// The inverse of [`encode_batch`].
pub fn decode_batch(payload: &[u8]) -> Result<(Tenant, Batch), EntryError> {
    let entry = EntryReader::new(payload)?;
    let tenant = Tenant::new(entry.tenant()).map_err(|_| EntryError::Malformed("tenant name"))?;
    let mut batch = Batch::default();

    read_definitions(&entry, tenant.seed(), &mut batch)?;
    read_floats(&entry, &mut batch)?;
    read_histograms(&entry, &mut batch)?;
    read_exemplars(&entry, &mut batch)?;

    for metadata in entry.metadata() {
        let metadata = metadata?;
        batch
            .metadata
            .push((metadata.metric.to_owned(), metadata.metadata));
    }

    Ok((tenant, batch))
}

fn read_definitions(
    entry: &EntryReader<'_>,
    seed: u64,
    batch: &mut Batch,
) -> Result<(), EntryError> {
    let mut definitions = entry.definitions();
    while let Some(definition) = definitions.next() {
        let (reference, labels) = definition?;
        if reference as usize != batch.series.len() {
            return Err(EntryError::Malformed("series out of order"));
        }

        let start = batch.label_bytes.len() as u32;
        batch.label_bytes.extend_from_slice(labels);
        batch.series.push(BatchSeries {
            key: SeriesKey::of(seed, labels),
            labels: start..batch.label_bytes.len() as u32,
            samples: 0..0,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }
    Ok(())
}

fn read_floats(entry: &EntryReader<'_>, batch: &mut Batch) -> Result<(), EntryError> {
    for float in entry.floats() {
        let float = float?;
        let at = batch.samples.len() as u32;
        extend(
            series(&mut batch.series, float.reference)?,
            |s| &mut s.samples,
            at,
        )?;
        batch.samples.push(trireme_model::FloatSample {
            t: float.t,
            v: float.v,
        });
        batch.start_timestamps.push(float.start);
    }

    if batch.start_timestamps.iter().all(|start| *start == 0) {
        batch.start_timestamps.clear();
    }
    Ok(())
}

fn read_histograms(entry: &EntryReader<'_>, batch: &mut Batch) -> Result<(), EntryError> {
    for histogram in entry.histograms() {
        let histogram = histogram?;
        let at = batch.histograms.len() as u32;
        extend(
            series(&mut batch.series, histogram.reference)?,
            |s| &mut s.histograms,
            at,
        )?;
        batch.histograms.push(histogram.sample);
    }
    Ok(())
}

fn read_exemplars(entry: &EntryReader<'_>, batch: &mut Batch) -> Result<(), EntryError> {
    for exemplar in entry.exemplars() {
        let exemplar = exemplar?;
        let at = batch.exemplars.len() as u32;
        extend(
            series(&mut batch.series, exemplar.reference)?,
            |s| &mut s.exemplars,
            at,
        )?;
        batch.exemplars.push(exemplar.exemplar);
    }
    Ok(())
}

fn series(all: &mut [BatchSeries], reference: u32) -> Result<&mut BatchSeries, EntryError> {
    all.get_mut(reference as usize)
        .ok_or(EntryError::Malformed("reference without a series"))
}

/// Adds item `at` to a range of the series; items of a series follow each other.
fn extend(
    series: &mut BatchSeries,
    range: impl FnOnce(&mut BatchSeries) -> &mut std::ops::Range<u32>,
    at: u32,
) -> Result<(), EntryError> {
    let range = range(series);
    if range.start == range.end {
        *range = at..at + 1;
    } else if range.end == at {
        range.end += 1;
    } else {
        return Err(EntryError::Malformed("samples of a series are apart"));
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use trireme_model::{FloatSample, Labels, MetricMetadata};

    use super::*;

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let tenant = Tenant::default();
        let mut batch = Batch {
            metadata: vec![("up".into(), MetricMetadata::default())],
            ..Batch::default()
        };

        for n in 0..3u32 {
            let labels = Labels::from_pairs([("__name__", "up"), ("n", &n.to_string())]);
            let from = batch.label_bytes.len() as u32;
            let first = batch.samples.len() as u32;

            batch.label_bytes.extend_from_slice(labels.as_bytes());
            batch.samples.extend((0..n).map(|i| FloatSample {
                t: i64::from(i) * 7,
                v: f64::from(n) / 3.0,
            }));
            batch.series.push(BatchSeries {
                key: SeriesKey::of(tenant.seed(), labels.as_bytes()),
                labels: from..batch.label_bytes.len() as u32,
                samples: first..batch.samples.len() as u32,
                histograms: 0..0,
                exemplars: 0..0,
            });
        }

        let draft = encode_batch(&tenant, &batch);
        let (named, copy) = decode_batch(draft.payload()).expect("ours");
        assert_eq!(named, tenant);
        assert_eq!(copy.label_bytes, batch.label_bytes);

        for (a, b) in copy.series.iter().zip(&batch.series) {
            assert_eq!((a.key, &a.labels), (b.key, &b.labels));
            let bits = |batch: &Batch, s| {
                batch
                    .samples_of(s)
                    .iter()
                    .map(|s| (s.t, s.v.to_bits()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(bits(&copy, a), bits(&batch, b));
        }

        assert_eq!((copy.series.len(), &copy.metadata), (3, &batch.metadata));

        let (_, part) =
            decode_batch(encode_part(&tenant, &batch, &[0, 2], false).payload()).expect("ours");
        let keys = |batch: &Batch, of: &[usize]| {
            of.iter().map(|i| batch.series[*i].key).collect::<Vec<_>>()
        };

        assert_eq!(keys(&part, &[0, 1]), keys(&batch, &[0, 2]));
        assert_eq!(
            (part.series.len(), part.samples.len(), part.metadata.len()),
            (2, 2, 0)
        );
        assert_eq!(
            part.samples_of(&part.series[1])[1].t,
            batch.samples_of(&batch.series[2])[1].t
        );
    }
}
