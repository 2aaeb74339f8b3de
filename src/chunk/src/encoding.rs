//! Names of the encodings.

use crate::ChunkError;

/// How the samples of a chunk are encoded; the byte stored before a chunk's data in block files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Encoding {
    /// No data.
    None = 0,
    /// Floats.
    Xor = 1,
    /// Histograms with integer counts.
    Histogram = 2,
    /// Histograms with float counts.
    FloatHistogram = 3,
    /// Floats with optional start timestamps, Prometheus 3.11 and later.
    Xor2 = 4,
    /// Histograms with integer counts and start timestamps, experimental in Prometheus 3.14.
    HistogramSt = 5,
    /// Histograms with float counts and start timestamps, experimental in Prometheus 3.14.
    FloatHistogramSt = 6,
}

impl Encoding {
    /// The byte in files.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// True if the samples are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Xor | Self::Xor2)
    }

    /// True if the samples are histograms.
    pub fn is_histogram(self) -> bool {
        !matches!(self, Self::None | Self::Xor | Self::Xor2)
    }
}

impl TryFrom<u8> for Encoding {
    type Error = ChunkError;

    fn try_from(byte: u8) -> Result<Self, ChunkError> {
        Ok(match byte {
            0 => Self::None,
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramSt,
            6 => Self::FloatHistogramSt,
            other => return Err(ChunkError::UnknownEncoding(other)),
        })
    }
}
