//! Remote write 2.0: labels are references into a string table, so label bytes are built, in canonical form.
//!
//! A string may be referenced any number of times; what the references expand to is bounded separately from the
//! body. Wrong references concern their series only, as in Prometheus's receiver; the rest of the request counts.

mod labels;
mod metadata;
mod symbols;

#[cfg(test)]
mod tests;

use trireme_model::{
    EXEMPLAR_LABELS_INVALID, EXEMPLAR_LABELS_TOO_LONG, Exemplar, FloatSample, Rejections, SeriesKey,
};

use crate::prompb::cursor::{Cursor, FIXED64, VARINT};
use crate::prompb::{
    BadHistograms, Boundless, DecodeError, DecodeLimits, Decoded, EXEMPLAR_LABEL_BYTES_MAX, Lend,
    Room, bound, check_histogram, histogram,
};
use crate::rw1::labels as shown;
use trireme_wire::batch::{Batch, BatchSeries};

use labels::{LabelBuilder, RefsError};
use metadata::MetadataSet;
use symbols::Symbols;

/// References of one series that nothing is taken for: ordinary series have fewer.
const REFS_FREE: usize = 1_024;
/// Most memory that is reserved for labels on the strength of the body's size.
const RESERVE_BYTES_MAX: usize = 16 << 20;

/// Reads an inflated `io.prometheus.write.v2.Request`; `seed` is [`trireme_model::Tenant::seed`].
///
/// A malformed message or one over a bound of the request is an error; what is wrong with one series or histogram only
/// stands in [`Decoded::rejections`].
///
/// Needs as much memory as the body decodes to; for bodies of strangers there is [`decode_within`].
pub fn decode(body: &[u8], seed: u64, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    decode_within(body, seed, limits, &mut Boundless)
}

/// [`decode`] with memory that `lender` gives as it is needed, beside that of the body.
pub fn decode_within(
    body: &[u8],
    seed: u64,
    limits: &DecodeLimits,
    lender: &mut dyn Lend,
) -> Result<Decoded, DecodeError> {
    let mut room = Room::new(limits, lender);
    // The table may stand behind the series that use it.
    let (symbols, series) = symbols::split(body, limits, &mut room)?;
    let label_bytes = body.len().saturating_mul(2).min(RESERVE_BYTES_MAX);

    room.bytes(label_bytes)?;
    let mut reader = Reader {
        symbols,
        seed,
        limits,
        builder: LabelBuilder::default(),
        refs: Vec::new(),
        metadata: MetadataSet::default(),
        room,
        out: Decoded::default(),
    };

    reserve(&mut reader.out.batch, series.len(), label_bytes);

    for range in series {
        reader.series(Cursor::over(body, range))?;
    }

    let Reader {
        metadata, mut out, ..
    } = reader;

    out.batch.metadata = metadata.finish();
    if out.batch.start_timestamps.iter().all(|st| *st == 0) {
        out.batch.start_timestamps = Vec::new();
    }

    Ok(out)
}

fn reserve(batch: &mut Batch, series: usize, label_bytes: usize) {
    batch.series.reserve(series);
    batch.samples.reserve(series);
    batch.start_timestamps.reserve(series);
    // Labels expand to about twice what the references and strings take.
    batch.label_bytes.reserve(label_bytes);
}

struct Reader<'a> {
    symbols: Symbols<'a>,
    seed: u64,
    limits: &'a DecodeLimits,
    builder: LabelBuilder<'a>,
    refs: Vec<u32>,
    metadata: MetadataSet<'a>,
    room: Room<'a>,
    out: Decoded,
}

/// Lengths of the batch's vectors before a series.
#[derive(Clone, Copy)]
struct Mark {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl<'a> Reader<'a> {
    fn series(&mut self, mut c: Cursor<'a>) -> Result<(), DecodeError> {
        let mark = self.mark();
        self.refs.clear();
        let mut metadata = None;
        let mut bad_histograms = BadHistograms::default();

        let mut bad_exemplars = BadExemplars::default();
        while let Some((number, wire)) = c.field()? {
            match number {
                1 => read_refs(&mut self.refs, &mut c, wire, &mut self.room)?,
                2 => {
                    let (sample, st) = sample(c.typed_message(wire)?)?;
                    self.room.sample()?;
                    self.out.batch.samples.push(sample);
                    self.out.batch.start_timestamps.push(st);
                }
                3 => {
                    let mut sample = histogram::read(c.typed_message(wire)?, true, &mut self.room)?;
                    match check_histogram(&mut sample) {
                        Ok(()) => self.out.batch.histograms.push(sample),
                        Err(why) => bad_histograms.add(why),
                    }
                }
                4 => match self.exemplar(c.typed_message(wire)?)? {
                    Ok(exemplar) => self.out.batch.exemplars.push(exemplar),
                    Err(why) => bad_exemplars.add(why),
                },
                5 => metadata::read(c.typed_message(wire)?, metadata.get_or_insert_default())?,
                _ => c.skip(number, wire)?,
            }
        }

        self.keep(mark, metadata, bad_histograms, bad_exemplars)
    }

    /// Builds the labels and appends the series to the batch, or counts it as rejected.
    fn keep(
        &mut self,
        mark: Mark,
        metadata: Option<metadata::Refs>,
        bad: BadHistograms,
        bad_exemplars: BadExemplars,
    ) -> Result<(), DecodeError> {
        let start = self.out.batch.label_bytes.len();
        let refused = self.build_labels(mark, bad, bad_exemplars);
        if let Some((reason, example)) = refused {
            let batch = &self.out.batch;
            let carried = batch.samples.len() - mark.samples + batch.histograms.len()
                - mark.histograms
                + batch.exemplars.len()
                - mark.exemplars;
            let rejections = &mut self.out.rejections;
            rejections.add(reason, carried.max(1) as u64, || example);
            self.undo(mark, start);
            return Ok(());
        }

        self.push(mark, start, metadata)
    }

    /// Appends the labels; answers why the series cannot be kept, if that is so, with an example.
    fn build_labels(
        &mut self,
        mark: Mark,
        bad: BadHistograms,
        bad_exemplars: BadExemplars,
    ) -> Option<(&'static str, String)> {
        let batch = &mut self.out.batch;
        let floats = batch.samples.len() - mark.samples;
        let histograms = batch.histograms.len() - mark.histograms + bad.count as usize;
        // A series with exemplars alone belongs to samples elsewhere: senders put each into one of its own.
        let exemplars = batch.exemplars.len() - mark.exemplars + bad_exemplars.count();
        let start = batch.label_bytes.len();

        let built = self.builder.build(
            &self.symbols,
            &self.refs,
            &mut batch.label_bytes,
            self.limits.labels_per_series_max,
            self.limits.label_bytes_per_series_max,
        );
        if let Err(e) = built {
            return Some((e.reason(), e.to_string()));
        }

        let raw = &batch.label_bytes[start..];
        let rejections = &mut self.out.rejections;
        bad.reject(rejections, || shown::display(raw));
        bad_exemplars.report(rejections, &mut self.out.dropped, raw);

        match (floats, histograms) {
            (0, 0) if exemplars > 0 => None,
            (0, 0) => Some((
                "no samples",
                format!("{} has no sample", shown::display(raw)),
            )),
            (0, _) | (_, 0) => None,
            _ => Some((
                "samples and histograms in one series",
                format!("{} has both", shown::display(raw)),
            )),
        }
    }

    /// Appends a series whose labels begin at `start`.
    fn push(
        &mut self,
        mark: Mark,
        start: usize,
        metadata: Option<metadata::Refs>,
    ) -> Result<(), DecodeError> {
        let batch = &mut self.out.batch;
        bound(
            batch.label_bytes.len(),
            self.limits.label_bytes_max,
            "bytes of labels",
        )?;

        self.room.series(2 * (batch.label_bytes.len() - start))?;
        let raw = &batch.label_bytes[start..];
        let series = BatchSeries {
            key: SeriesKey::of(self.seed, raw),
            labels: start as u32..batch.label_bytes.len() as u32,
            samples: mark.samples as u32..batch.samples.len() as u32,
            histograms: mark.histograms as u32..batch.histograms.len() as u32,
            exemplars: mark.exemplars as u32..batch.exemplars.len() as u32,
        };

        let is_native = !series.histograms.is_empty();
        if metadata.is_none_or(|refs| refs.is_empty()) {
            self.out.without_metadata += (series.samples.len() + series.histograms.len()) as u64;
        }

        batch.series.push(series);
        if let Some(refs) = metadata {
            self.add_metadata(refs, start, is_native)?;
        }

        let batch = &self.out.batch;
        bound(batch.series.len(), self.limits.series_max, "series")
    }

    /// Adds the metadata of the series whose labels begin at `start`.
    fn add_metadata(
        &mut self,
        refs: metadata::Refs,
        start: usize,
        is_native: bool,
    ) -> Result<(), DecodeError> {
        if let Some(name) = self.builder.metric_name() {
            let series = metadata::Of {
                name,
                part: self.builder.part(is_native),
            };
            self.metadata
                .add(series, refs, &self.symbols, self.limits, &mut self.room)?;
        }
        if !refs.are_in(&self.symbols) {
            let raw = &self.out.batch.label_bytes[start..];
            self.out.rejections.add("bad symbol reference", 1, || {
                format!("{}: its metadata", shown::display(raw))
            });
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        let batch = &self.out.batch;
        Mark {
            samples: batch.samples.len(),
            histograms: batch.histograms.len(),
            exemplars: batch.exemplars.len(),
        }
    }

    fn undo(&mut self, mark: Mark, label_bytes: usize) {
        let batch = &mut self.out.batch;
        batch.samples.truncate(mark.samples);
        batch.start_timestamps.truncate(mark.samples);
        batch.histograms.truncate(mark.histograms);
        batch.exemplars.truncate(mark.exemplars);
        batch.label_bytes.truncate(label_bytes);
    }

    /// Reads an `Exemplar`; the inner error is why its labels are not a label set.
    fn exemplar(&mut self, mut c: Cursor<'a>) -> Result<Result<Exemplar, RefsError>, DecodeError> {
        let mut refs = Vec::new();
        let mut v = 0.0;

        let mut t = 0;
        while let Some((number, wire)) = c.field()? {
            match number {
                1 => read_refs(&mut refs, &mut c, wire, &mut self.room)?,
                2 => v = c.typed_double(wire)?,
                3 => t = c.typed_varint(wire)? as i64,
                _ => c.skip(number, wire)?,
            }
        }

        let refs = self.without_empty(refs);

        let mut raw = Vec::new();
        let built = self.builder.build(
            &self.symbols,
            &refs,
            &mut raw,
            self.limits.labels_per_series_max,
            EXEMPLAR_LABEL_BYTES_MAX,
        );

        self.room.exemplar(2 * raw.len())?;
        let labels = built.and_then(|()| {
            // All that the builder has not looked at is whether the texts are UTF-8.
            trireme_model::Labels::from_wire(&raw).map_err(|_| RefsError::NotText)
        });

        Ok(labels.map(|labels| Exemplar { labels, v, t }))
    }

    /// As in Prometheus, a name is there twice only if both have a value: labels without one are left out.
    fn without_empty(&self, refs: Vec<u32>) -> Vec<u32> {
        let (pairs, rest) = refs.as_chunks::<2>();
        if !rest.is_empty() || !pairs.iter().any(|[_, value]| self.is_empty(*value)) {
            return refs;
        }

        pairs
            .iter()
            .filter(|[_, value]| !self.is_empty(*value))
            .flatten()
            .copied()
            .collect()
    }

    fn is_empty(&self, symbol: u32) -> bool {
        self.symbols.get(symbol).is_some_and(<[u8]>::is_empty)
    }
}

/// Exemplars of a series that cannot be kept.
#[derive(Default)]
struct BadExemplars {
    /// With labels over the bound.
    long: u64,
    /// With a name twice.
    twice: u64,
    /// With labels that are none.
    wrong: u64,
}

impl BadExemplars {
    fn add(&mut self, why: RefsError) {
        match why {
            RefsError::TooMany(..) | RefsError::TooLong(_) => self.long += 1,
            RefsError::Duplicate(_) => self.twice += 1,
            _ => self.wrong += 1,
        }
    }

    fn count(&self) -> usize {
        (self.long + self.twice + self.wrong) as usize
    }

    /// Wrong references are the sender's fault and told; long labels, or a name twice, cost only the exemplar.
    fn report(&self, rejections: &mut Rejections, dropped: &mut Rejections, series: &[u8]) {
        if self.wrong > 0 {
            rejections.add("bad symbol reference", self.wrong, || example(series));
        }

        if self.twice > 0 {
            dropped.add(EXEMPLAR_LABELS_INVALID, self.twice, || example(series));
        }

        if self.long > 0 {
            dropped.add(EXEMPLAR_LABELS_TOO_LONG, self.long, || example(series));
        }
    }
}

fn example(series: &[u8]) -> String {
    format!("{}: labels of an exemplar", shown::display(series))
}

/// Reads references to symbols. They are gone with the series, but until then they are as many as the body has bytes.
fn read_refs(
    refs: &mut Vec<u32>,
    c: &mut Cursor<'_>,
    wire: u8,
    room: &mut Room<'_>,
) -> Result<(), DecodeError> {
    c.repeated(wire, VARINT, |n| {
        if refs.len() >= REFS_FREE {
            room.bytes(2 * size_of::<u32>())?;
        }
        refs.push(n as u32);
        Ok(())
    })
}

/// Reads a `Sample` and its start timestamp.
#[inline]
fn sample(mut c: Cursor<'_>) -> Result<(FloatSample, i64), DecodeError> {
    let mut sample = FloatSample { t: 0, v: 0.0 };

    let mut st = 0;
    while let Some((number, wire)) = c.field()? {
        match (number, wire) {
            (1, FIXED64) => sample.v = f64::from_bits(c.fixed64()?),
            (2, VARINT) => sample.t = c.varint()? as i64,
            (3, VARINT) => st = c.varint()? as i64,
            (1..=3, _) => return Err(c.error("a known field has another wire type")),
            _ => c.skip(number, wire)?,
        }
    }

    Ok((sample, st))
}
