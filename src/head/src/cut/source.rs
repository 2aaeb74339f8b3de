//! The series of one block, merged over shards.

use std::sync::Arc;

use trireme_block::{BlockError, SeriesInput, SeriesSource};
use trireme_model::{Labels, Tenant};

use crate::bucket::{Floats, Part, keep_readable, merge};
use crate::cut::{LeftWindow, Portion};
use crate::histograms::{HistogramPart, keep_readable_runs, merge_histograms};
use crate::{HeadError, Shard};

/// Gives the series of one tenant, window and cut in label order, for [`trireme_block::write_block`].
///
/// Only the order (four bytes per series) and one series at a time are in memory.
pub struct CutSource {
    portion: Portion,
    parts: Vec<ShardPart>,
    skips_damage: bool,
    lost: u64,
}

struct ShardPart {
    shard: Arc<Shard>,
    slots: std::vec::IntoIter<u32>,
    /// The next series of this shard.
    next: Option<(Labels, u32)>,
}

impl CutSource {
    /// Sorts the series; call [`Shard::begin_cut`] on all shards before. What earlier cuts left of the window is not among
    /// them.
    pub fn open(shards: &[Arc<Shard>], tenant: &Tenant, window: i64, cut: i64) -> Self {
        let mut parts = Vec::with_capacity(shards.len());
        let window_ms = shards.first().map_or(1, |shard| shard.options.window_ms);
        let left = shards.first().map(|shard| shard.left()).unwrap_or_default();
        let part = LeftWindow {
            cut,
            tenant: tenant.clone(),
            window,
        };

        let portion = Portion::of(&left, window_ms, &part);
        for shard in shards {
            let number = shard.state.read().tenant_number(tenant.as_str());
            let Some(number) = number else { continue };
            let slots = shard.cut_order(number, &portion).into_iter();
            let mut part = ShardPart {
                shard: shard.clone(),
                slots,
                next: None,
            };
            part.advance();
            parts.push(part);
        }

        Self {
            portion,
            parts,
            skips_damage: false,
            lost: 0,
        }
    }

    /// Leaves out chunks that cannot be read, in the place of failing.
    pub fn skipping_damage(mut self) -> Self {
        self.skips_damage = true;
        self
    }

    /// Chunks that were left out so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn read(&mut self, at: usize, slot: u32, series: &mut SeriesInput) -> Result<(), HeadError> {
        let Some((mut parts, mut runs)) = self.copy(at, slot) else {
            return Ok(());
        };

        if self.skips_damage {
            self.lost += keep_readable(&mut parts) + keep_readable_runs(&mut runs);
        }

        merge_histograms(runs, i64::MIN, i64::MAX, &mut series.histograms)?;
        let SeriesInput {
            times,
            values,
            starts,
            ..
        } = series;

        merge(
            parts,
            i64::MIN,
            i64::MAX,
            &mut Floats {
                times,
                values,
                starts,
            },
        )
    }

    /// The encoded samples of a series that the portion takes; `None` if the series is gone.
    fn copy(&self, at: usize, slot: u32) -> Option<(Vec<Part>, Vec<HistogramPart>)> {
        let shard = &self.parts[at].shard;
        let state = shard.state.read();
        let found = state.series.get(slot)?;

        Some(found.copy(&state.files, &shard.options, |id| self.portion.takes(id)))
    }
}

impl ShardPart {
    fn advance(&mut self) {
        let state = self.shard.state.read();
        self.next = self
            .slots
            .find_map(|slot| state.series.get(slot).map(|s| (state.labels_of(s), slot)));
    }
}

impl SeriesSource for CutSource {
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError> {
        series.clear();
        let heads = self.parts.iter().enumerate().filter_map(|(at, part)| {
            let (labels, _) = part.next.as_ref()?;
            Some((labels.clone(), at))
        });

        let Some((_, at)) = heads.min() else {
            return Ok(false);
        };
        let Some((labels, slot)) = self.parts[at].next.take() else {
            return Ok(false);
        };

        series.labels = labels;
        let read = self.read(at, slot, series);
        read.map_err(|error| BlockError::Input(format!("{}: {error}", series.labels)))?;
        self.parts[at].advance();

        Ok(true)
    }
}
