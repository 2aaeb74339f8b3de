//! Remote write 1.0: the inflated body becomes the batch, labels stay where they are.
//!
//! The reader finds where each series' labels begin and end, hashes those bytes and reads the numbers; it does not
//! look into labels. Well-behaved senders write all labels of a series next to each other, so a series is one range of
//! the body. For any other legal order of fields the labels are copied together behind the body's end.
//! Checking label names is the business of whoever sees a series for the first time.

pub(crate) mod extras;
pub(crate) mod labels;

#[cfg(test)]
mod tests;

use trireme_model::{EXEMPLAR_LABELS_INVALID, FloatSample, SeriesKey};

use crate::prompb::cursor::{Cursor, FIXED64, VARINT};
use crate::prompb::{
    BadHistograms, Boundless, DecodeError, DecodeLimits, Decoded, Lend, Room, bound,
    check_histogram, histogram,
};
use trireme_wire::batch::BatchSeries;

use labels::LabelSpan;

/// Room is made for no more series than if each had so many bytes, which is about what one takes in memory.
const SERIES_BYTES_MIN: usize = 64;

/// What is said of a body in which nothing is known.
const NOT_VERSION_1: &str = "no field is of remote write 1.0; a 2.0 request needs the content type \
    application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Reads an inflated `prometheus.WriteRequest`; `seed` is [`trireme_model::Tenant::seed`].
///
/// A malformed message or one over a bound of the request is an error; what is wrong with one series or histogram only
/// stands in [`Decoded::rejections`].
///
/// Needs as much memory as the body decodes to; for bodies of strangers there is [`decode_within`].
pub fn decode(body: Vec<u8>, seed: u64, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    decode_within(body, seed, limits, &mut Boundless)
}

/// [`decode`] with memory that `lender` gives as it is needed, beside that of the body.
pub fn decode_within(
    body: Vec<u8>,
    seed: u64,
    limits: &DecodeLimits,
    lender: &mut dyn Lend,
) -> Result<Decoded, DecodeError> {
    if body.len() > u32::MAX as usize / 2 {
        return Err(DecodeError::TooLarge {
            size: body.len() as u64,
            limit: u32::MAX as usize / 2,
        });
    }

    let mut reader = Reader {
        body: &body,
        seed,
        limits,
        moved: Vec::new(),
        room: Room::new(limits, lender),
        out: Decoded::default(),
    };

    reader.request()?;
    let Reader { moved, mut out, .. } = reader;
    out.batch.label_bytes = body;
    out.batch.label_bytes.extend_from_slice(&moved);

    Ok(out)
}

struct Reader<'a> {
    body: &'a [u8],
    seed: u64,
    limits: &'a DecodeLimits,
    /// Label bytes of series whose labels are scattered; they follow the body in the batch.
    moved: Vec<u8>,
    room: Room<'a>,
    out: Decoded,
}

impl<'a> Reader<'a> {
    fn request(&mut self) -> Result<(), DecodeError> {
        let mut c = Cursor::new(self.body);
        let mut known = false;

        let mut unknown = false;
        while let Some((number, wire)) = c.field()? {
            known |= number == 1 || number == 3;
            unknown |= number != 1 && number != 3;

            match number {
                1 => {
                    let series = c.typed_message(wire)?;
                    if self.out.batch.series.is_empty() {
                        self.make_room(c.at())?;
                    }
                    self.series(series)?;
                }
                3 => {
                    let entry = c.typed_message(wire)?;
                    self.room.metadata(entry.rest().len())?;
                    self.out.batch.metadata.push(extras::metadata(entry)?);
                }
                _ => c.skip(number, wire)?,
            }
        }

        // Version 2 has no field in common with version 1. To take its bytes for an empty request would lose them.
        if unknown && !known {
            Err(DecodeError::Malformed {
                at: 0,
                what: NOT_VERSION_1,
            })
        } else {
            Ok(())
        }
    }

    /// Series of a request are alike, so the first, which ends at `first`, tells how many there are.
    fn make_room(&mut self, first: usize) -> Result<(), DecodeError> {
        let expected = self.body.len() / first.max(SERIES_BYTES_MIN);
        self.room.bytes(expected * SERIES_BYTES_MIN)?;
        self.out.batch.series.reserve(expected);
        self.out.batch.samples.reserve(expected);
        Ok(())
    }

    fn series(&mut self, mut c: Cursor<'a>) -> Result<(), DecodeError> {
        let batch = &self.out.batch;
        let samples = batch.samples.len();
        let histograms = batch.histograms.len();
        let exemplars = batch.exemplars.len();
        let whole = c.range();
        let mut span = LabelSpan::default();

        let mut bad_histograms = BadHistograms::default();
        loop {
            let start = c.at();
            let Some((number, wire)) = c.field()? else {
                break;
            };

            match number {
                1 => {
                    c.typed_message(wire)?;
                    span.add(start..c.at());
                }
                2 => {
                    let sample = sample(c.typed_message(wire)?)?;
                    self.room.sample()?;
                    self.out.batch.samples.push(sample);
                }
                3 => {
                    let exemplar = c.typed_message(wire)?;
                    self.room.exemplar(exemplar.rest().len())?;
                    match extras::exemplar(exemplar)? {
                        Ok(exemplar) => self.out.batch.exemplars.push(exemplar),
                        Err(why) => {
                            self.out
                                .dropped
                                .add(EXEMPLAR_LABELS_INVALID, 1, || why.to_string());
                        }
                    }
                }
                4 => {
                    let mut sample =
                        histogram::read(c.typed_message(wire)?, false, &mut self.room)?;
                    match check_histogram(&mut sample) {
                        Ok(()) => self.out.batch.histograms.push(sample),
                        Err(why) => bad_histograms.add(why),
                    }
                }
                _ => c.skip(number, wire)?,
            }
        }

        let moved = self.moved.len();
        let labels = span.settle(self.body, whole, &mut self.moved)?;
        self.room.series(2 * (self.moved.len() - moved))?;

        let batch = &self.out.batch;
        let series = BatchSeries {
            key: SeriesKey(0),
            labels,
            samples: samples as u32..batch.samples.len() as u32,
            histograms: histograms as u32..batch.histograms.len() as u32,
            exemplars: exemplars as u32..batch.exemplars.len() as u32,
        };

        self.keep(series, span.count, bad_histograms)
    }

    /// Appends the series to the batch, unless it is over a bound of its own or carries nothing.
    fn keep(
        &mut self,
        mut series: BatchSeries,
        labels: usize,
        bad: BadHistograms,
    ) -> Result<(), DecodeError> {
        let batch = &mut self.out.batch;
        let raw = labels::bytes(self.body, &self.moved, &series.labels);
        let carried = series.samples.len() + series.histograms.len() + series.exemplars.len();
        let rejections = &mut self.out.rejections;

        bad.reject(rejections, || labels::display(raw));
        if let Some((reason, detail)) = labels::over_bound(labels, raw.len(), self.limits) {
            rejections.add(reason, carried.max(1) as u64, || {
                format!("{}: {detail}", labels::display(raw))
            });
            batch.samples.truncate(series.samples.start as usize);
            batch.histograms.truncate(series.histograms.start as usize);
            batch.exemplars.truncate(series.exemplars.start as usize);
            return Ok(());
        }

        if carried == 0 {
            return Ok(());
        }

        series.key = SeriesKey::of(self.seed, raw);
        batch.series.push(series);
        bound(batch.series.len(), self.limits.series_max, "series")
    }
}

/// Reads a `Sample`; nearly all have the shape value, timestamp.
#[inline]
fn sample(mut c: Cursor<'_>) -> Result<FloatSample, DecodeError> {
    let mut sample = FloatSample { t: 0, v: 0.0 };
    while let Some((number, wire)) = c.field()? {
        match (number, wire) {
            (1, FIXED64) => sample.v = f64::from_bits(c.fixed64()?),
            (2, VARINT) => sample.t = c.varint()? as i64,
            (1 | 2, _) => return Err(c.error("a known field has another wire type")),
            _ => c.skip(number, wire)?,
        }
    }

    Ok(sample)
}
