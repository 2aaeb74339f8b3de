//! Reading of many far blocks side by side.
//!
//! Sources are asked one after the other, and series read one after the other, by code that waits for what it reads. If each
//! waited for the store, a question to hundreds of blocks would take hundreds of times as long as one request. So each source
//! is tried first ([`trireme_bucket::attempt`]); what all of them lack is fetched at once; and who lacked something is
//! tried again. Before series are read, what they and those behind them need is fetched in the same way, as much as fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_base::ErrorKind;
use trireme_bucket::{BucketReader, Wishes, attempt, lacking_bytes};
use trireme_promql::{Cancel, SelectError};

use crate::SourceError;

/// Rounds of requests after which a source waits for each of its own. Three are usual, a few more in large blocks.
const ROUNDS_MAX: usize = 12;

/// The bucket, and for whom it is asked.
#[derive(Clone)]
pub struct Far {
    /// What blocks are read through.
    pub reader: Arc<BucketReader>,
    /// Whose requests they are.
    pub tenant: Arc<str>,
}

impl Far {
    /// Asks `count` sources; `ask` asks the one of a number, and may do so several times until it has answered.
    pub(crate) fn ask_all<T>(
        &self,
        count: usize,
        cancel: &Cancel,
        mut ask: impl FnMut(usize) -> Result<T, SourceError>,
    ) -> Result<Vec<Result<T, SourceError>>, SourceError> {
        self.reader.begin_pass();
        let mut answers: Vec<Option<Result<T, SourceError>>> = (0..count).map(|_| None).collect();

        let mut waiting: Vec<usize> = (0..count).collect();
        for _ in 0..ROUNDS_MAX {
            let mut lacking = Vec::new();

            let mut lacks = Vec::new();
            for number in waiting {
                cancel.check()?;
                match attempt(|| ask(number)) {
                    (Err(SourceError::Failed { .. }), wishes) if !wishes.is_empty() => {
                        lacking.push(number);
                        lacks.push(wishes);
                    }
                    (answer, _) => answers[number] = Some(answer),
                }
            }

            waiting = Vec::new();
            if lacks.is_empty() {
                break;
            }

            let fetched = self
                .reader
                .fetch(&lacks, &self.tenant, &|| cancel.check().is_err());

            for (number, result) in lacking.into_iter().zip(fetched) {
                match result {
                    Ok(()) => waiting.push(number),
                    Err(e) => {
                        answers[number] = Some(Err(SourceError::failed(
                            ErrorKind::Unavailable,
                            e.to_string(),
                        )))
                    }
                }
            }
        }

        for number in waiting {
            cancel.check()?;
            answers[number] = Some(ask(number));
        }

        let all: Vec<_> = answers.into_iter().flatten().collect();
        assert_eq!(all.len(), count, "BUG: a source was not asked");
        Ok(all)
    }
}

/// A series that says what reading it will take.
pub(crate) trait Wants: Send + Sync {
    /// See `SeriesRead::want`.
    fn want(&self, start_ms: i64, end_ms: i64) -> u64;
}

/// Fetches what series need before they are read, for as many of those behind them as fit.
pub(crate) struct Ahead {
    far: Far,
    cancel: Cancel,
    /// Of each series.
    members: Vec<Member>,
    /// One fetch at a time; others find that theirs was part of it.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct Member {
    is_here: AtomicBool,
    /// Nobody wants to read it.
    is_gone: AtomicBool,
}

impl Ahead {
    /// For series in the order in which they will be read; none if no series has anything far away.
    pub(crate) fn of<S: Wants>(
        far: &Far,
        cancel: &Cancel,
        series: &[S],
        start_ms: i64,
        end_ms: i64,
    ) -> Option<Self> {
        if !series
            .iter()
            .any(|series| series.want(start_ms, end_ms) > 0)
        {
            return None;
        }

        let members = series.iter().map(|_| Member::default()).collect();
        Some(Self {
            far: far.clone(),
            cancel: cancel.clone(),
            members,
            fetching: Mutex::new(()),
        })
    }

    /// Nobody will read the series of this number any more.
    pub(crate) fn gone(&self, number: usize) {
        self.members[number].is_gone.store(true, Ordering::Release);
    }

    /// Returns when what the series of a number needs was fetched, or cannot be: its read then says why. `series` are those
    /// it was made of.
    pub(crate) fn ready<S: Wants>(
        &self,
        series: &[S],
        number: usize,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<(), SelectError> {
        let is_here = &self.members[number].is_here;
        if is_here.load(Ordering::Acquire) {
            return Ok(());
        }

        let _one = self.fetching.lock();
        if is_here.load(Ordering::Acquire) {
            return Ok(());
        }

        let (upto, wishes) = self.gather(series, number, start_ms, end_ms);
        if !wishes.is_empty() {
            self.far.reader.fetch(&[wishes], &self.far.tenant, &|| {
                self.cancel.check().is_err()
            });
        }

        self.cancel.check()?;
        self.members[number..upto]
            .iter()
            .for_each(|member| member.is_here.store(true, Ordering::Release));

        Ok(())
    }

    /// What the series from `number` on lack, as much as may be fetched ahead, and the number behind the last.
    fn gather<S: Wants>(
        &self,
        series: &[S],
        number: usize,
        start_ms: i64,
        end_ms: i64,
    ) -> (usize, Wishes) {
        let bytes_max = self.far.reader.ahead_bytes();
        attempt(|| {
            let rest = self.members.iter().zip(series).skip(number);
            let taken = rest
                .take_while(|(member, _): &(&Member, &S)| {
                    lacking_bytes() <= bytes_max && !member.is_here.load(Ordering::Acquire)
                })
                .inspect(|(member, series)| {
                    if !member.is_gone.load(Ordering::Acquire) {
                        series.want(start_ms, end_ms);
                    }
                });
            number + taken.count().max(1)
        })
    }
}
