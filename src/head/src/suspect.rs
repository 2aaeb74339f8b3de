//! Changes that panicked.
//!
//! A panic inside a change leaves a shard of which nobody knows what is in it. It is not read, cut or saved any more: the node
//! ends its process at once, and the next start builds the shard from disk. A record that was being applied is noted on
//! disk first. One that panics twice is set aside, so that it does not stop every start of every replica.
//!
//! ```text
//! panicked, a line a record: incarnation boot seq times
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::Tenant;

use crate::{HeadError, Shard, files};

/// File of the records that panicked, in the shard's directory.
const PANICKED_FILE: &str = "panicked";
/// A record is set aside when it has panicked so often.
const PANICS_MAX: u32 = 2;
/// Records kept in the file.
const RECORDS_MAX: usize = 1_000;

/// How often each record panicked.
pub(crate) type Panicked = BTreeMap<(StreamId, u64), u32>;

/// Where a test may have a change panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicPoint {
    /// When a client's samples are stored and before they are logged.
    Ingest,
    /// When the samples of a record are stored.
    Apply,
}

/// Held while a shard is changed, under its lock.
pub(crate) struct Change<'a> {
    shard: &'a Shard,
    record: Option<(StreamId, u64)>,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shard.panicked_in(self.record);
        }
    }
}

impl Shard {
    /// A change of the shard begins; take it after the lock, so that it ends before the lock is let go.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { shard: self, record: None }
    }

    /// As [`Shard::change`], for applying a record.
    pub(crate) fn change_by(&self, stream: StreamId, seq: u64) -> Change<'_> {
        Change { shard: self, record: Some((stream, seq)) }
    }

    /// True once a change panicked: what the shard holds is not trusted.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    pub(crate) fn trusted(&self) -> Result<(), HeadError> {
        if self.is_suspect() { Err(HeadError::Suspect { shard: self.options.number }) } else { Ok(()) }
    }

    #[cold]
    fn panicked_in(&self, record: Option<(StreamId, u64)>) {
        self.suspect.store(true, Ordering::Release);
        if let Some(record) = record {
            let mut panicked = self.panicked.clone();
            *panicked.entry(record).or_default() += 1;
            // Without it the record is only tried once more.
            let _ = files::replace(&self.options.dir.join(PANICKED_FILE), text(&panicked).as_bytes());
        }
        if let Some(on_suspect) = self.options.on_suspect {
            on_suspect(self.options.number);
        }
    }

    /// True if a record panicked so often that it is not tried again.
    pub(crate) fn is_set_aside(&self, stream: StreamId, seq: u64) -> bool {
        // Mostly there is none.
        !self.panicked.is_empty()
            && self.panicked.get(&(stream, seq)).is_some_and(|times| *times >= PANICS_MAX)
    }

    /// A place where a test may have a change panic.
    #[inline]
    pub(crate) fn may_panic(&self, point: PanicPoint, tenant: &Tenant) {
        if let Some((at, whose)) = &self.options.panic_for
            && *at == point
            && whose == tenant
        {
            panic!("a test asked for it");
        }
    }
}

fn text(panicked: &Panicked) -> String {
    let newest = panicked.iter().rev().take(RECORDS_MAX);
    let line = |((stream, seq), times): (&(StreamId, u64), &u32)| {
        format!("{:016x} {} {seq} {times}\n", stream.incarnation.0, stream.boot.0)
    };
    newest.map(line).collect()
}

/// What earlier processes noted; lines that cannot be read are left out.
pub(crate) fn load(dir: &Path) -> Panicked {
    let text = std::fs::read_to_string(dir.join(PANICKED_FILE)).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let incarnation = Incarnation(u64::from_str_radix(words.next()?, 16).ok()?);
        let boot = Boot(words.next()?.parse().ok()?);
        let seq = words.next()?.parse().ok()?;
        Some(((StreamId { incarnation, boot }, seq), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_and_strange_lines_are_left_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let stream = StreamId { incarnation: Incarnation(0xab), boot: Boot(3) };
        let noted = Panicked::from([((stream, 7), 2), ((stream, 9), 1)]);
        let strange = format!("{}no line of ours\n1 2\n", text(&noted));
        std::fs::write(dir.path().join(PANICKED_FILE), strange).expect("writable");
        assert_eq!(load(dir.path()), noted);
    }
}
