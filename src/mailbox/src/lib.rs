//! `Port<M>`: the only way to send a message to an actor.
//!
//! An actor framework's own send functions either queue without bound or give no back-pressure. A [`Port`]
//! takes a permit before a message is queued; the permit travels inside the [`Envelope`] and is given back when the
//! actor has finished the work. A port outlives the actor behind it: a supervisor points it at the successor, and
//! senders in between are told [`PortError::Down`]. The crate knows no framework: whoever starts an actor provides
//! the [`Deliver`] that hands over envelopes.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use trireme_mailbox::{Call, Envelope, Port, PortMetrics};
//!
//! struct Double(u32);
//! impl Call for Double { type Reply = u32; }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let port = Port::<Double>::new("double", 8, PortMetrics::unregistered());
//! port.target(Arc::new(|envelope: Envelope<Double>| {
//!     let (message, work) = envelope.open();
//!     work.done(message.0 * 2);
//!     Ok(())
//! }));
//! assert_eq!(port.call(Double(21), Duration::from_secs(1)).await, Ok(42));
//! # }
//! ```

mod envelope;
mod metrics;
mod port;

pub use envelope::{Call, Deliver, Envelope, Work};
pub use metrics::PortMetrics;
pub use port::{Port, PortError};
