//! Reading an entry without copying it.

use trireme_model::{Exemplar, HistogramSample, Labels, MetricMetadata};

use super::varint::Cursor;
use super::{Definitions, EntryError, histogram, section, value};

/// A view of one entry payload.
#[derive(Clone, Copy)]
pub struct EntryReader<'a> {
    tenant: &'a str,
    sections: &'a [u8],
}

/// A float sample by reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatEntry {
    /// Series reference of the stream.
    pub reference: u32,
    /// Milliseconds since the epoch.
    pub t: i64,
    /// Value, bit for bit as sent.
    pub v: f64,
    /// Start timestamp (ms), 0 when unset.
    pub start: i64,
}

/// A histogram sample by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramEntry {
    /// Series reference of the stream.
    pub reference: u32,
    /// The sample.
    pub sample: HistogramSample,
}

/// An exemplar by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarEntry {
    /// Series reference of the stream.
    pub reference: u32,
    /// The exemplar.
    pub exemplar: Exemplar,
}

/// Metadata of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// Metric family name.
    pub metric: &'a str,
    /// What was declared.
    pub metadata: MetricMetadata,
}

impl<'a> EntryReader<'a> {
    /// Checks the frame: tenant and section lengths. Items are checked when they are read.
    pub fn new(payload: &'a [u8]) -> Result<Self, EntryError> {
        let mut cursor = Cursor::new(payload);
        let tenant = cursor.str()?;
        let sections = &payload[cursor.at..];

        let mut walk = Cursor::new(sections);
        while !walk.is_empty() {
            next_section(&mut walk)?;
        }

        Ok(Self { tenant, sections })
    }

    /// Tenant of everything in the entry; not checked against the naming rule.
    pub fn tenant(&self) -> &'a str {
        self.tenant
    }

    /// Definitions as (reference, canonical label bytes).
    pub fn definitions(&self) -> Definitions<'a> {
        Definitions::new(self.sections)
    }

    /// Float samples in the order written, each with its start timestamp.
    pub fn floats(&self) -> impl Iterator<Item = Result<FloatEntry, EntryError>> + use<'a> {
        let mut starts = self.starts();
        self.items(section::FLOATS, move |cursor, last| {
            let control = cursor.u8()?;
            let reference = if control & value::NEXT_REF != 0 {
                last.reference.wrapping_add(1)
            } else {
                last.next_reference(cursor)?
            };

            if control & value::SAME_TIME == 0 {
                last.t = last.t.wrapping_add(cursor.signed()?);
            }

            last.reference = reference;
            let v = value::decode(cursor, control)?;
            Ok(FloatEntry {
                reference,
                t: last.t,
                v,
                start: starts.next()?,
            })
        })
    }

    /// Histogram samples in the order written.
    pub fn histograms(&self) -> impl Iterator<Item = Result<HistogramEntry, EntryError>> + use<'a> {
        self.items(section::HISTOGRAMS, |cursor, last| {
            last.reference = last.next_reference(cursor)?;
            last.t = last.t.wrapping_add(cursor.signed()?);
            Ok(HistogramEntry {
                reference: last.reference,
                sample: histogram::decode(cursor, last.t)?,
            })
        })
    }

    /// Exemplars in the order written.
    pub fn exemplars(&self) -> impl Iterator<Item = Result<ExemplarEntry, EntryError>> + use<'a> {
        self.items(section::EXEMPLARS, |cursor, last| {
            let reference = cursor.varint_u32()?;
            last.t = last.t.wrapping_add(cursor.signed()?);
            let v = cursor.f64()?;
            let labels = Labels::from_canonical_unchecked(cursor.bytes()?);
            Ok(ExemplarEntry {
                reference,
                exemplar: Exemplar {
                    labels,
                    v,
                    t: last.t,
                },
            })
        })
    }

    /// Metadata in the order written.
    pub fn metadata(
        &self,
    ) -> impl Iterator<Item = Result<MetadataEntry<'a>, EntryError>> + use<'a> {
        self.items(section::METADATA, |cursor, _| {
            let metric = cursor.str()?;
            let unit = cursor.str()?.to_owned();
            let help = cursor.str()?.to_owned();
            let kind = histogram::type_of(cursor.u8()?)?;
            Ok(MetadataEntry {
                metric,
                metadata: MetricMetadata { kind, unit, help },
            })
        })
    }

    fn starts(&self) -> Starts<'a> {
        Starts {
            sections: Cursor::new(self.sections),
            body: Cursor::default(),
            left: 0,
            start: 0,
            none: false,
        }
    }

    /// Items of all sections of one kind. After an error the iterator ends.
    fn items<T, F>(&self, kind: u8, read: F) -> Items<'a, F>
    where
        F: FnMut(&mut Cursor<'a>, &mut Last) -> Result<T, EntryError>,
    {
        Items {
            kind,
            sections: Cursor::new(self.sections),
            body: Cursor::default(),
            last: Last::default(),
            read,
        }
    }
}

/// Splits off a section as (kind, body).
pub(super) fn next_section<'a>(cursor: &mut Cursor<'a>) -> Result<(u8, Cursor<'a>), EntryError> {
    let kind = cursor.u8()?;
    let length = cursor.uint(4)? as usize;
    let body = cursor.take(length)?;

    if !(section::DEFINITIONS..=section::LAST).contains(&kind) {
        return Err(EntryError::Unknown {
            what: "section kind",
            code: kind,
        });
    }

    Ok((kind, Cursor::new(body)))
}

/// What the deltas of a section refer to.
#[derive(Default)]
struct Last {
    reference: u32,
    t: i64,
}

impl Last {
    fn next_reference(&self, cursor: &mut Cursor<'_>) -> Result<u32, EntryError> {
        let sum = i64::from(self.reference).checked_add(cursor.signed()?);
        sum.and_then(|r| u32::try_from(r).ok())
            .ok_or(EntryError::Range(cursor.at))
    }
}

struct Items<'a, F> {
    kind: u8,
    sections: Cursor<'a>,
    body: Cursor<'a>,
    last: Last,
    read: F,
}

impl<'a, T, F> Iterator for Items<'a, F>
where
    F: FnMut(&mut Cursor<'a>, &mut Last) -> Result<T, EntryError>,
{
    type Item = Result<T, EntryError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.body.is_empty() {
            if self.sections.is_empty() {
                return None;
            }
            let (kind, body) = next_section(&mut self.sections).ok()?;
            if kind == self.kind {
                self.body = body;
                self.last = Last::default();
            }
        }

        let item = (self.read)(&mut self.body, &mut self.last);
        if item.is_err() {
            (self.body, self.sections) = (Cursor::default(), Cursor::default());
        }

        Some(item)
    }
}

/// Runs of start timestamps, in step with the floats.
struct Starts<'a> {
    sections: Cursor<'a>,
    body: Cursor<'a>,
    left: u64,
    start: i64,
    none: bool,
}

impl Starts<'_> {
    #[inline]
    fn next(&mut self) -> Result<i64, EntryError> {
        if self.none {
            return Ok(0);
        }

        while self.left == 0 {
            if self.body.is_empty() {
                let Some(body) = self.next_body()? else {
                    self.none = true;
                    return Ok(0);
                };
                (self.body, self.start) = (body, 0);
                continue;
            }
            self.left = self.body.varint()?;
            self.start = self.start.wrapping_add(self.body.signed()?);
        }

        self.left -= 1;
        Ok(self.start)
    }
}

impl<'a> Starts<'a> {
    fn next_body(&mut self) -> Result<Option<Cursor<'a>>, EntryError> {
        while !self.sections.is_empty() {
            let (kind, body) = next_section(&mut self.sections)?;
            if kind == section::START_TIMESTAMPS {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }
}
