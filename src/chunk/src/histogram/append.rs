//! Writing histogram chunks.

use trireme_model::{AnyHistogram, HistogramSample, ResetHint, Span};

use super::decode::ChunkReader;
use super::fields::Fields;
use super::form::{Float, Form, Int};
use super::layout::{Layout, indexes, spread, union};
use super::parts::{Assemble, Parts};
use super::{HEADER_BYTES, flags_of};
use crate::bits::{BitWriter, is_padding_zero};
use crate::start::StartState;
use crate::{ChunkError, Encoding};

/// The count of a chunk with start timestamps has 14 bits.
const COUNT_WITH_STARTS_MAX: u16 = 0x3fff;

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
        Self::open(first, hint, None)
    }

    /// As [`HistogramAppender::start`], for a chunk that keeps start timestamps.
    pub fn start_with_starts(first: &HistogramSample, hint: ResetHint) -> Result<Self, ChunkError> {
        Self::open(first, hint, Some(StartState::default()))
    }

    fn open(
        first: &HistogramSample,
        hint: ResetHint,
        starts: Option<StartState>,
    ) -> Result<Self, ChunkError> {
        let at = (first.t, first.st);
        Ok(Self(match &first.h {
            AnyHistogram::Int(h) => Kind::Int(Open::start(at, Parts::of_int(h)?, hint, starts)),
            AnyHistogram::Float(h) => {
                Kind::Float(Open::start(at, Parts::of_float(h)?, hint, starts))
            }
        }))
    }

    /// Opens an existing chunk (not empty) to append behind its last sample.
    pub fn resume(encoding: Encoding, chunk: &[u8]) -> Result<Self, ChunkError> {
        Ok(Self(match encoding {
            Encoding::Histogram | Encoding::HistogramSt => {
                Kind::Int(Open::resume(encoding, chunk)?)
            }
            Encoding::FloatHistogram | Encoding::FloatHistogramSt => {
                Kind::Float(Open::resume(encoding, chunk)?)
            }
            other => return Err(ChunkError::WrongEncoding(other.as_u8())),
        }))
    }

    /// Appends a sample, whose time must be after [`HistogramAppender::last_time`]. Its start timestamp is kept in
    /// encodings 5 and 6.
    pub fn append(&mut self, sample: &HistogramSample) -> Result<Appended, ChunkError> {
        let at = (sample.t, sample.st);
        match (&mut self.0, &sample.h) {
            (Kind::Int(open), AnyHistogram::Int(h)) => open.append(at, Parts::of_int(h)?),
            (Kind::Float(open), AnyHistogram::Float(h)) => open.append(at, Parts::of_float(h)?),
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

    /// Encoding 2 or 3, with start timestamps 5 or 6.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Kind::Int(Open { starts: None, .. }) => Encoding::Histogram,
            Kind::Int(_) => Encoding::HistogramSt,
            Kind::Float(Open { starts: None, .. }) => Encoding::FloatHistogram,
            Kind::Float(_) => Encoding::FloatHistogramSt,
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
    /// Of a chunk that keeps start timestamps.
    starts: Option<StartState>,
}

/// Time and start timestamp (both ms, start 0 for none) of a sample.
type At = (i64, i64);

impl<F: Assemble> Open<F> {
    fn start(
        (t, st): At,
        first: Parts<F>,
        hint: ResetHint,
        mut starts: Option<StartState>,
    ) -> Self {
        let header = match first.hint {
            own @ (ResetHint::Gauge | ResetHint::Reset) => own,
            _ => hint,
        };
        let mut w = BitWriter::with_header(&[0; HEADER_BYTES]);

        first.layout.put(&mut w);
        let fields = Fields::put_first(&mut w, t, &first);

        if let Some(starts) = &mut starts {
            starts.put(&mut w, 0, t, 0, st);
        }

        let mut open = Self {
            w,
            count: 1,
            header,
            layout: first.layout.clone(),
            fields,
            last: first,
            starts,
        };

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
        let len = u32::try_from(bits).map_err(|_| malformed(bits, "chunk over 512 MiB"))?;
        if chunk.len() != bits.div_ceil(8) || !is_padding_zero(chunk, len) {
            return Err(malformed(bits, "something behind the last sample"));
        }
        let (Some(last), Some(fields)) = (last, reader.fields) else {
            return Err(malformed(bits, "no samples to continue"));
        };

        let w = BitWriter::resume(chunk, len);
        let ChunkReader {
            count,
            header,
            layout,
            start: starts,
            ..
        } = reader;

        Ok(Self {
            w,
            count,
            header,
            layout,
            fields,
            last,
            starts,
        })
    }

    /// With start timestamps the flags lie above the count, and their byte holds the header of those.
    fn write_header(&mut self) {
        let [high, low] = self.count.to_be_bytes();
        let flags = flags_of(self.header);
        *self.w.header() = match &self.starts {
            None => [high, low, flags],
            Some(starts) => [flags | high, low, starts.header()],
        };
    }

    fn append(&mut self, (t, st): At, mut sample: Parts<F>) -> Result<Appended, ChunkError> {
        let count_max = if self.starts.is_some() {
            COUNT_WITH_STARTS_MAX
        } else {
            u16::MAX
        };

        if self.count >= count_max {
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

        self.put_next((t, st), &sample);
        self.write_header();
        self.last = sample;

        Ok(appended)
    }

    /// Writes a sample that fits behind the others; the header is left as it is.
    fn put_next(&mut self, (t, st): At, sample: &Parts<F>) {
        let before = self.fields.t;
        self.fields.put_next(&mut self.w, t, sample);
        if let Some(starts) = &mut self.starts {
            starts.put(&mut self.w, self.count, t, before, st);
        }
        self.count += 1;
    }

    /// Encodes all samples again with more buckets.
    fn recode(&mut self, positive: &[Span], negative: &[Span]) -> Result<(), ChunkError> {
        let bytes = self.w.bytes().to_vec();
        // Whether counts are integers makes no difference to the header.
        let encoding = if self.starts.is_some() {
            Encoding::HistogramSt
        } else {
            Encoding::Histogram
        };

        let mut reader = ChunkReader::<F>::new(encoding, &bytes)?;

        let mut wider: Option<Self> = None;
        while let Some((t, st, parts)) = reader.next()? {
            let parts = if parts.is_stale() {
                parts
            } else {
                parts.widened(positive, negative)
            };
            match &mut wider {
                None => {
                    let starts = self.starts.is_some().then(StartState::default);
                    wider = Some(Self::start((t, st), parts, self.header, starts));
                }
                Some(open) => {
                    open.put_next((t, st), &parts);
                    open.last = parts;
                }
            }
        }

        let mut wider = wider.expect("BUG: an open chunk has a sample");
        wider.header = self.header;
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
            return Fit::New(if gauge {
                ResetHint::Gauge
            } else {
                ResetHint::Unknown
            });
        }

        if !gauge && F::less(new.count, last.count) {
            return Fit::New(ResetHint::Reset);
        }

        if let Some(fit) = self.fit_bounds(new, gauge) {
            return fit;
        }
        if !gauge && self.has_lost(new) {
            return Fit::New(ResetHint::Reset);
        }

        if new.layout == self.layout {
            return Fit::Same;
        }

        Fit::Wider(
            wider(&self.layout.positive, &new.layout.positive),
            wider(&self.layout.negative, &new.layout.negative),
        )
    }

    /// A new chunk, if the buckets have other bounds.
    #[inline]
    fn fit_bounds(&self, new: &Parts<F>, gauge: bool) -> Option<Fit> {
        let same_bounds = new.layout.schema == self.layout.schema
            && new.layout.zero_threshold == self.layout.zero_threshold;

        let same_custom = new.layout.custom == self.layout.custom;
        if same_bounds && same_custom {
            return None;
        }

        Some(Fit::New(match (gauge, same_bounds) {
            (true, _) => ResetHint::Gauge,
            (false, false) => ResetHint::Unknown,
            (false, true) => ResetHint::Reset,
        }))
    }

    /// True if a bucket lost observations.
    #[inline]
    fn has_lost(&self, new: &Parts<F>) -> bool {
        let last = &self.last;
        let sides = [
            (
                &self.layout.positive,
                &last.positive,
                &new.layout.positive,
                &new.positive,
            ),
            (
                &self.layout.negative,
                &last.negative,
                &new.layout.negative,
                &new.negative,
            ),
        ];

        let reset = sides
            .iter()
            .any(|(a, before, b, after)| bucket_reset::<F>(a, before, b, after));
        reset || F::less(new.zero_count, last.zero_count)
    }
}

fn malformed(bit: usize, what: &'static str) -> ChunkError {
    ChunkError::Malformed { bit, what }
}

/// The spans of a chunk and a sample together.
fn wider(chunk: &[Span], sample: &[Span]) -> Vec<Span> {
    let all = union(chunk, sample);
    // The chunk's own spans stay if they cover everything, however they are cut.
    if indexes(chunk).eq(indexes(&all)) {
        chunk.to_vec()
    } else {
        all
    }
}

/// True if a bucket lost observations; a bucket that vanished did, unless it was empty.
fn bucket_reset<F: Form>(a: &[Span], before: &[F::Num], b: &[Span], after: &[F::Num]) -> bool {
    let zero = F::Num::default();
    let mut new = indexes(b).zip(F::absolute(after)).peekable();
    indexes(a)
        .zip(F::absolute(before))
        .any(|(index, count): (i32, F::Num)| {
            while new.next_if(|(i, _)| *i < index).is_some() {}
            let now = new.next_if(|(i, _)| *i == index).map_or(zero, |(_, n)| n);
            F::less(now, count)
        })
}

impl<F: Form> Parts<F> {
    /// The same histogram with more buckets.
    fn widened(mut self, positive: &[Span], negative: &[Span]) -> Self {
        widen::<F>(&mut self.layout.positive, &mut self.positive, positive);
        widen::<F>(&mut self.layout.negative, &mut self.negative, negative);
        self
    }
}

fn widen<F: Form>(spans: &mut Vec<Span>, buckets: &mut Vec<F::Num>, to: &[Span]) {
    *buckets = F::stored(spread(&F::absolute(buckets), spans, to));
    *spans = to.to_vec();
}
