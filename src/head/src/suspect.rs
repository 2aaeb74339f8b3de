//! Changes that panicked.
//!
//! A panic inside a change leaves a shard of which nobody knows what is in it. It is not read, cut or saved any more: the node
//! ends its process at once, and the next start builds the shard from disk. A record that was being applied is noted on
//! disk first, and so is what a client's request brought for the shard, by its fingerprint. What panics twice is set aside:
//! a record does not stop every start of every replica, and a sender that repeats its request does not end the members one
//! after the other.
//!
//! ```text
//! panicked, a line a record: incarnation boot seq times
//!          a line a request: request fingerprint times
//! ```

mod share;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::{Rejections, Tenant};

use crate::{HeadError, Shard, files};
pub(crate) use share::{Items, Share};

/// File of the records and requests that panicked, in the shard's directory.
const PANICKED_FILE: &str = "panicked";
/// A record or a request is set aside when it has panicked so often.
const PANICS_MAX: u32 = 2;
/// Records kept in the file, and requests.
const KEPT_MAX: usize = 1_000;
/// First word of a line about a request.
const REQUEST: &str = "request";

/// Why a share of a request is refused that panicked so often that it is not tried again.
pub const SET_ASIDE: &str = "set_aside";

/// How often records and requests panicked in earlier processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Panicked {
    records: BTreeMap<(StreamId, u64), u32>,
    requests: Requests,
}

/// Fingerprints and how often each panicked; the last one is the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Requests(VecDeque<(u64, u32)>);

impl Requests {
    fn times(&self, fingerprint: u64) -> u32 {
        self.0
            .iter()
            .find(|(known, _)| *known == fingerprint)
            .map_or(0, |(_, times)| *times)
    }

    /// Becomes the newest one; the oldest is forgotten if there are too many.
    fn set(&mut self, fingerprint: u64, times: u32) {
        self.0.retain(|(known, _)| *known != fingerprint);
        self.0.push_back((fingerprint, times));
        if self.0.len() > KEPT_MAX {
            self.0.pop_front();
        }
    }
}

/// What a change is made for.
#[derive(Clone, Copy)]
enum Cause<'a> {
    /// Nothing that would come again.
    Other,
    Record(StreamId, u64),
    Request(Share<'a>),
}

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
    cause: Cause<'a>,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shard.panicked_in(self.cause);
        }
    }
}

impl Shard {
    /// A change of the shard begins; take it after the lock, so that it ends before the lock is let go.
    pub(crate) fn change(&self) -> Change<'_> {
        Change {
            shard: self,
            cause: Cause::Other,
        }
    }

    /// As [`Shard::change`], for applying a record.
    pub(crate) fn change_by(&self, stream: StreamId, seq: u64) -> Change<'_> {
        Change {
            shard: self,
            cause: Cause::Record(stream, seq),
        }
    }

    /// As [`Shard::change`], for storing what a request brought.
    pub(crate) fn change_for<'a>(&'a self, share: Share<'a>) -> Change<'a> {
        Change {
            shard: self,
            cause: Cause::Request(share),
        }
    }

    /// True once a change panicked: what the shard holds is not trusted.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    pub(crate) fn trusted(&self) -> Result<(), HeadError> {
        if self.is_suspect() {
            Err(HeadError::Suspect {
                shard: self.options.number,
            })
        } else {
            Ok(())
        }
    }

    #[cold]
    fn panicked_in(&self, cause: Cause<'_>) {
        self.suspect.store(true, Ordering::Release);
        if let Some(panicked) = self.panicked.with(cause) {
            // Without it the cause is only tried once more.
            let _ = files::replace(
                &self.options.dir.join(PANICKED_FILE),
                text(&panicked).as_bytes(),
            );
        }

        if let Some(on_suspect) = self.options.on_suspect {
            on_suspect(self.options.number);
        }
    }

    /// True if a record panicked so often that it is not tried again.
    pub(crate) fn is_set_aside(&self, stream: StreamId, seq: u64) -> bool {
        let records = &self.panicked.records;
        // Mostly there is none.
        !records.is_empty()
            && records
                .get(&(stream, seq))
                .is_some_and(|times| *times >= PANICS_MAX)
    }

    /// True if a share of a request panicked so often that it is not tried again; it is then among the rejections.
    #[inline]
    pub(crate) fn refuses(&self, share: Share<'_>, rejections: &mut Rejections) -> bool {
        // Mostly there is none, and no fingerprint is made.
        let requests = &self.panicked.requests;
        !requests.0.is_empty() && requests.refuse(share, rejections)
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

impl Requests {
    #[cold]
    fn refuse(&self, share: Share<'_>, rejections: &mut Rejections) -> bool {
        let times = self.times(share.fingerprint());
        if times < PANICS_MAX {
            return false;
        }

        rejections.add(SET_ASIDE, share.count(), || {
            format!(
                "tenant {}: this node panicked {times} times when it stored the same, so it does not try again; report it",
                share.tenant
            )
        });

        true
    }
}

impl Panicked {
    /// With one more panic; nothing if the cause need not be known again.
    fn with(&self, cause: Cause<'_>) -> Option<Self> {
        let mut panicked = self.clone();
        match cause {
            Cause::Other => return None,
            Cause::Record(stream, seq) => *panicked.records.entry((stream, seq)).or_default() += 1,
            Cause::Request(share) => {
                let fingerprint = share.fingerprint();
                let times = self.requests.times(fingerprint).saturating_add(1);
                panicked.requests.set(fingerprint, times);
            }
        }

        Some(panicked)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [REQUEST, fingerprint, times] => {
                self.requests.set(hex(fingerprint)?, times.parse().ok()?)
            }
            [incarnation, boot, seq, times] => {
                let boot = Boot(boot.parse().ok()?);
                let stream = StreamId {
                    incarnation: Incarnation(hex(incarnation)?),
                    boot,
                };
                self.records
                    .insert((stream, seq.parse().ok()?), times.parse().ok()?);
            }
            _ => {}
        }

        Some(())
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

fn text(panicked: &Panicked) -> String {
    let newest = panicked.records.iter().rev().take(KEPT_MAX);
    newest
        .map(|((stream, seq), times): (&(StreamId, u64), &u32)| {
            format!(
                "{:016x} {} {seq} {times}\n",
                stream.incarnation.0, stream.boot.0
            )
        })
        .chain(
            panicked
                .requests
                .0
                .iter()
                .map(|(fingerprint, times): &(u64, u32)| {
                    format!("{REQUEST} {fingerprint:016x} {times}\n")
                }),
        )
        .collect()
}

/// What earlier processes noted; lines that cannot be read are left out.
pub(crate) fn load(dir: &Path) -> Panicked {
    let text = std::fs::read_to_string(dir.join(PANICKED_FILE)).unwrap_or_default();
    let mut panicked = Panicked::default();
    for line in text.lines() {
        // What cannot be read was not written here.
        let _ = panicked.read_line(line);
    }
    panicked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_and_strange_lines_are_left_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let stream = StreamId {
            incarnation: Incarnation(0xab),
            boot: Boot(3),
        };
        let records = BTreeMap::from([((stream, 7), 2), ((stream, 9), 1)]);
        let noted = Panicked {
            records,
            requests: Requests([(0xfe, 1), (0xab, 2)].into()),
        };
        let strange = format!(
            "{}no line of ours\n1 2\nrequest x 1\nrequest 1\n",
            text(&noted)
        );

        std::fs::write(dir.path().join(PANICKED_FILE), strange).expect("writable");
        assert_eq!(load(dir.path()), noted);

        // As releases wrote it that knew of records only.
        std::fs::write(dir.path().join(PANICKED_FILE), "00000000000000ab 3 7 2\n")
            .expect("writable");

        let records = BTreeMap::from([((stream, 7), 2)]);
        assert_eq!(
            load(dir.path()),
            Panicked {
                records,
                ..Panicked::default()
            }
        );
    }

    #[test]
    fn the_newest_requests_are_kept() {
        let mut requests = Requests::default();
        (0..KEPT_MAX as u64).for_each(|n| requests.set(n, 1));
        requests.set(0, 2);
        requests.set(KEPT_MAX as u64, 1);
        assert_eq!(requests.0.len(), KEPT_MAX);
        assert_eq!(
            [0, 1, 2, KEPT_MAX as u64].map(|n| requests.times(n)),
            [2, 0, 1, 1]
        );
    }
}
