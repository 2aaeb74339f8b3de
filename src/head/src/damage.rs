//! Chunks that cannot be read any more.

use std::sync::atomic::Ordering;

use crate::chunkfile::ChunkData;
use crate::series::Series;
use crate::{HeadError, Shard};

impl Shard {
    /// True from the moment in which a chunk could not be read until its window is cut: this shard does not have everything
    /// it should have.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Notes damage that a reader met.
    pub(crate) fn note_damage<T>(&self, read: Result<T, HeadError>) -> Result<T, HeadError> {
        if read.as_ref().is_err_and(HeadError::is_damage) {
            self.damaged.store(true, Ordering::Release);
        }
        read
    }

    /// Reads all full chunks and compares them with their checksums; answers what is wrong, one error a chunk, at most
    /// `errors_max`. Takes the lock for a page of series at a time, and reads without it.
    pub fn check_chunks(&self, errors_max: usize) -> Vec<HeadError> {
        let mut errors = Vec::new();
        let mut buffer = Vec::new();

        let pages = self.state.read().series.pages();
        for page in 0..pages {
            let chunks: Vec<ChunkData> = {
                let state = self.state.read();
                let places = state
                    .series
                    .page(page)
                    .flat_map(|(_, series)| Series::closed(series));
                places.map(|chunk| state.files.get(chunk.place())).collect()
            };
            for chunk in &chunks {
                let read = chunk.load(&mut buffer).map(drop);
                if let Err(error) = self.note_damage(read)
                    && errors.len() < errors_max
                {
                    errors.push(error);
                }
            }
        }

        errors
    }
}
