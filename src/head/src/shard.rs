//! One shard and its place in the world.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use trireme_base::{Ended, StreamId};
use trireme_wire::entry::{read_marker, write_marker, write_release};
use trireme_wire::record::{Record, RecordDraft, RecordKind};

use crate::collect::RELEASE_REFS;
use crate::recent::Moments;
use crate::state::State;
use crate::streams::OwnLogged;
use crate::suspect::{self, Panicked};
use crate::{HeadError, ShardOptions};

/// The longest window: chunk times within a window are kept in 32 bits.
const WINDOW_MS_MAX: i64 = 40 * 24 * 3_600_000;

/// A shard of series. All methods may be called from any thread; writers exclude each other.
pub struct Shard {
    pub(crate) options: ShardOptions,
    pub(crate) state: RwLock<State>,
    /// Moments that somebody reads at.
    pub(crate) moments: Moments,
    pub(crate) own_logged: Mutex<OwnLogged>,
    /// Held while a cut, a checkpoint or a garbage collection walks over the shard.
    pub(crate) maintenance: Mutex<()>,
    /// A chunk could not be read.
    pub(crate) damaged: AtomicBool,
    /// A change panicked.
    pub(crate) suspect: AtomicBool,
    /// Records and requests whose change panicked in earlier processes.
    pub(crate) panicked: Panicked,
    /// What the newest checkpoint on disk covers; empty while there is none.
    pub(crate) covered: Mutex<Vec<(StreamId, u64)>>,
}

/// Where a stream stands in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The stream.
    pub stream: StreamId,
    /// Everything of it up to this seq that concerns the shard is in the head (for the own stream: and in the log).
    pub applied: u64,
    /// The last window it closed in this shard.
    pub marker: Option<i64>,
}

impl Shard {
    /// An empty shard. Use [`Shard::recover`] for one that may have files.
    pub fn new(options: ShardOptions) -> Result<Arc<Self>, HeadError> {
        Self::check(&options)?;
        let state = State::new(&options)?;
        Ok(Self::with_state(options, state))
    }

    pub(crate) fn check(options: &ShardOptions) -> Result<(), HeadError> {
        if !(1_000..=WINDOW_MS_MAX).contains(&options.window_ms) {
            return Err(HeadError::Settings(format!(
                "window of {} ms is not in 1 s to 40 d",
                options.window_ms
            )));
        }

        if options.shards == 0 || options.number >= options.shards {
            return Err(HeadError::Settings(format!(
                "no shard {} of {}",
                options.number, options.shards
            )));
        }

        Ok(())
    }

    pub(crate) fn with_state(options: ShardOptions, state: State) -> Arc<Self> {
        Arc::new(Self {
            damaged: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            panicked: suspect::load(&options.dir),
            options,
            state: RwLock::new(state),
            moments: Moments::default(),
            own_logged: Mutex::new(OwnLogged::default()),
            maintenance: Mutex::new(()),
            covered: Mutex::default(),
        })
    }

    /// Its settings.
    pub fn options(&self) -> &ShardOptions {
        &self.options
    }

    /// Closes window `k` for the own stream: later samples of windows up to `k` are late. Answers the marker for the
    /// log, to be appended in order with the drafts of [`Shard::ingest`]. Also opens a new own stream: its first
    /// record is the marker of the last window known to be closed.
    pub fn close_window(&self, k: i64) -> RecordDraft {
        let mut state = self.state.write();
        // After a cut nothing may go into it, even if the clock went back: peers must see the same marker.
        let marker = k
            .max(state.own_marker.unwrap_or(k))
            .max(state.cut_floor().unwrap_or(k));
        state.own_marker = Some(marker);
        write_marker(self.options.number, marker)
    }

    /// Tells that an own record is in the log, in log order; cheap, for the log's thread. Records of other shards
    /// count too: what stands before them is known to be there.
    pub fn own_written(&self, record: &Record) {
        let mut logged = self.own_logged.lock();
        logged.seq = logged.seq.max(record.seq());

        if record.kind() == RecordKind::WindowClosed
            && record.shard() == self.options.number
            && let Ok(k) = read_marker(record.payload())
        {
            logged.marker = logged.marker.max(Some(k));
        }
    }

    /// Tells that everything of these streams up to the seq that concerns this shard was applied, because the rest
    /// belongs to other shards. Must come through the same queue as the records.
    pub fn note_positions(&self, positions: &[(StreamId, u64)]) {
        let mut state = self.state.write();
        for (stream, seq) in positions {
            if *stream != self.options.own && !state.ended.has(*stream) {
                let known = state.streams.entry(*stream).or_default();
                known.applied = known.applied.max(*seq);
            }
        }
    }

    /// After an append of own records failed: nothing of the own stream's references and markers behind the last
    /// written record can be relied on. Answers what must be the next own records of this shard: the marker, if one was
    /// set, and the release of the references that are given up, of which peers may know some. Series are defined again when
    /// they are next written.
    pub fn reset_own(&self) -> Vec<RecordDraft> {
        let mut state = self.state.write();
        let _change = self.change();

        let mut given_up = Vec::new();
        for page in 0..state.series.pages() {
            for (_, series) in state
                .series
                .page_mut(page)
                .filter(|(_, series)| series.own_ref != 0)
            {
                given_up.push(std::mem::take(&mut series.own_ref));
            }
        }

        given_up.sort_unstable();
        let number = self.options.number;
        let marker = state.own_marker.map(|k| write_marker(number, k));
        let releases = given_up
            .chunks(RELEASE_REFS)
            .map(|refs| write_release(number, refs));

        marker.into_iter().chain(releases).collect()
    }

    /// Where each stream stands, the own one included.
    pub fn streams(&self) -> Vec<StreamState> {
        let logged = *self.own_logged.lock();
        let own = StreamState {
            stream: self.options.own,
            applied: logged.seq,
            marker: logged.marker,
        };

        let state = self.state.read();
        state
            .streams
            .iter()
            .map(
                |(id, s): (&StreamId, &crate::streams::Stream)| StreamState {
                    stream: *id,
                    applied: s.applied,
                    marker: s.marker,
                },
            )
            .chain([own])
            .collect()
    }

    /// Drops what is kept for streams that have ended: they were applied to their end on all replicas.
    pub fn end_streams(&self, ended: &Ended) {
        let mut guard = self.state.write();
        let _change = self.change();
        let state = &mut *guard;

        state.ended.merge(ended);
        let over: Vec<StreamId> = state
            .streams
            .keys()
            .copied()
            .filter(|stream| ended.has(*stream))
            .collect();

        for stream in over {
            let Some(known) = state.streams.remove(&stream) else {
                continue;
            };
            for (_, slot) in known.refs.iter() {
                if let Some(series) = state.series.get_mut(slot) {
                    series.foreign_refs = series.foreign_refs.saturating_sub(1);
                }
            }
        }
    }
}
