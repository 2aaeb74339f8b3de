//! An object that is read from its begin to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use trireme_block::{RangeRead, past_end};

use crate::remote::{Object, Remote};

/// Bytes of a request: enough that the time of its way there and back counts for little.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;
/// Pieces that are kept. Two, because what is read next may begin in the piece before the newest.
const PIECES_KEPT: usize = 2;

/// Pieces of the files of a pass by number of the file and of the piece, the newest last. Files that are read one after the
/// other share them.
pub(crate) type Pieces = Arc<Mutex<Vec<((u32, u64), Bytes)>>>;

/// Reads an object by large pieces and keeps the newest, past the cache of queries, which a scan would empty.
///
/// [`RangeRead::read_at`] blocks until the store has answered. Call it on no thread of an async runtime, where it panics.
pub(crate) struct ScanFile {
    remote: Arc<Remote>,
    object: Object,
    pieces: Pieces,
    /// Counts what was fetched.
    fetched_bytes: Arc<AtomicU64>,
}

impl ScanFile {
    pub(crate) fn new(
        remote: Arc<Remote>,
        object: Object,
        pieces: Pieces,
        fetched_bytes: Arc<AtomicU64>,
    ) -> Self {
        Self {
            remote,
            object,
            pieces,
            fetched_bytes,
        }
    }

    fn piece(&self, number: u64) -> io::Result<Bytes> {
        let name = (self.object.id.number, number);
        let mut pieces = self.pieces.lock();
        if let Some((_, piece)) = pieces.iter().find(|(known, _)| *known == name) {
            return Ok(piece.clone());
        }

        let start = number * PIECE_BYTES;
        let piece = self.fetch(start, (start + PIECE_BYTES).min(self.object.len))?;

        if pieces.len() == PIECES_KEPT {
            pieces.remove(0);
        }

        pieces.push((name, piece.clone()));
        Ok(piece)
    }

    fn fetch(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let bytes =
            self.remote
                .runtime
                .block_on(self.remote.range(&self.object.path, start, end, None))?;
        self.fetched_bytes.fetch_add(end - start, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl RangeRead for ScanFile {
    fn len(&self) -> u64 {
        self.object.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= self.object.len);
        let end = end.ok_or_else(|| past_end(offset, len, self.object.len))?;
        if len == 0 {
            return Ok(Bytes::new());
        }

        // Lists of all series may be longer than what is kept.
        if len as u64 > PIECE_BYTES {
            return self.fetch(offset, end);
        }

        let first = offset / PIECE_BYTES;
        let last = (end - 1) / PIECE_BYTES;
        let skip = (offset - first * PIECE_BYTES) as usize;
        let piece = self.piece(first)?;
        if first == last {
            return Ok(piece.slice(skip..skip + len));
        }

        let mut joined = BytesMut::with_capacity(len);
        joined.extend_from_slice(&piece[skip..]);
        joined.extend_from_slice(&self.piece(last)?[..len - joined.len()]);

        Ok(joined.freeze())
    }
}
