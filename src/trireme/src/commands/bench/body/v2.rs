//! Remote write 2.0: `Request { repeated string symbols = 4; repeated TimeSeries timeseries = 5 }`.

use std::collections::HashMap;

use super::super::fleet::Point;
use super::super::fleet::family::MetricType;
use super::proto::{bytes_field, sample_field, varint};

/// A request under construction.
#[derive(Default)]
pub struct Request {
    symbols: HashMap<String, u64>,
    /// Encoded field 4, in the order of the references.
    table: Vec<u8>,
    series_fields: Vec<u8>,
    message: Vec<u8>,
    references: Vec<u8>,
    series: Vec<u8>,
    scratch: String,
}

impl Request {
    /// Adds a series with its metadata and one sample.
    pub fn add(&mut self, point: &Point) {
        if self.symbols.is_empty() {
            intern(&mut self.symbols, &mut self.table, "");
        }

        self.fill_labels(point);
        let help = intern(
            &mut self.symbols,
            &mut self.table,
            "A metric of the generated fleet.",
        );

        self.series.clear();
        bytes_field(&mut self.series, 0x0a, &self.references);
        sample_field(&mut self.series, 0x12, point.value, point.timestamp_ms);

        self.fill_metadata(point.template.metric_type, help);
        bytes_field(&mut self.series, 0x2a, &self.references);
        bytes_field(&mut self.series_fields, 0x2a, &self.series);
    }

    /// Makes `references` those of the point's labels.
    fn fill_labels(&mut self, point: &Point) {
        self.references.clear();
        for (name, text) in &point.template.labels {
            let value = point.names.text(text, &mut self.scratch);
            let name = intern(&mut self.symbols, &mut self.table, name);
            let value = intern(&mut self.symbols, &mut self.table, value);
            varint(&mut self.references, name);
            varint(&mut self.references, value);
        }
    }

    /// Makes `references` the fields of a metadata message.
    fn fill_metadata(&mut self, metric_type: MetricType, help: u64) {
        let metric_type = match metric_type {
            MetricType::Counter => 1,
            MetricType::Gauge => 2,
            MetricType::Histogram => 3,
        };

        self.references.clear();
        self.references.extend([0x08, metric_type, 0x18]);
        varint(&mut self.references, help);
    }

    /// The message so far.
    pub fn message(&mut self) -> &[u8] {
        self.message.clear();
        self.message.extend_from_slice(&self.table);
        self.message.extend_from_slice(&self.series_fields);
        &self.message
    }

    /// Starts anew, with an empty table of symbols.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.table.clear();
        self.series_fields.clear();
    }
}

fn intern(symbols: &mut HashMap<String, u64>, table: &mut Vec<u8>, text: &str) -> u64 {
    if let Some(reference) = symbols.get(text) {
        return *reference;
    }
    let reference = symbols.len() as u64;
    symbols.insert(text.to_string(), reference);
    bytes_field(table, 0x22, text.as_bytes());
    reference
}
