//! Writing an entry.

use trireme_model::{Exemplar, HistogramSample, MetricMetadata};

use super::definitions::{LabelTable, count_labels};
use super::varint::{put, put_bytes, put_signed};
use super::{histogram, section, value};
use crate::record::{RecordDraft, RecordKind};

/// Builds one Samples record of one tenant and shard.
///
/// Sections open by themselves when their first item comes. Order of kinds is free, save that a series must be
/// defined before (or in) the record that first uses its reference.
pub struct EntryWriter {
    draft: RecordDraft,
    /// Kind of the open section and where its body starts.
    open: Option<(u8, usize)>,
    last_ref: u32,
    last_t: i64,
    floats: u64,
    starts: StartRuns,
    labels: LabelTable,
    items: u64,
}

/// Start timestamps as runs, kept back until the end: most records have none.
#[derive(Default)]
struct StartRuns {
    runs: Vec<(u64, i64)>,
    any: bool,
}

impl EntryWriter {
    /// An entry without content.
    pub fn new(shard: u16, tenant: &str) -> Self {
        let mut draft = RecordDraft::new(shard, RecordKind::Samples);
        put_bytes(draft.payload_mut(), tenant.as_bytes());
        Self {
            draft,
            open: None,
            last_ref: 0,
            last_t: 0,
            floats: 0,
            starts: StartRuns::default(),
            labels: LabelTable::default(),
            items: 0,
        }
    }

    /// Length of the record so far, header included; start timestamps come on top at the end.
    pub fn len(&self) -> usize {
        self.draft.len()
    }

    /// True while nothing was added.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Says which series a reference means from here on.
    pub fn define(&mut self, reference: u32, canonical_labels: &[u8]) {
        if let Some(count) = count_labels(canonical_labels) {
            let (last_ref, _) = self.positions(section::DEFINITIONS_BY_LABEL);
            let mut labels = std::mem::take(&mut self.labels);
            let buf = self.section(section::DEFINITIONS_BY_LABEL);
            labels.put(buf, last_ref, reference, canonical_labels, count);
            (self.labels, self.last_ref) = (labels, reference);
            return;
        }

        let buf = self.section(section::DEFINITIONS);
        put(buf, u64::from(reference));
        put_bytes(buf, canonical_labels);
    }

    /// Adds a float sample. Ascending references and repeated timestamps take the fewest bytes.
    #[inline]
    pub fn float(&mut self, reference: u32, t: i64, v: f64) {
        self.float_with_start(reference, t, v, 0);
    }

    /// As [`EntryWriter::float`] with a start timestamp (ms); 0 means unset.
    #[inline]
    pub fn float_with_start(&mut self, reference: u32, t: i64, v: f64, start: i64) {
        if start != 0 || self.starts.any {
            self.starts.push(self.floats, start);
        }

        self.floats += 1;
        let (last_ref, last_t) = self.positions(section::FLOATS);
        let buf = self.section(section::FLOATS);
        let next = reference == last_ref.wrapping_add(1);
        let same = t == last_t;
        let (code, word, n) = value::encode(v);
        let flags =
            if next { value::NEXT_REF } else { 0 } | if same { value::SAME_TIME } else { 0 };

        buf.push(code | flags);
        if !next {
            put_signed(buf, i64::from(reference) - i64::from(last_ref));
        }

        if !same {
            put_signed(buf, t.wrapping_sub(last_t));
        }

        value::put_word(buf, word, n);
        (self.last_ref, self.last_t) = (reference, t);
    }

    /// Adds a histogram sample.
    pub fn histogram(&mut self, reference: u32, sample: &HistogramSample) {
        let (last_ref, last_t) = self.positions(section::HISTOGRAMS);
        let buf = self.section(section::HISTOGRAMS);
        put_signed(buf, i64::from(reference) - i64::from(last_ref));
        put_signed(buf, sample.t.wrapping_sub(last_t));
        histogram::encode(buf, sample);
        (self.last_ref, self.last_t) = (reference, sample.t);
    }

    /// Adds an exemplar of a series.
    pub fn exemplar(&mut self, reference: u32, exemplar: &Exemplar) {
        let (_, last_t) = self.positions(section::EXEMPLARS);
        let buf = self.section(section::EXEMPLARS);
        put(buf, u64::from(reference));
        put_signed(buf, exemplar.t.wrapping_sub(last_t));
        buf.extend_from_slice(&exemplar.v.to_bits().to_le_bytes());
        put_bytes(buf, exemplar.labels.as_bytes());
        self.last_t = exemplar.t;
    }

    /// Adds the metadata of a metric.
    pub fn metadata(&mut self, metric: &str, metadata: &MetricMetadata) {
        let buf = self.section(section::METADATA);
        put_bytes(buf, metric.as_bytes());
        put_bytes(buf, metadata.unit.as_bytes());
        put_bytes(buf, metadata.help.as_bytes());
        buf.push(metadata.kind.number());
    }

    /// The finished draft.
    pub fn finish(mut self) -> RecordDraft {
        let starts = std::mem::take(&mut self.starts);
        if starts.any {
            let buf = self.section(section::START_TIMESTAMPS);
            let mut last = 0i64;
            for (run, start) in starts.runs {
                put(buf, run);
                put_signed(buf, start.wrapping_sub(last));
                last = start;
            }
        }

        self.close();
        self.draft
    }

    /// What deltas of the section `kind` refer to.
    #[inline]
    fn positions(&self, kind: u8) -> (u32, i64) {
        if matches!(self.open, Some((open, _)) if open == kind) {
            (self.last_ref, self.last_t)
        } else {
            (0, 0)
        }
    }

    #[inline]
    fn section(&mut self, kind: u8) -> &mut Vec<u8> {
        self.items += 1;
        if !matches!(self.open, Some((open, _)) if open == kind) {
            self.close();
            let buf = self.draft.payload_mut();
            buf.push(kind);
            buf.extend_from_slice(&[0; section::HEADER_BYTES - 1]);
            self.open = Some((kind, buf.len()));
            (self.last_ref, self.last_t) = (0, 0);
        }

        self.draft.payload_mut()
    }

    fn close(&mut self) {
        if let Some((_, body)) = self.open.take() {
            let buf = self.draft.payload_mut();
            let length = (buf.len() - body) as u32;
            buf[body - 4..body].copy_from_slice(&length.to_le_bytes());
        }
    }
}

impl StartRuns {
    fn push(&mut self, before: u64, start: i64) {
        if !self.any {
            self.any = true;
            if before > 0 {
                self.runs.push((before, 0));
            }
        }
        match self.runs.last_mut() {
            Some((run, last)) if *last == start => *run += 1,
            _ => self.runs.push((1, start)),
        }
    }
}
