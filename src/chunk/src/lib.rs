//! Sample encodings, bit-compatible with Prometheus.
//!
//! A chunk is up to a few hundred samples of one series in time order. [`XorAppender`] writes floats,
//! [`decode_into`] and [`XorIterator`] read them back. Everything that reads takes bytes from
//! disks and networks: it answers [`ChunkError`], it never panics and never reads past the slice.
//!
//! ```
//! use trireme_chunk::{XorAppender, decode_into};
//! let mut bytes = Vec::new();
//! let mut open = XorAppender::start(&mut bytes);
//! open.append(&mut bytes, 1_000, 1.5);
//! open.append(&mut bytes, 16_000, 1.75);
//! let (mut times, mut values) = (Vec::new(), Vec::new());
//! decode_into(&bytes, &mut times, &mut values).expect("just written");
//! assert_eq!((times, values), (vec![1_000, 16_000], vec![1.5, 1.75]));
//! ```

mod bits;
mod encoding;
mod error;
mod histogram;
mod start;
mod varbit;
mod xor;
mod xor2;

pub use encoding::Encoding;
pub use error::ChunkError;
pub use histogram::{Appended, HistogramAppender, decode_histograms};
pub use xor::{XorAppender, XorIterator, decode_into};
pub use xor2::{Xor2Appender, decode_xor2_into};
