//! Comparing heads without comparing samples.

use std::collections::BTreeMap;

use trireme_model::{HistogramSample, SeriesKey, Tenant};
use xxhash_rust::xxh3::xxh3_64;

use crate::bucket::{Floats, merge};
use crate::histograms::merge_histograms;
use crate::{HeadError, Shard};

/// What a window of a tenant holds; add up those of all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowDigest {
    /// Series with samples.
    pub series: u64,
    /// Samples, each time once.
    pub samples: u64,
    /// Sum of the hashes of all samples, so that order does not matter.
    pub digest: u64,
}

impl WindowDigest {
    /// Adds a float sample.
    pub fn add_float(&mut self, key: SeriesKey, t: i64, v: f64) {
        let mut bytes = [0u8; 32];
        bytes[..16].copy_from_slice(&key.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&t.to_le_bytes());
        bytes[24..].copy_from_slice(&v.to_bits().to_le_bytes());
        self.samples += 1;
        self.digest = self.digest.wrapping_add(xxh3_64(&bytes));
    }

    /// Adds a histogram sample.
    pub fn add_histogram(&mut self, key: SeriesKey, sample: &HistogramSample) {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&key.0.to_le_bytes());
        bytes.extend_from_slice(&sample.t.to_le_bytes());
        trireme_wire::entry::encode_histogram(&mut bytes, sample);
        self.samples += 1;
        self.digest = self.digest.wrapping_add(xxh3_64(&bytes));
    }

    /// Adds another part of the same window.
    pub fn merge(&mut self, other: &Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

impl Shard {
    /// Digests of a tenant's windows in this shard, by window number. Reads everything the tenant has in it.
    pub fn window_digests(
        &self,
        tenant: &Tenant,
    ) -> Result<BTreeMap<i64, WindowDigest>, HeadError> {
        let mut out: BTreeMap<i64, WindowDigest> = BTreeMap::new();
        let (number, pages) = {
            let state = self.state.read();
            (state.tenant_number(tenant.as_str()), state.series.pages())
        };
        let Some(number) = number else { return Ok(out) };

        for page in 0..pages {
            let slots: Vec<u32> = {
                let state = self.state.read();
                state
                    .series
                    .page(page)
                    .filter(|(_, s)| s.tenant == number)
                    .map(|(slot, _)| slot)
                    .collect()
            };
            for slot in slots {
                self.digest_series(slot, &mut out)?;
            }
        }

        Ok(out)
    }

    fn digest_series(
        &self,
        slot: u32,
        out: &mut BTreeMap<i64, WindowDigest>,
    ) -> Result<(), HeadError> {
        let (key, (parts, runs)) = {
            let state = self.state.read();
            let Some(series) = state.series.get(slot) else {
                return Ok(());
            };
            (
                series.key,
                series.copy(&state.files, &self.options, |_| true),
            )
        };

        let mut histograms = Vec::new();
        merge_histograms(runs, i64::MIN, i64::MAX, &mut histograms)?;
        let mut times = Vec::new();
        let mut values = Vec::new();
        let mut floats = Floats {
            times: &mut times,
            values: &mut values,
            starts: &mut Vec::new(),
        };

        merge(parts, i64::MIN, i64::MAX, &mut floats)?;
        self.add_samples(key, floats, &histograms, out);

        Ok(())
    }

    /// Adds the samples of a series to the digests of their windows.
    fn add_samples(
        &self,
        key: SeriesKey,
        floats: Floats<'_>,
        histograms: &[HistogramSample],
        out: &mut BTreeMap<i64, WindowDigest>,
    ) {
        let window_ms = self.options.window_ms;
        let mut windows = Vec::new();

        for (t, v) in floats.times.iter().zip(floats.values.iter()) {
            let window = t.div_euclid(window_ms);
            out.entry(window).or_default().add_float(key, *t, *v);
            windows.push(window);
        }

        for sample in histograms {
            let window = sample.t.div_euclid(window_ms);
            out.entry(window).or_default().add_histogram(key, sample);
            windows.push(window);
        }

        windows.sort_unstable();
        windows.dedup();
        windows
            .iter()
            .for_each(|w| out.entry(*w).or_default().series += 1);
    }
}
