//! Foundations every other crate stands on: ids, time, randomness, error kinds, backoff, durable files, the CPU pool
//! and work side by side.
//!
//! Nothing here knows about metrics. Two rules live in this crate because everything depends on them:
//! time is read through [`Clock`] (so that tests run years in seconds), and CPU-bound work leaves the
//! event loops through [`pool::CpuPool`] (so that no actor's arbiter is blocked).
//!
//! ```
//! use trireme_base::{Clock, ManualClock};
//! let clock = ManualClock::at(1_000);
//! clock.advance_ms(500);
//! assert_eq!(clock.now_ms(), 1_500);
//! ```

mod backoff;
mod clock;
mod disk_error;
pub mod durable;
mod ended;
mod error;
mod ids;
pub mod memory;
pub mod pool;
mod rng;
mod side_by_side;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock, SystemClock};
pub use disk_error::{is_starved, is_unreadable};
pub use ended::{End, Ended};
pub use error::ErrorKind;
pub use ids::{Boot, Incarnation, NodeName, StreamId};
pub use rng::{SeededRng, entropy};
pub use side_by_side::side_by_side;
