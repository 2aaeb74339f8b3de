//! The newest sample of a series, mostly without decoding anything.

use super::HeadSeries;
use crate::HeadError;

impl HeadSeries {
    /// Appends the newest float sample of `start..=end` (ms), stale markers included, and perhaps older ones. Answers, as
    /// [`HeadSeries::read`] does, whether the series may hold histogram samples as well.
    pub fn read_newest(
        &self,
        start: i64,
        end: i64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) -> Result<bool, HeadError> {
        {
            let state = self.shard.state.read();
            let Some(series) = state.series.get(self.slot).filter(|s| s.key == self.key) else {
                return Ok(false);
            };
            if series.histograms.is_none()
                && let Some((t, v)) = series.newest_at_hand(&self.shard.options)
                && t <= end
            {
                if t >= start {
                    times.push(t);
                    values.push(v);
                }
                return Ok(false);
            }
        }
        self.read(start, end, times, values)
    }
}
