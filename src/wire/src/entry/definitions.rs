//! Series definitions whose labels are written once per record.
//!
//! The series of a record mostly belong to the same few targets, so most of their labels are the same. A label is
//! written where it occurs first and named by its number later. Nothing outside the record is needed to read it: a
//! replica must be able to apply a stream whatever it has of others.
//!
//! ```text
//! per series: zigzag delta of the reference, varint labels, per label: varint n
//!   n = 0: varint length, bytes; the label gets the next number of the record, from 1
//!   n > 0: label number n of this record
//! ```
//!
//! A label here is one field of the label bytes, `0x0a length name-and-value`, without tag and length.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::ops::Range;

use super::varint::{Cursor, put, put_bytes, put_signed};
use super::{EntryError, section};

/// Label bytes of a series that is written this way; a longer one is written as it is. Bounds what a reader makes of
/// a few bytes.
pub(super) const LABEL_BYTES_MAX: usize = 64 << 10;
/// Tag of a label in label bytes.
const LABEL_TAG: u8 = 0x0a;

/// Labels that the record being written has already, by where their bytes are in it.
#[derive(Default)]
pub(super) struct LabelTable {
    numbers: HashTable<(u32, u32, u32)>,
    hasher: FixedState,
}

impl LabelTable {
    /// Appends one definition to `buf`, of so many labels as [`count_labels`] says.
    pub fn put(
        &mut self,
        buf: &mut Vec<u8>,
        last_ref: u32,
        reference: u32,
        labels: &[u8],
        count: u64,
    ) {
        put_signed(buf, i64::from(reference) - i64::from(last_ref));
        put(buf, count);
        let mut rest = Cursor::new(labels);
        while let Ok(Some(label)) = next_label(&mut rest) {
            self.put_label(buf, label);
        }
    }

    fn put_label(&mut self, buf: &mut Vec<u8>, label: &[u8]) {
        let hash = self.hasher.hash_one(label);

        if let Some((_, _, number)) = self
            .numbers
            .find(hash, |known| buf[bytes_of(known)] == *label)
        {
            return put(buf, u64::from(*number));
        }

        put(buf, 0);
        put_bytes(buf, label);
        let entry = (
            (buf.len() - label.len()) as u32,
            label.len() as u32,
            self.numbers.len() as u32 + 1,
        );

        let hasher = &self.hasher;
        let written = &*buf;
        self.numbers.insert_unique(hash, entry, |known| {
            hasher.hash_one(&written[bytes_of(known)])
        });
    }
}

/// Where a label of the table stands.
#[inline]
fn bytes_of((at, len, _): &(u32, u32, u32)) -> Range<usize> {
    *at as usize..(*at + *len) as usize
}

/// Labels in label bytes; `None` if they have another form than expected and cannot be written by label.
pub(super) fn count_labels(labels: &[u8]) -> Option<u64> {
    if labels.len() > LABEL_BYTES_MAX {
        return None;
    }

    let mut rest = Cursor::new(labels);
    let mut count = 0;

    let mut bytes = 0;
    while let Some(label) = next_label(&mut rest).ok()? {
        count += 1;
        bytes += 1 + varint_len(label.len()) + label.len();
    }

    // A length may be written in more bytes than it needs; such labels would not come back as they were.
    (bytes == labels.len()).then_some(count)
}

fn next_label<'a>(rest: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, EntryError> {
    if rest.is_empty() {
        return Ok(None);
    }
    match rest.u8()? {
        LABEL_TAG => rest.bytes().map(Some),
        _ => Err(EntryError::Malformed("label tag")),
    }
}

fn varint_len(n: usize) -> usize {
    (usize::BITS - n.leading_zeros()).div_ceil(7).max(1) as usize
}

/// Definitions of a record, in the order written.
pub struct Definitions<'a> {
    sections: Cursor<'a>,
    body: Cursor<'a>,
    by_label: bool,
    last_ref: u32,
    labels: Vec<&'a [u8]>,
    /// Label bytes put together.
    built: Vec<u8>,
    failed: bool,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(sections: &'a [u8]) -> Self {
        Self {
            sections: Cursor::new(sections),
            body: Cursor::default(),
            by_label: false,
            last_ref: 0,
            labels: Vec::new(),
            built: Vec::new(),
            failed: false,
        }
    }

    /// The next definition as (reference, canonical label bytes); `None` at the end and after an error.
    // Not an iterator, because label bytes are put together in one buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<(u32, &[u8]), EntryError>> {
        if self.failed {
            return None;
        }

        while self.body.is_empty() {
            if self.sections.is_empty() {
                return None;
            }
            let (kind, body) = super::reader::next_section(&mut self.sections).ok()?;
            if kind == section::DEFINITIONS || kind == section::DEFINITIONS_BY_LABEL {
                (self.body, self.by_label, self.last_ref) =
                    (body, kind == section::DEFINITIONS_BY_LABEL, 0);
            }
        }

        let read = if self.by_label {
            self.by_label()
        } else {
            self.plain()
        };

        match read {
            Ok((reference, Some(labels))) => Some(Ok((reference, labels))),
            Ok((reference, None)) => Some(Ok((reference, &self.built))),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    fn plain(&mut self) -> Result<(u32, Option<&'a [u8]>), EntryError> {
        Ok((self.body.varint_u32()?, Some(self.body.bytes()?)))
    }

    fn by_label(&mut self) -> Result<(u32, Option<&'a [u8]>), EntryError> {
        let reference = i64::from(self.last_ref).checked_add(self.body.signed()?);
        let reference = reference
            .and_then(|r| u32::try_from(r).ok())
            .ok_or(EntryError::Range(self.body.at))?;

        self.last_ref = reference;
        self.built.clear();

        for _ in 0..self.body.count()? {
            let label = self.label()?;

            self.built.push(LABEL_TAG);
            put_bytes(&mut self.built, label);
            if self.built.len() > LABEL_BYTES_MAX {
                return Err(EntryError::Range(self.body.at));
            }
        }

        Ok((reference, None))
    }

    /// A label: written out, or the number of one that was.
    #[inline]
    fn label(&mut self) -> Result<&'a [u8], EntryError> {
        let body = &mut self.body;
        match body.varint()? {
            0 => {
                let label = body.bytes()?;
                self.labels.push(label);
                Ok(label)
            }
            n => {
                let known = usize::try_from(n - 1).ok().and_then(|n| self.labels.get(n));
                known.copied().ok_or(EntryError::Range(body.at))
            }
        }
    }
}
