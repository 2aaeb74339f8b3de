//! Figures of a shard.

use trireme_model::Tenant;

use crate::{HeadError, Shard};

/// A moment's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Series of all tenants.
    pub series: u64,
    /// Tenants.
    pub tenants: u64,
    /// Samples in memory and in chunk files.
    pub samples: u64,
    /// Stored samples whose timestamp had another value, since the start.
    pub conflicts: u64,
    /// Bytes in memory, as far as they can be counted.
    pub memory_bytes: u64,
    /// Chunk files in use.
    pub chunk_files: u64,
}

impl Shard {
    /// Counts; walks over all series, page by page.
    pub fn stats(&self) -> ShardStats {
        let memory_bytes = self.memory().total();
        let mut stats = {
            let state = self.state.read();
            ShardStats {
                series: state.series.len() as u64,
                tenants: state.tenants.len() as u64,
                conflicts: state.conflicts,
                memory_bytes,
                chunk_files: state.files.paths().len() as u64,
                samples: 0,
            }
        };

        let pages = self.state.read().series.pages();
        for page in 0..pages {
            let state = self.state.read();
            for (_, series) in state.series.page(page) {
                stats.samples += series.buckets().map(|b| b.count()).sum::<u64>();
            }
        }

        stats
    }

    /// Tenants that have series here.
    pub fn tenants_with_data(&self) -> Vec<Tenant> {
        let state = self.state.read();
        let with_data = state.tenants.iter().filter(|tenant| tenant.series > 0);
        with_data.map(|tenant| tenant.tenant.clone()).collect()
    }

    /// Series of all tenants, at once.
    pub fn total_series(&self) -> usize {
        self.state.read().series.len()
    }

    /// The last failure to write or read a chunk file, once.
    pub fn take_file_error(&self) -> Option<HeadError> {
        self.state.write().files.failed.take()
    }
}
