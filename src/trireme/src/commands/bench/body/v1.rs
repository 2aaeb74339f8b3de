//! Remote write 1.0: `WriteRequest { repeated TimeSeries timeseries = 1 }`.

use super::super::fleet::Point;
use super::proto::{bytes_field, sample_field, varint, varint_len};

/// A request under construction.
#[derive(Default)]
pub struct Request {
    raw: Vec<u8>,
    series: Vec<u8>,
    scratch: String,
}

impl Request {
    /// Adds a series with one sample.
    pub fn add(&mut self, point: &Point) {
        let series = &mut self.series;
        series.clear();

        for (name, text) in &point.template.labels {
            let value = point.names.text(text, &mut self.scratch);
            let length = 2
                + name.len()
                + varint_len(name.len() as u64)
                + value.len()
                + varint_len(value.len() as u64);
            series.push(0x0a);
            varint(series, length as u64);
            bytes_field(series, 0x0a, name.as_bytes());
            bytes_field(series, 0x12, value.as_bytes());
        }

        sample_field(series, 0x12, point.value, point.timestamp_ms);
        bytes_field(&mut self.raw, 0x0a, series);
    }

    /// The message so far.
    pub fn message(&mut self) -> &[u8] {
        &self.raw
    }

    /// Starts anew.
    pub fn clear(&mut self) {
        self.raw.clear();
    }
}
