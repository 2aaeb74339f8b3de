//! The newest sample of a series, mostly without decoding anything.

use super::HeadSeries;
use crate::HeadError;
use crate::recent::Recent;
use crate::series::Series;

impl HeadSeries {
    /// Appends the newest float sample of `start..=end` (ms), stale markers included, and perhaps older ones. Columns and
    /// answer are those of [`HeadSeries::read_with_starts`]: whether the series may hold histogram samples as well.
    pub fn read_newest(
        &self,
        start: i64,
        end: i64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
        starts: &mut Vec<i64>,
    ) -> Result<bool, HeadError> {
        {
            let state = self.at.shard.state.read();
            let Some(series) = state.series.get(self.slot).filter(|s| s.key == self.key) else {
                return Ok(false);
            };

            if series.histograms.is_none()
                && let Some((t, v, sample_start)) = series.newest_at_hand(&self.at.shard.options)
                && t <= end
                && !self.is_newer(&state.recent, series, t)
            {
                if t >= start {
                    if sample_start != 0 || !starts.is_empty() {
                        starts.resize(times.len(), 0);
                        starts.push(sample_start);
                    }
                    times.push(t);
                    values.push(v);
                }
                return Ok(false);
            }
        }
        self.read_with_starts(start, end, times, values, starts)
    }

    /// True if the sample came after the series' moment.
    fn is_newer(&self, recent: &Recent, series: &Series, t: i64) -> bool {
        let mut newer = Vec::new();
        self.note_newer(recent, series.current.noted, &mut newer);
        newer.contains(&t)
    }
}
