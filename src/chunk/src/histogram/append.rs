//! Writing histogram chunks.

use trireme_model::{AnyHistogram, HistogramSample, ResetHint, Span};

use super::decode::ChunkReader;
use super::fields::Fields;
use super::form::{Float, Form, Int};
use super::layout::{Layout, indexes, spread, union};
use super::parts::{Assemble, Parts};
use super::{HEADER_BYTES, flags_of};
use crate::bits::{BitWriter, is_padding_zero};
use crate::{ChunkError, Encoding};

/// What became of an appended sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the chunk.
    Done,
    /// It is in the chunk, whose other samples were encoded again with more buckets.
    Recoded,
    /// It is not in the chunk: open a new one for it with this hint.
    NeedsNewChunk(ResetHint),
}

/// An open chunk of histograms of one kind; it always holds a complete, readable chunk.
#[derive(Clone, Debug)]
pub struct HistogramAppender(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Int(Open<Int>),
    Float(Open<Float>),
}

impl HistogramAppender {
    /// Opens a chunk with its first sample; `hint` is [`ResetHint::Unknown`] or what the chunk before answered.
    ///
    /// A sample that says itself that it is a gauge or follows a reset overrules `hint`.
    pub fn start(first: &HistogramSample, hint: ResetHint) -> Result<Self, ChunkError> {
        Ok(Self(match &first.h {
            AnyHistogram::Int(h) => Kind::Int(Open::start(first.t, Parts::of_int(h)?, hint)),
            AnyHistogram::Float(h) => Kind::Float(Open::start(first.t, Parts::of_float(h)?, hint)),
        }))
    }

    /// Opens an existing chunk (encoding 2 or 3, not empty) to append behind its last sample.
    pub fn resume(encoding: Encoding, chunk: &[u8]) -> Result<Self, ChunkError> {
        Ok(Self(match encoding {
            Encoding::Histogram => Kind::Int(Open::resume(encoding, chunk)?),
            Encoding::FloatHistogram => Kind::Float(Open::resume(encoding, chunk)?),
            other => return Err(ChunkError::WrongEncoding(other.as_u8())),
        }))
    }

    /// Appends a sample, whose time must be after [`HistogramAppender::last_time`]; start timestamps are not kept.
    pub fn append(&mut self, sample: &HistogramSample) -> Result<Appended, ChunkError> {
        match (&mut self.0, &sample.h) {
            (Kind::Int(open), AnyHistogram::Int(h)) => open.append(sample.t, Parts::of_int(h)?),
            (Kind::Float(open), AnyHistogram::Float(h)) => open.append(sample.t, Parts::of_float(h)?),
            _ => Ok(Appended::NeedsNewChunk(ResetHint::Unknown)),
        }
    }

    /// The hint for a new chunk that starts with `sample`, when the caller cuts because of size or count.
    pub fn hint_for(&self, sample: &HistogramSample) -> Result<ResetHint, ChunkError> {
        let fit = match (&self.0, &sample.h) {
            (Kind::Int(open), AnyHistogram::Int(h)) => open.fit(&Parts::of_int(h)?),
            (Kind::Float(open), AnyHistogram::Float(h)) => open.fit(&Parts::of_float(h)?),
            _ => Fit::New(ResetHint::Unknown),
        };
        Ok(match fit {
            Fit::New(hint) => hint,
            _ => ResetHint::NotReset,
        })
    }

    /// Encoding 2 or 3.
    pub fn encoding(&self) -> Encoding {
        match self.0 {
            Kind::Int(_) => Encoding::Histogram,
            Kind::Float(_) => Encoding::FloatHistogram,
        }
    }

    /// The chunk.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Int(open) => open.w.bytes(),
            Kind::Float(open) => open.w.bytes(),
        }
    }

    /// Samples so far.
    pub fn count(&self) -> u16 {
        match &self.0 {
            Kind::Int(open) => open.count,
            Kind::Float(open) => open.count,
        }
    }

    /// Time (ms) of the last sample.
    pub fn last_time(&self) -> i64 {
        match &self.0 {
            Kind::Int(open) => open.fields.t,
            Kind::Float(open) => open.fields.t,
        }
    }
}

/// How a sample fits a chunk.
enum Fit {
    /// Not at all.
    New(ResetHint),
    /// Its buckets are the chunk's; so are those of a stale sample.
    Same,
    /// Both are to be brought to these positive and negative buckets.
    Wider(Vec<Span>, Vec<Span>),
}

#[derive(Clone, Debug)]
struct Open<F: Form> {
    w: BitWriter,
    count: u16,
    header: ResetHint,
    layout: Layout,
    fields: Fields<F>,
    last: Parts<F>,
}

impl<F: Assemble> Open<F> {
    fn start(t: i64, first: Parts<F>, hint: ResetHint) -> Self {
        let header = match first.hint {
            own @ (ResetHint::Gauge | ResetHint::Reset) => own,
            _ => hint,
        };
        let mut w = BitWriter::with_header(&[0; HEADER_BYTES]);
        first.layout.put(&mut w);
        let fields = Fields::put_first(&mut w, t, &first);
        let mut open = Self { w, count: 1, header, layout: first.layout.clone(), fields, last: first };
        open.write_header();
        open
    }

    fn resume(encoding: Encoding, chunk: &[u8]) -> Result<Self, ChunkError> {
        let mut reader = ChunkReader::<F>::new(encoding, chunk)?;
        let mut last = None;
        while let Some((_, _, parts)) = reader.next()? {
            last = Some(parts);
        }
        let bits = reader.position();
        let at = |what| ChunkError::Malformed { bit: bits, what };
        let len = u32::try_from(bits).map_err(|_| at("chunk over 512 MiB"))?;
        if chunk.len() != bits.div_ceil(8) || !is_padding_zero(chunk, len) {
            return Err(at("something behind the last sample"));
        }
        let (Some(last), Some(fields)) = (last, reader.fields) else {
            return Err(at("no samples to continue"));
        };
        let w = BitWriter::resume(chunk, len);
        Ok(Self { w, count: reader.count, header: reader.header, layout: reader.layout, fields, last })
    }

    fn write_header(&mut self) {
        let [high, low] = self.count.to_be_bytes();
        *self.w.header() = [high, low, flags_of(self.header)];
    }

    fn append(&mut self, t: i64, mut sample: Parts<F>) -> Result<Appended, ChunkError> {
        if self.count == u16::MAX {
            return Err(ChunkError::Full(self.count));
        }
        let mut appended = Appended::Done;
        match self.fit(&sample) {
            Fit::New(hint) => return Ok(Appended::NeedsNewChunk(hint)),
            Fit::Same => {}
            Fit::Wider(positive, negative) => {
                sample = sample.widened(&positive, &negative);
                if (&self.layout.positive, &self.layout.negative) != (&positive, &negative) {
                    self.recode(&positive, &negative)?;
                    appended = Appended::Recoded;
                }
            }
        }
        self.fields.put_next(&mut self.w, t, &sample);
        self.count += 1;
        self.write_header();
        self.last = sample;
        Ok(appended)
    }

    /// Encodes all samples again with more buckets.
    fn recode(&mut self, positive: &[Span], negative: &[Span]) -> Result<(), ChunkError> {
        let bytes = self.w.bytes().to_vec();
        // Both encodings have the same header.
        let mut reader = ChunkReader::<F>::new(Encoding::Histogram, &bytes)?;
        let mut wider: Option<Self> = None;
        while let Some((t, _, parts)) = reader.next()? {
            let parts = if parts.is_stale() { parts } else { parts.widened(positive, negative) };
            match &mut wider {
                None => wider = Some(Self::start(t, parts, self.header)),
                Some(open) => {
                    open.fields.put_next(&mut open.w, t, &parts);
                    open.last = parts;
                }
            }
        }
        let mut wider = wider.expect("BUG: an open chunk has a sample");
        (wider.count, wider.header) = (self.count, self.header);
        wider.write_header();
        *self = wider;
        Ok(())
    }

    /// Prometheus's rules for when a chunk is cut.
    fn fit(&self, new: &Parts<F>) -> Fit {
        let last = &self.last;
        let gauge = new.hint == ResetHint::Gauge;
        if new.hint == ResetHint::Reset {
            return Fit::New(ResetHint::Reset);
        }
        if new.is_stale() {
            return Fit::Same;
        }
        if gauge != (self.header == ResetHint::Gauge) || last.is_stale() {
            return Fit::New(if gauge { ResetHint::Gauge } else { ResetHint::Unknown });
        }
        if !gauge && F::less(new.count, last.count) {
            return Fit::New(ResetHint::Reset);
        }
        let same_bounds = new.layout.schema == self.layout.schema
            && new.layout.zero_threshold == self.layout.zero_threshold;
        let same_custom = new.layout.custom == self.layout.custom;
        if !same_bounds || !same_custom {
            return Fit::New(match (gauge, same_bounds) {
                (true, _) => ResetHint::Gauge,
                (false, false) => ResetHint::Unknown,
                (false, true) => ResetHint::Reset,
            });
        }
        if !gauge {
            let sides = [
                (&self.layout.positive, &last.positive, &new.layout.positive, &new.positive),
                (&self.layout.negative, &last.negative, &new.layout.negative, &new.negative),
            ];
            let reset = sides.iter().any(|(a, before, b, after)| bucket_reset::<F>(a, before, b, after));
            if reset || F::less(new.zero_count, last.zero_count) {
                return Fit::New(ResetHint::Reset);
            }
        }
        if new.layout == self.layout {
            return Fit::Same;
        }
        let wider = |chunk: &[Span], sample: &[Span]| {
            let all = union(chunk, sample);
            // The chunk's own spans stay if they cover everything, however they are cut.
            if indexes(chunk).eq(indexes(&all)) { chunk.to_vec() } else { all }
        };
        Fit::Wider(
            wider(&self.layout.positive, &new.layout.positive),
            wider(&self.layout.negative, &new.layout.negative),
        )
    }
}

/// True if a bucket lost observations; a bucket that vanished did, unless it was empty.
fn bucket_reset<F: Form>(a: &[Span], before: &[F::Num], b: &[Span], after: &[F::Num]) -> bool {
    let zero = F::Num::default();
    let mut new = indexes(b).zip(F::absolute(after)).peekable();
    let lost = |(index, count): (i32, F::Num)| {
        while new.next_if(|(i, _)| *i < index).is_some() {}
        let now = new.next_if(|(i, _)| *i == index).map_or(zero, |(_, n)| n);
        F::less(now, count)
    };
    indexes(a).zip(F::absolute(before)).any(lost)
}

impl<F: Form> Parts<F> {
    /// The same histogram with more buckets.
    fn widened(mut self, positive: &[Span], negative: &[Span]) -> Self {
        let widen = |spans: &mut Vec<Span>, buckets: &mut Vec<F::Num>, to: &[Span]| {
            *buckets = F::stored(spread(&F::absolute(buckets), spans, to));
            *spans = to.to_vec();
        };
        widen(&mut self.layout.positive, &mut self.positive, positive);
        widen(&mut self.layout.negative, &mut self.negative, negative);
        self
    }
}
