//! What a shard's memory is taken by.

use crate::Shard;
use crate::state::State;
use crate::tenant::TenantState;

/// Bytes in memory by what they are for, as far as they can be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadMemory {
    /// Series, without what follows.
    pub series: u64,
    /// Float samples that are in no file yet, and where those in files are.
    pub samples: u64,
    /// The same of native histograms.
    pub histograms: u64,
    /// Labels, and which series have them.
    pub index: u64,
    /// Which series a reference of a stream means.
    pub references: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Metadata.
    pub metadata: u64,
}

impl HeadMemory {
    /// Adds that of another shard.
    pub fn merge(&mut self, other: &Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.index += other.index;
        self.references += other.references;
        self.exemplars += other.exemplars;
        self.metadata += other.metadata;
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let Self {
            series,
            samples,
            histograms,
            index,
            references,
            exemplars,
            metadata,
        } = self;
        series + samples + histograms + index + references + exemplars + metadata
    }
}

impl Shard {
    /// Counts; walks over all series, page by page.
    pub fn memory(&self) -> HeadMemory {
        let (mut memory, pages) = {
            let state = self.state.read();
            let memory = HeadMemory {
                series: state.series.bytes() as u64,
                index: (state.keys.bytes() + state.lists.bytes() + state.alias_bytes()) as u64
                    + of_tenants(&state, |t| t.index.bytes()),
                references: state
                    .streams
                    .values()
                    .map(|stream| stream.refs.bytes())
                    .sum::<usize>() as u64,
                exemplars: of_tenants(&state, |t| t.exemplar_bytes),
                metadata: of_tenants(&state, |t| t.metadata_bytes),
                ..HeadMemory::default()
            };

            (memory, state.series.pages())
        };

        for page in 0..pages {
            let state = self.state.read();
            for (_, series) in state.series.page(page) {
                let (floats, histograms) = series.heap_bytes();
                memory.samples += floats as u64;
                memory.histograms += histograms as u64;
            }
        }

        memory
    }
}

/// A figure of all tenants together.
fn of_tenants(state: &State, bytes: fn(&TenantState) -> usize) -> u64 {
    state.tenants.iter().map(bytes).sum::<usize>() as u64
}
